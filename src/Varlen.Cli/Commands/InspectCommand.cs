using System.CommandLine;
using Varlen.Cli.Inspection;
using Varlen.Cli.Reports;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Text;

namespace Varlen.Cli.Commands;

/// <summary>varlen inspect: lengths of documents, and what each way to batch them costs.</summary>
internal static class InspectCommand
{
    private static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, jsonl files, or folders.", Arity = ArgumentArity.OneOrMore };
    private static readonly Option<string?> TokenizerName = new("--tokenizer") { Description = "byte (by default), bpe:N (trained on the data), a tokenizer.json or a folder that holds one.", HelpName = "TOKENIZER" };
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 2, 1 << 20, "Longest sequence; longer documents are cut. 128 by default.");
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 2, 1 << 26, "Most tokens of a batch; 1024 by default.");
    private static readonly Option<string?> Html = new("--html") { Description = "Also write a page with charts.", HelpName = "FILE" };

    public static Command Create()
    {
        var command = new Command("inspect", "Show how long documents are, how full batches get, and what padding would cost.") { Data };
        foreach (Option option in (Option[])[TokenizerName, Context, BatchTokens, TextOptions.Field, TextOptions.Chat, TextOptions.BadLines, Html]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        int context = parse.GetValue(Context) ?? 128, batchTokens = parse.GetValue(BatchTokens) ?? Math.Max(1024, context);
        if (context > batchTokens) throw CommandException.Usage($"--context {context} is more than --batch-tokens {batchTokens}", "a sequence must fit into a batch", "lower the context or raise the batch");
        if (parse.GetValue(Html) is { } page) OutputFile.RequireWritable(page);
        string[] paths = parse.GetRequiredValue(Data);
        TextCorpusOptions reading = TextOptions.Reading(parse);
        Tokenizer tokenizer = ChooseTokenizer(parse.GetValue(TokenizerName) ?? "byte", paths, reading);
        string temporary = Path.Combine(Path.GetTempPath(), $"varlen-{Path.GetRandomFileName()}");
        try
        {
            CorpusSummary corpus = TextCorpus.Tokenize(paths, tokenizer, temporary, TextOptions.Reading(parse, FolderOf(parse.GetValue(TokenizerName)), tokenizer));
            using TokenStore store = TokenStore.Open(temporary);
            DataInspection inspection = DataInspection.Of(corpus, SequencePlan.Create(store, context, seed: 1), batchTokens, tokenizer.VocabularySize);
            if (parse.GetValue(CommonOptions.Json)) JsonOutput.Write(InspectionJson.Of(inspection));
            else InspectionText.Print(inspection);
            if (parse.GetValue(Html) is { } path) InspectionReport.Write(path, inspection);
            return (int)ExitCode.Done;
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    // Beside a model's tokenizer is its chat format.
    private static string? FolderOf(string? tokenizer) => Directory.Exists(tokenizer) ? tokenizer : File.Exists(tokenizer) ? Path.GetDirectoryName(Path.GetFullPath(tokenizer)) : null;

    private static Tokenizer ChooseTokenizer(string name, string[] paths, TextCorpusOptions reading)
    {
        if (name == "byte") return new ByteTokenizer();
        if (!name.StartsWith("bpe:", StringComparison.Ordinal)) return Tokenizer.Load(name);
        return int.TryParse(name.AsSpan(4), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int size) && size is >= 257 and <= 1 << 20
            ? TextCorpus.TrainTokenizer(paths, size, reading)
            : throw OptionParsers.Bad("--tokenizer", name, "byte, bpe:N with N from 257, or the path of a tokenizer.json");
    }
}
