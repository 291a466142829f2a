using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Auditing;
using Varlen.Cli.Auditing;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen audit: that packing changes nothing and loses nothing, on a user's model and data.</summary>
internal static class AuditCommand
{
    private const int DefaultContext = 128, DefaultDocuments = 12;

    private static readonly Argument<string> Model = new("MODEL") { Description = "Folder of a run or of a model." };
    private static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, jsonl files, or folders; a run's own by default, and random documents for a model.", Arity = ArgumentArity.ZeroOrMore };
    private static readonly Option<int?> Documents = OptionParsers.Integer("--documents", 2, 4096, $"Sequences that are taken from the data for the model's checks; {DefaultDocuments} by default.");
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 2, 1 << 20, "Longest sequence; the run's, or at most 128, by default.");
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 2, 1 << 26, "Most tokens of a batch of the ledger's epoch; the run's, or 1024, by default.");
    private static readonly Option<ulong?> Seed = OptionParsers.Seed("Seed of what is sampled and of what documents are replaced by; 1 by default.");
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.BestDevice();
    private static readonly Option<DType?> Precision = CommonOptions.Precision();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("audit", "Prove on a model and data that no document sees another, and that no token is lost.") { Model, Data };
        foreach (Option option in (Option[])[Documents, Context, BatchTokens, TextOptions.Field, TextOptions.BadLines, Seed, DeviceOption, Precision, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        using var signals = new StopSignals("stopping");
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic));
        using AuditSubject subject = AuditSubject.Open(parse.GetRequiredValue(Model), device, parse.GetValue(Precision) ?? RunPlanner.DefaultPrecision(device));
        try
        {
            using AuditData data = OpenData(parse, subject, signals.Token);
            return Audit(parse, subject, data, signals.Token);
        }
        catch (OperationCanceledException e)
        {
            throw signals.Stopped(e);
        }
    }

    private static AuditData OpenData(ParseResult parse, AuditSubject subject, CancellationToken cancellationToken)
    {
        string[] paths = parse.GetValue(Data) ?? [];
        int context = parse.GetValue(Context) ?? subject.Config?.Context ?? Math.Min(DefaultContext, subject.Model.MaxLength);
        if (context > subject.Model.MaxLength) throw CommandException.Usage($"--context {context} is longer than the model's {subject.Model.MaxLength} positions", fix: "lower it");
        if (BatchTokensFor(parse, subject, context) is var tokens && context > tokens) throw CommandException.Usage($"--context {context} is more than --batch-tokens {tokens}", "a sequence must fit into a batch", "lower the context or raise the batch");
        if (paths.Length > 0)
        {
            var reading = TextOptions.Reading(parse);
            if (parse.GetValue(TextOptions.Field) is null && subject.Config is { } config) reading = reading with { TextField = config.TextField };
            return AuditData.Read(paths, subject.Tokenizer(), reading, context, subject.Config?.Seed ?? 1, cancellationToken);
        }
        if (subject.Run is not { } run || subject.Config is not { } settings) return AuditData.Random(context, subject.Model.VocabularySize, parse.GetValue(Seed) ?? 1);
        return AuditData.Of(run, settings with { Context = context }, subject.Tokenizer());
    }

    private static int BatchTokensFor(ParseResult parse, AuditSubject subject, int context) => parse.GetValue(BatchTokens) ?? Math.Max(context, subject.Config?.BatchTokens ?? 1024);

    private static int Audit(ParseResult parse, AuditSubject subject, AuditData data, CancellationToken cancellationToken)
    {
        ulong seed = parse.GetValue(Seed) ?? 1;
        int count = parse.GetValue(Documents) ?? DefaultDocuments, batchTokens = BatchTokensFor(parse, subject, data.Plan.Context);
        long parameters = subject.Model.Parameters().Sum(parameter => parameter.Master.Count);
        int most = Math.Max(4, AuditSample.TokensFor(parameters, subject.Model.VocabularySize) * Math.Max(1, count / DefaultDocuments));
        IReadOnlyList<TokenSequence> sample = AuditSample.Of(data.Store, data.Plan, count, most, seed);
        int tokens = sample.Sum(sequence => sequence.Tokens.Length), shortest = sample.Min(sequence => sequence.Tokens.Length), longest = sample.Max(sequence => sequence.Tokens.Length);
        bool json = parse.GetValue(CommonOptions.Json), exact = subject.Model.Device == Device.Cpu || subject.Model.Device.IsDeterministic;
        var page = new AuditPage(prints: !json);
        page.Head("model", $"{subject.Source}, {Quantity.Short(parameters)} parameters, {subject.Model.DType} on {MachineInfo.Describe(subject.Model.Device)}");
        page.Head("data", $"{data.Description}: {data.Store.DocumentCount} documents, {data.Store.Tokens} tokens; context {data.Plan.Context}");
        page.Head("sample", $"{sample.Count} sequences of {shortest} to {longest} tokens, {tokens} in all, seed {seed}");
        page.Head("bits", exact ? "rows keep their bits whatever is beside them; sums over rows do in their place" : "this GPU keeps bits for attention alone; whole models keep them with --deterministic. Errors are compared with thresholds");
        var audit = new ModelAudit(subject.Model, sample, seed);
        page.Add("isolation: what else is in a batch changes nothing for a document", audit.Isolation(AuditedStrategy.Packed));
        cancellationToken.ThrowIfCancellationRequested();
        IReadOnlyList<AuditCheck> computed = audit.Equivalence(audit.Strategies);
        page.Add("equivalence: every way to batch gives what each document alone gives", computed.Where(check => check.Area == AuditArea.Equivalence));
        page.Add("labels: targets stay in their document, and ignored ones do not count", [.. audit.Labels(audit.Strategies), .. computed.Where(check => check.Area == AuditArea.Labels)]);
        page.Add("ledger: every token once, and nothing held out is trained on", Ledger(subject, data, batchTokens, cancellationToken));
        page.End();
        if (!json) return (int)(page.Fails ? ExitCode.CheckFailed : ExitCode.Done);
        var result = new JsonObject
        {
            ["status"] = null, ["model"] = subject.Source, ["parameters"] = parameters, ["device"] = subject.Model.Device.ToString(), ["precision"] = subject.Model.DType.ToString(), ["deterministic"] = subject.Model.Device.IsDeterministic,
            ["same_bits"] = exact, ["data"] = data.Description, ["documents"] = data.Store.DocumentCount, ["tokens"] = data.Store.Tokens, ["context"] = data.Plan.Context, ["batch_tokens"] = batchTokens, ["seed"] = seed,
            ["sample"] = new JsonObject { ["sequences"] = sample.Count, ["tokens"] = tokens, ["shortest"] = shortest, ["longest"] = longest },
        };
        page.Describe(result);
        JsonOutput.Write(result);
        return (int)(page.Fails ? ExitCode.CheckFailed : ExitCode.Done);
    }

    private static IEnumerable<AuditCheck> Ledger(AuditSubject subject, AuditData data, int batchTokens, CancellationToken cancellationToken)
    {
        var audit = new DataAudit(data.Store, data.Plan);
        if (data.Documents is { } documents)
            foreach (AuditCheck check in audit.Store(documents)) yield return check;
        else yield return new(AuditArea.Ledger, "the store is the data's documents, tokenised one by one", AuditOutcome.NotRun, data.Missing!, []);
        foreach ((string word, PackingPolicy policy) in PackingOption.Choices.Where(choice => subject.Config is null || choice.Value == subject.Config.Packing))
        {
            cancellationToken.ThrowIfCancellationRequested();
            using var loader = new PackedLoader(data.Store, data.Plan, new LoaderOptions { BatchTokens = batchTokens, Policy = policy, Seed = subject.Config?.Seed ?? 1 });
            foreach (AuditCheck check in audit.Epoch(word, DataAudit.Epoch(loader), EvaluationBatches.Read(data.Store, data.Plan, batchTokens))) yield return check;
        }
    }
}
