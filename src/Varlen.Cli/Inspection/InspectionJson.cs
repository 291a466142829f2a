using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;

namespace Varlen.Cli.Inspection;

/// <summary>An inspection as JSON.</summary>
internal static class InspectionJson
{
    /// <summary>Makes it.</summary>
    public static JsonObject Of(DataInspection inspection) => new()
    {
        ["files"] = inspection.Corpus.Files.Count,
        ["bytes"] = inspection.Corpus.Bytes,
        ["documents"] = inspection.Corpus.Documents,
        ["tokens"] = inspection.Corpus.Tokens,
        ["empty"] = inspection.Corpus.EmptyDocuments,
        ["other_files"] = inspection.Corpus.OtherFiles,
        ["skipped"] = new JsonArray([.. inspection.Corpus.Skipped.Select(file => new JsonObject { ["path"] = file.Path, ["reason"] = file.Reason })]),
        ["bad_lines"] = inspection.Corpus.BadLineCount,
        ["lengths"] = RunEnvironment.Lengths(inspection.Corpus.Lengths),
        ["records"] = RunEnvironment.Records(inspection.Corpus),
        ["context"] = inspection.Plan.Context,
        ["cut"] = inspection.Plan.CutDocuments,
        ["batch_tokens"] = inspection.BatchTokens,
        ["sequences"] = inspection.Plan.Training.Length + inspection.Plan.HeldOut.Length,
        ["training_tokens"] = inspection.Plan.TrainingTokens,
        ["held_out_tokens"] = inspection.Plan.HeldOutTokens,
        ["ledger"] = RunEnvironment.Ledger(inspection.Plan.Ledger),
        ["packing"] = new JsonArray([.. inspection.Packings.Select(RunEnvironment.Packing)]),
        ["ways"] = new JsonArray([.. inspection.Ways.Select(way => Way(inspection, way))]),
        ["flops_of"] = new JsonObject { ["layers"] = inspection.Work.Layers, ["width"] = inspection.Work.Width, ["vocabulary"] = inspection.Work.VocabularySize },
        ["recommended"] = new JsonObject
        {
            ["batch_tokens"] = inspection.Budget.BatchTokens,
            ["why"] = inspection.Budget.Why,
            ["tried"] = new JsonArray([.. inspection.Budget.Tried.Select(one => new JsonObject { ["batch_tokens"] = one.BatchTokens, ["batches"] = one.Batches, ["fill"] = JsonOutput.Number(one.Fill) })]),
        },
    };

    private static JsonObject Way(DataInspection inspection, BatchingWay way)
    {
        (BatchingCost cost, BatchingCost packed, WorkModel work) = (way.Cost, inspection.Packed.Cost, inspection.Work);
        return new JsonObject
        {
            ["way"] = way.Word,
            ["batches"] = cost.Batches,
            ["fill"] = JsonOutput.Number(cost.Fill),
            ["tokens"] = cost.Tokens,
            ["scores"] = cost.Scores,
            ["linear_flops"] = work.Linear(cost),
            ["attention_flops"] = work.Attention(cost),
            ["times_tokens"] = JsonOutput.Number((double)cost.Tokens / packed.Tokens),
            ["times_scores"] = JsonOutput.Number(cost.Scores / packed.Scores),
            ["times_flops"] = JsonOutput.Number(work.Total(cost) / work.Total(packed)),
        };
    }
}
