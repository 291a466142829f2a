using System.Globalization;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>What a run will do, before it does it, and what became of it.</summary>
internal static class PlanPage
{
    private const int MostNamed = 5;

    /// <summary>Prints the plan on the error stream.</summary>
    public static void Print(PlannedRun planned, RunFolder folder)
    {
        (RunConfig config, CorpusSummary corpus, SequencePlan plan, PackingReport packing) = (planned.Config, planned.Corpus, planned.Plan, planned.Packing);
        LengthHistogram lengths = corpus.Lengths;
        Line("Data", $"{corpus.Files.Count} files · {corpus.Documents} documents · {Quantity.Bytes(corpus.Bytes)} · median {lengths.Median} tokens, longest {lengths.Longest}");
        if (corpus.EmptyDocuments > 0) Line("", $"{corpus.EmptyDocuments} empty files or records were passed over");
        if (corpus.OtherFiles > 0) Line("", $"{corpus.OtherFiles} files of other kinds were passed over");
        foreach (SkippedFile skipped in corpus.Skipped.Take(MostNamed)) Line("", $"skipped {skipped.Path}: {skipped.Reason}");
        if (corpus.Skipped.Count > MostNamed) Line("", $"... and {corpus.Skipped.Count - MostNamed} more, see data.json");
        if (corpus.BadLineCount > 0) Line("", $"{corpus.BadLineCount} bad lines were left out; the first is {corpus.BadLines[0].ToString()}");
        if (corpus.Records.Any(record => record.Kind != RecordKind.Text))
            foreach (RecordCount record in corpus.Records) Line("", Describe(record));
        if (config.ChatFormat is { } chat) Line("Chat", $"{chat}; --chat-format names another");
        Line("Tokenizer", config.Tokenizer == "byte" ? "bytes; --tokenizer bpe:4096 would train one" : config.Tokenizer);
        Line("Split", $"training {Quantity.Short(plan.TrainingTokens)} tokens in {plan.Training.Length} sequences · held out {Quantity.Short(plan.HeldOutTokens)} · dropped {plan.Ledger.Inputs.Dropped.Values.Sum()}");
        if (plan.TrainingTargets < plan.TrainingTokens) Line("", $"of these tokens {Quantity.Short(plan.TrainingTargets)} are trained as targets, the others only read · held out {Quantity.Short(plan.HeldOutTargets)}");
        if (plan.CutDocuments > 0) Line("", DescribeCut(plan));
        Line("Packing", string.Create(CultureInfo.InvariantCulture,
            $"{PackingOption.Name(packing.Policy)}, up to {config.BatchTokens} tokens: {packing.Batches} batches, {packing.Fill:P1} full · padded to the longest they would cost {packing.ToLongest.Tokens:F2} times the tokens"));
        Line("Model", $"{Quantity.Short(planned.Parameters)} parameters · {planned.Description} · context {config.Context}");
        Line("Plan", string.Create(CultureInfo.InvariantCulture,
            $"{config.Training.Steps} steps, {(double)config.Training.Steps * config.Training.MicroBatches / packing.Batches:F1} epochs · {config.Training.Optimizer}, learning rate {config.Training.LearningRate:0.##e-0} · about {Quantity.Clock(planned.EstimatedSeconds)}"));
        Line("Run", $"{folder.Path} · Ctrl-C saves and stops");
        Console.Error.WriteLine();
    }

    /// <summary>Prints the end on the error stream.</summary>
    public static void PrintEnd(RunFolder folder, TrainingRun run, RunResult result)
    {
        Console.Error.WriteLine();
        if (result.BestLoss is { } best) Line("Best", string.Create(CultureInfo.InvariantCulture, $"validation loss {best:F4} at step {result.BestStep}{(result.Last is { } last ? $" · last {last.Loss:F4}, {(double.IsFinite(last.BitsPerByte) ? last.BitsPerByte.ToString("F3", CultureInfo.InvariantCulture) : "no")} bits per byte" : "")}"));
        RunTotals totals = result.Totals;
        Line("Tokens", string.Create(CultureInfo.InvariantCulture, $"{Quantity.Short(totals.Tokens)} = {Quantity.Short(totals.Targets)} trained + {Quantity.Short(totals.SkippedTargets)} skipped{(totals.IgnoredTargets > 0 ? $" + {Quantity.Short(totals.IgnoredTargets)} only read" : "")} · padding avoided {totals.PaddingAvoided:P0} · {Quantity.Short(totals.Tokens / totals.Seconds)} tokens/s"));
        if (result.Finished) Line("Saved", $"{folder.Model}, verified by loading it");
        Line("Report", folder.Report);
        Line("Next", result.Finished ? $"varlen generate {folder.Path} --prompt \"Once upon a time\"" : $"varlen train --resume {folder.Path}");
    }

    /// <summary>The word of a kind.</summary>
    public static string Name(RecordKind kind) => kind switch { RecordKind.Text => "text", RecordKind.Completion => "completion", _ => "messages" };

    /// <summary>What there is of a kind, and how much of it is trained.</summary>
    public static string Describe(RecordCount record)
    {
        string what = record.Kind switch { RecordKind.Text => "texts", RecordKind.Completion => "prompts with completions", _ => "conversations" };
        return $"{record.Documents} {what}: {record.Tokens} tokens, {record.TrainedTargets} trained as targets";
    }

    /// <summary>What became of documents that are longer than the context.</summary>
    public static string DescribeCut(SequencePlan plan)
    {
        long left = plan.Ledger.Inputs.Dropped.GetValueOrDefault(TokenCount.NoTrainedTarget);
        return $"{plan.CutDocuments} documents are longer than the context of {plan.Context} and were cut{(left > 0 ? $"; sequences without a trained target, {left} tokens, were left out" : "")}";
    }

    private static void Line(string name, string text) => Console.Error.WriteLine($"{name,-10} {Printable.Text(text)}");
}
