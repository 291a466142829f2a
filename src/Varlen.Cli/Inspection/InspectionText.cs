using System.Globalization;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;

namespace Varlen.Cli.Inspection;

/// <summary>An inspection on the terminal.</summary>
internal static class InspectionText
{
    private const int BarWidth = 40;

    /// <summary>Prints it.</summary>
    public static void Print(DataInspection inspection)
    {
        (CorpusSummary corpus, LengthHistogram lengths) = (inspection.Corpus, inspection.Corpus.Lengths);
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{corpus.Files.Count} files, {corpus.Documents} documents, {Quantity.Bytes(corpus.Bytes)}, {corpus.Tokens} tokens; lengths: shortest {lengths.Shortest}, median {lengths.Median}, mean {lengths.Mean:F1}, 90 % up to {lengths.Percentile90}, 99 % up to {lengths.Percentile99}, longest {lengths.Longest}"));
        foreach (RecordCount record in corpus.Records) Console.Out.WriteLine(PlanPage.Describe(record));
        if (inspection.Plan.CutDocuments > 0) Console.Out.WriteLine(PlanPage.DescribeCut(inspection.Plan));
        foreach (SkippedFile skipped in corpus.Skipped) Console.Out.WriteLine($"skipped {Printable.Text(skipped.Path)}: {skipped.Reason}");
        foreach (BadLine bad in corpus.BadLines) Console.Out.WriteLine($"bad line {Printable.Text(bad.ToString())}");
        Console.Out.WriteLine();
        long most = lengths.Buckets.Max(bucket => bucket.Count);
        foreach (LengthBucket bucket in lengths.Buckets.SkipWhile(bucket => bucket.Count == 0))
            Console.Out.WriteLine($"{$"up to {bucket.UpTo}",16}  {bucket.Count,9}  {new string('█', (int)Math.Ceiling((double)BarWidth * bucket.Count / most))}".TrimEnd());

        Console.Out.WriteLine($"\nan epoch in batches of at most {inspection.BatchTokens} tokens, sequences of at most {inspection.Plan.Context}; what padding adds is computed too");
        var table = new Table(("way to batch", 24), ("batches", 8), ("full", 7), ("tokens", 8), ("times", 6), ("scores", 8), ("times", 6), ("FLOPs: linear", 13), ("attention", 9), ("times", 6));
        foreach (BatchingWay way in inspection.Ways)
        {
            (BatchingCost cost, BatchingCost packed) = (way.Cost, inspection.Packed.Cost);
            table.Row(way.Name, cost.Batches.ToString(CultureInfo.InvariantCulture), cost.Fill.ToString("P1", CultureInfo.InvariantCulture), Quantity.Short(cost.Tokens), Times((double)cost.Tokens / packed.Tokens),
                Quantity.Short(cost.Scores), Times(cost.Scores / packed.Scores), Quantity.Short(inspection.Work.Linear(cost)), Quantity.Short(inspection.Work.Attention(cost)), Times(inspection.Work.Total(cost) / inspection.Work.Total(packed)));
        }
        Console.Out.WriteLine($"full: share of the budgets that is text. scores: causal attention's pairs of tokens, of one layer. FLOPs: training a GPT-2 of {inspection.Work.Layers} layers, width {inspection.Work.Width}, {inspection.Work.VocabularySize} ids");
        Console.Out.WriteLine($"\nrecommended: --batch-tokens {inspection.Budget.BatchTokens}; {inspection.Budget.Why}");

        static string Times(double value) => value.ToString("F2", CultureInfo.InvariantCulture);
    }
}
