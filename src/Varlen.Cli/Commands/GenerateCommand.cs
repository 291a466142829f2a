using System.CommandLine;
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Generation;
using Varlen.Text;

namespace Varlen.Cli.Commands;

/// <summary>varlen generate: a model goes on with a text, which is printed as it is written.</summary>
internal static class GenerateCommand
{
    private static readonly Argument<string> Model = new("MODEL") { Description = "Folder of a run or of a model." };
    private static readonly Option<string?> Prompt = new("--prompt", "-p") { Description = "The text to go on with; without it the model begins a new one.", HelpName = "TEXT" };
    private static readonly Option<int?> MaxTokens = OptionParsers.Integer("--max-tokens", 0, 1 << 24, "Most tokens to add; 200 by default.");
    private static readonly Option<double?> Temperature = OptionParsers.Number("--temperature", "T", value => value >= 0 && double.IsFinite(value), "a finite number of at least 0", "How freely to choose; 0 takes the likeliest token. 0.8 by default.");
    private static readonly Option<int?> TopK = OptionParsers.Integer("--top-k", 1, 1 << 24, "Choose among the K likeliest tokens.", "K");
    private static readonly Option<double?> TopP = OptionParsers.Number("--top-p", "P", value => value is > 0 and <= 1, "a number above 0, at most 1", "Choose among the likeliest tokens that together have this probability.");
    private static readonly Option<int?> Seed = OptionParsers.Integer("--seed", 0, int.MaxValue, "Seed of the choices; 1 by default.");
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.BestDevice();
    private static readonly Option<DType?> Precision = CommonOptions.Precision();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("generate", "Let a model write text.") { Model };
        foreach (Option option in (Option[])[Prompt, MaxTokens, Temperature, TopK, TopP, Seed, DeviceOption, Precision, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        using TrainedModel trained = TrainedModel.Open(parse.GetRequiredValue(Model), parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic)), parse.GetValue(Precision));
        bool json = parse.GetValue(CommonOptions.Json);
        string prompt = parse.GetValue(Prompt) ?? "";
        int[] ids = trained.Tokenizer.Encode(prompt);
        if (ids.Length == 0) ids = [trained.Tokenizer.EndOfText];
        if (!json) Console.Out.Write(prompt);

        var decoder = new StreamingDecoder(trained.Tokenizer);
        var text = new StringBuilder();
        int tokens = 0;
        long start = Stopwatch.GetTimestamp();
        foreach (int id in new TextGenerator(trained.Model, trained.Tokenizer.EndOfText).Generate(
            ids, parse.GetValue(MaxTokens) ?? 200, parse.GetValue(Temperature) ?? 0.8, parse.GetValue(TopK), parse.GetValue(TopP), parse.GetValue(Seed) ?? 1))
        {
            tokens++;
            Emit(decoder.Add(id));
        }
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        Emit(decoder.Finish());
        if (json)
        {
            JsonOutput.Write(new JsonObject { ["prompt"] = prompt, ["text"] = text.ToString(), ["tokens"] = tokens, ["tokens_per_second"] = JsonOutput.Number(tokens / seconds, 1) });
            return (int)ExitCode.Done;
        }
        Console.Out.WriteLine();
        return (int)ExitCode.Done;

        void Emit(string piece)
        {
            if (json) text.Append(piece);
            else Console.Out.Write(Console.IsOutputRedirected ? piece : Printable.Text(piece, lines: true));
        }
    }
}
