using System.CommandLine;
using Varlen.Cli.Generation;
using Varlen.Cli.Terminal;
using Varlen.Generation;

namespace Varlen.Cli.Commands;

/// <summary>varlen generate: a model goes on with texts, which are printed as they are written.</summary>
internal static class GenerateCommand
{
    private static readonly Argument<string> Model = new("MODEL") { Description = "Folder of a run or of a model." };
    private static readonly Option<string[]> Prompt = new("--prompt", "-p") { Description = "A text to go on with; may be repeated. Without any the model begins a new one.", HelpName = "TEXT" };
    private static readonly Option<string?> Prompts = new("--prompts") { Description = "A file of texts to go on with: one a line, or jsonl records with prompt and, if wanted, seed. - is the standard input, one a line.", HelpName = "FILE" };
    private static readonly Option<int?> MaxTokens = OptionParsers.Integer("--max-tokens", 0, 1 << 24, "Most tokens to add; 200 by default.");
    private static readonly Option<double?> Temperature = OptionParsers.Number("--temperature", "T", value => value >= 0 && double.IsFinite(value), "a finite number of at least 0", "How freely to choose; 0 takes the likeliest token. 0.8 by default.");
    private static readonly Option<int?> TopK = OptionParsers.Integer("--top-k", 1, 1 << 24, "Choose among the K likeliest tokens.", "K");
    private static readonly Option<double?> TopP = OptionParsers.Number("--top-p", "P", value => value is > 0 and <= 1, "a number above 0, at most 1", "Choose among the likeliest tokens that together have this probability.");
    private static readonly Option<double?> Penalty = OptionParsers.Number("--repetition-penalty", "R", value => value > 0 && double.IsFinite(value), "a finite number above 0", "Makes tokens that were there less likely, above 1; 1, which changes nothing, by default.");
    private static readonly Option<string[]> Stop = new("--stop") { Description = "End a text before this string; may be repeated.", HelpName = "TEXT" };
    private static readonly Option<int?> Seed = OptionParsers.Integer("--seed", 0, int.MaxValue, "Seed of the choices; 1 by default. A prompt's text does not depend on the other prompts.");
    private static readonly Option<int?> Batch = OptionParsers.Integer("--batch", 1, 1 << 16, "Most texts that are written together; 32 by default.");
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.BestDevice();
    private static readonly Option<DType?> Precision = CommonOptions.Precision();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("generate", "Let a model write text.") { Model };
        foreach (Option option in (Option[])[Prompt, Prompts, MaxTokens, Temperature, TopK, TopP, Penalty, Stop, Seed, Batch, DeviceOption, Precision, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        string[] given = parse.GetValue(Prompt) ?? [], stops = parse.GetValue(Stop) ?? [];
        string? file = parse.GetValue(Prompts);
        if (given.Length > 0 && file is not null) throw CommandException.Usage("--prompt does not go with --prompts", "both say what to go on with", "use one of them");
        if (stops.Contains("")) throw CommandException.Usage("--stop cannot be empty", "every text would end at once", "give the string before which texts end, or leave it out");
        CommonOptions.UseThreads(parse.GetValue(Threads));
        bool json = parse.GetValue(CommonOptions.Json);
        // Before the model is opened: a file that cannot be read is told at once.
        IEnumerable<PromptText> prompts = file is not null ? PromptFile.Read(file) : given.Length > 0 ? given.Select(text => new PromptText(text, null)) : [new PromptText("", null)];
        using TrainedModel trained = TrainedModel.Open(parse.GetRequiredValue(Model), parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic)), parse.GetValue(Precision));
        var options = new GenerationOptions
        {
            MaxTokens = parse.GetValue(MaxTokens) ?? 200,
            Temperature = parse.GetValue(Temperature) ?? 0.8,
            TopK = parse.GetValue(TopK),
            TopP = parse.GetValue(TopP),
            RepetitionPenalty = parse.GetValue(Penalty) ?? 1,
            Stop = stops,
            Seed = parse.GetValue(Seed) ?? 1,
            BatchSize = parse.GetValue(Batch) ?? 32,
        };
        var output = new GeneratedTexts(json, isAlone: file is null && given.Length <= 1);
        var generator = new TextGenerator(trained.Model, trained.Tokenizer);
        foreach (GeneratedToken token in generator.Generate(prompts.Select(Encode), options)) output.Add(token);
        if (parse.GetValue(CommonOptions.Verbose) && generator.WhyNotRecorded is { } why) Console.Error.WriteLine($"steps were not recorded: {Printable.Text(why)}");
        return (int)ExitCode.Done;

        GenerationPrompt Encode(PromptText prompt)
        {
            output.Begin(prompt.Text);
            int[] ids = trained.Tokenizer.Encode(prompt.Text);
            return new GenerationPrompt(ids.Length == 0 ? [trained.Tokenizer.EndOfText] : ids, prompt.Seed);
        }
    }
}
