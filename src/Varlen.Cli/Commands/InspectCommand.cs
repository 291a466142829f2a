using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;
using Varlen.Text;

namespace Varlen.Cli.Commands;

/// <summary>varlen inspect: lengths of documents, and what each way to batch them costs.</summary>
internal static class InspectCommand
{
    private const int BarWidth = 40;

    private static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, jsonl files, or folders.", Arity = ArgumentArity.OneOrMore };
    private static readonly Option<string?> TokenizerPath = new("--tokenizer") { Description = "byte (by default) or a tokenizer.json.", HelpName = "TOKENIZER" };
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 2, 1 << 20, "Longest sequence; longer documents are cut. 128 by default.");
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 2, 1 << 26, "Most tokens of a batch; 1024 by default.");

    public static Command Create()
    {
        var command = new Command("inspect", "Show how long documents are, how full batches get, and what padding would cost.") { Data };
        foreach (Option option in (Option[])[TokenizerPath, Context, BatchTokens, TextOptions.Field, TextOptions.Chat, TextOptions.BadLines]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        int context = parse.GetValue(Context) ?? 128, batchTokens = parse.GetValue(BatchTokens) ?? Math.Max(1024, context);
        if (context > batchTokens) throw CommandException.Usage($"--context {context} is more than --batch-tokens {batchTokens}", "a sequence must fit into a batch", "lower the context or raise the batch");
        Tokenizer tokenizer = parse.GetValue(TokenizerPath) is { } path && path != "byte" ? Tokenizer.Load(path) : new ByteTokenizer();
        string temporary = Path.Combine(Path.GetTempPath(), $"varlen-{Path.GetRandomFileName()}");
        try
        {
            CorpusSummary corpus = TextCorpus.Tokenize(parse.GetRequiredValue(Data), tokenizer, temporary, TextOptions.Reading(parse, Path.GetDirectoryName(parse.GetValue(TokenizerPath)), tokenizer));
            using TokenStore store = TokenStore.Open(temporary);
            SequencePlan plan = SequencePlan.Create(store, context, seed: 1);
            PackingReport[] packings = [.. PackingOption.Choices.Select(choice => PackingReport.Create(plan, batchTokens, choice.Value))];
            if (parse.GetValue(CommonOptions.Json)) WriteJson(corpus, plan, packings);
            else Print(corpus, plan, packings, batchTokens);
            return (int)ExitCode.Done;
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static void WriteJson(CorpusSummary corpus, SequencePlan plan, PackingReport[] packings) => JsonOutput.Write(new JsonObject
    {
        ["files"] = corpus.Files.Count,
        ["bytes"] = corpus.Bytes,
        ["documents"] = corpus.Documents,
        ["tokens"] = corpus.Tokens,
        ["empty"] = corpus.EmptyDocuments,
        ["other_files"] = corpus.OtherFiles,
        ["skipped"] = new JsonArray([.. corpus.Skipped.Select(file => new JsonObject { ["path"] = file.Path, ["reason"] = file.Reason })]),
        ["bad_lines"] = corpus.BadLineCount,
        ["lengths"] = RunEnvironment.Lengths(corpus.Lengths),
        ["records"] = RunEnvironment.Records(corpus),
        ["context"] = plan.Context,
        ["cut"] = plan.CutDocuments,
        ["sequences"] = plan.Training.Length + plan.HeldOut.Length,
        ["training_tokens"] = plan.TrainingTokens,
        ["held_out_tokens"] = plan.HeldOutTokens,
        ["ledger"] = RunEnvironment.Ledger(plan.Ledger),
        ["packing"] = new JsonArray([.. packings.Select(RunEnvironment.Packing)]),
    });

    private static void Print(CorpusSummary corpus, SequencePlan plan, PackingReport[] packings, int batchTokens)
    {
        LengthHistogram lengths = corpus.Lengths;
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{corpus.Files.Count} files, {corpus.Documents} documents, {Quantity.Bytes(corpus.Bytes)}, {corpus.Tokens} tokens; lengths: median {lengths.Median}, mean {lengths.Mean:F1}, 90 % up to {lengths.Percentile90}, 99 % up to {lengths.Percentile99}, longest {lengths.Longest}"));
        foreach (RecordCount record in corpus.Records) Console.Out.WriteLine(PlanPage.Describe(record));
        if (plan.CutDocuments > 0) Console.Out.WriteLine(PlanPage.DescribeCut(plan));
        foreach (SkippedFile skipped in corpus.Skipped) Console.Out.WriteLine($"skipped {Printable.Text(skipped.Path)}: {skipped.Reason}");
        foreach (BadLine bad in corpus.BadLines) Console.Out.WriteLine($"bad line {Printable.Text(bad.ToString())}");
        Console.Out.WriteLine();
        long most = lengths.Buckets.Max(bucket => bucket.Count);
        foreach (LengthBucket bucket in lengths.Buckets.SkipWhile(bucket => bucket.Count == 0))
            Console.Out.WriteLine($"{$"up to {bucket.UpTo}",16}  {bucket.Count,9}  {new string('█', (int)Math.Ceiling((double)BarWidth * bucket.Count / most))}".TrimEnd());
        Console.Out.WriteLine($"\nsequences of at most {plan.Context} tokens in batches of at most {batchTokens}; the last columns: what padded rows would cost, times the packed work");
        var table = new Table(("policy", 10), ("batches", 8), ("full", 7), ("longest: tokens", 15), ("scores", 7), ("maximum: tokens", 15), ("scores", 7));
        foreach (PackingReport packing in packings)
        {
            table.Row(PackingOption.Name(packing.Policy), packing.Batches.ToString(CultureInfo.InvariantCulture), packing.Fill.ToString("P1", CultureInfo.InvariantCulture),
                Times(packing.ToLongest.Tokens), Times(packing.ToLongest.Scores), Times(packing.ToMaximum.Tokens), Times(packing.ToMaximum.Scores));
        }

        static string Times(double value) => value.ToString("F2", CultureInfo.InvariantCulture);
    }
}
