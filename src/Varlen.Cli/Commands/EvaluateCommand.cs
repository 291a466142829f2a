using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen evaluate: how well a model predicts texts.</summary>
internal static class EvaluateCommand
{
    private static readonly Argument<string> Model = new("MODEL") { Description = "Folder of a run or of a model." };
    private static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, jsonl files, or folders.", Arity = ArgumentArity.OneOrMore };
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 2, 1 << 26, "Most tokens of a batch; 4096 by default. Results do not depend on it beyond rounding.");
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 2, 1 << 20, "Longest sequence; the model's by default.");
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.BestDevice();
    private static readonly Option<DType?> Precision = CommonOptions.Precision();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("evaluate", "Measure how well a model predicts texts.") { Model, Data };
        foreach (Option option in (Option[])[Context, BatchTokens, TextOptions.Field, TextOptions.Chat, TextOptions.BadLines, DeviceOption, Precision, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        using var signals = new StopSignals("stopping");
        using TrainedModel trained = TrainedModel.Open(parse.GetRequiredValue(Model), parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic)), parse.GetValue(Precision));
        int context = parse.GetValue(Context) ?? trained.Model.MaxLength;
        if (context > trained.Model.MaxLength) throw CommandException.Usage($"--context {context} is longer than the model's {trained.Model.MaxLength} positions", fix: "lower it");
        string temporary = Path.Combine(Path.GetTempPath(), $"varlen-{Path.GetRandomFileName()}");
        try
        {
            CorpusSummary corpus = TextCorpus.Tokenize(parse.GetRequiredValue(Data), trained.Tokenizer, temporary, TextOptions.Reading(parse, trained.Folder, trained.Tokenizer), cancellationToken: signals.Token);
            using TokenStore store = TokenStore.Open(temporary);
            EvaluationResult result = new Evaluator(trained.Model, trained.Tokenizer).Run(store, SequencePlan.ForEvaluation(store, context), Math.Max(context, parse.GetValue(BatchTokens) ?? 4096), signals.Token);
            if (parse.GetValue(CommonOptions.Json))
            {
                JsonOutput.Write(new JsonObject
                {
                    ["loss"] = JsonOutput.Number(result.Loss, 6),
                    ["tokens"] = result.Tokens,
                    ["bits_per_byte"] = JsonOutput.Number(result.BitsPerByte, 6),
                    ["documents"] = corpus.Documents,
                    ["perplexity"] = JsonOutput.Number(Math.Exp(result.Loss)),
                    ["bytes"] = result.Bytes,
                });
            }
            else
            {
                Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"loss {result.Loss:F4} nats a token, {(double.IsFinite(result.BitsPerByte) ? $"{result.BitsPerByte.ToString("F4", CultureInfo.InvariantCulture)} bits a byte, " : "")}perplexity {Math.Exp(result.Loss):F2}; {result.Tokens} tokens of {corpus.Documents} documents"));
            }
            return (int)ExitCode.Done;
        }
        catch (OperationCanceledException e)
        {
            throw signals.Stopped(e);
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
