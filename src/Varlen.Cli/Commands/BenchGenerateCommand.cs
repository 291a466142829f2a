using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Varlen.Models;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench generate: tokens a second of a decoder that writes, alone and for many prompts, beside the bandwidth of memory.</summary>
internal static class BenchGenerateCommand
{
    private static readonly Option<string?> Model = new("--model") { HelpName = "FOLDER", Description = "A model's folder; without weights there they are drawn. GPT-2 with 124 million random weights by default." };
    private static readonly Option<int?> Layers = OptionParsers.Integer("--layers", 1, 1024, "Blocks of GPT-2; 12 by default.");
    private static readonly Option<int?> Width = OptionParsers.Integer("--width", 1, 1 << 16, "Width of the activations; 768 by default.");
    private static readonly Option<int?> Heads = OptionParsers.Integer("--heads", 1, 4096, "Attention heads, a divisor of the width; 12 by default.");
    private static readonly Option<int?> Vocabulary = OptionParsers.Integer("--vocabulary", 2, 1 << 24, "Token ids; 50257 by default.");
    private static readonly Option<string> Lengths = new("--lengths") { HelpName = "FILE|uniform:A..BxN|fixed:LxN", Description = "Tokens of the prompts; uniform:8..256x32 by default." };
    private static readonly Option<int?> MaxTokens = OptionParsers.Integer("--max-tokens", 2, 1 << 20, "Tokens to add to each prompt; 256 by default.");
    private static readonly Option<DType?> ElementType = OptionParsers.Choice("--dtype", "Type of weights and activations; float32 by default, bfloat16 on a GPU.", ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<ulong?> Seed = OptionParsers.Seed("Seed of weights, prompts and uniform lengths; 0 by default.");
    private static readonly Option<int?> Rounds = OptionParsers.Integer("--rounds", 1, 1000, "How often each batch is written; 3 by default.");

    public static Command Create()
    {
        var command = new Command("generate", "Text generation, one prompt alone and many together, as shares of the bandwidth of memory.");
        foreach (Option option in (Option[])[Model, Layers, Width, Heads, Vocabulary, Lengths, MaxTokens, ElementType, DeviceOption, Threads, Seed, Rounds]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        BenchCommand.WarnOfDebugBuild();
        ulong seed = parse.GetValue(Seed) ?? 0;
        LengthsSpec lengths = LengthsSpec.Parse(parse.GetValue(Lengths) ?? "uniform:8..256x32", seed);
        if (lengths.Lengths.Contains(0)) throw CommandException.Usage("a prompt has no tokens", $"{lengths.Name} has a length of 0", "give lengths of at least 1");
        int tokens = parse.GetValue(MaxTokens) ?? 256;
        Device device = parse.GetValue(DeviceOption).Open();
        DType dtype = parse.GetValue(ElementType) ?? RunPlanner.DefaultPrecision(device);
        using CausalLanguageModel model = Open(parse, lengths.Lengths.Max() + tokens, seed, device, dtype);
        model.Eval();
        KernelProgress.Prepare(model);
        GenerateResult result = GenerateBenchmark.Run(model, lengths.Lengths, tokens, parse.GetValue(Rounds) ?? 3, seed);
        if (parse.GetValue(CommonOptions.Json)) WriteJson(lengths, model, result);
        else Print(model, result);
        if (parse.GetValue(CommonOptions.Verbose) && result.WhyNotRecorded is { } why) Console.Error.WriteLine($"steps were not recorded: {Printable.Text(why)}");
        return (int)ExitCode.Done;
    }

    private static CausalLanguageModel Open(ParseResult parse, int positions, ulong seed, Device device, DType dtype)
    {
        if (parse.GetValue(Model) is { } folder)
        {
            if (((Option[])[Layers, Width, Heads, Vocabulary]).Any(option => parse.GetResult(option) is not null))
                throw CommandException.Usage("sizes do not go with --model", "the model has its own", "leave one of them out");
            bool hasWeights = Directory.Exists(folder) && Directory.EnumerateFiles(folder, "*.safetensors").Any();
            return hasWeights ? CausalLanguageModel.FromPretrained(folder, device, dtype) : CausalLanguageModel.FromConfig(folder, seed).To(device, dtype);
        }
        int width = parse.GetValue(Width) ?? 768, heads = parse.GetValue(Heads) ?? 12;
        if (width % heads != 0) throw CommandException.Usage($"width {width} cannot be split into {heads} heads", "all heads are of one size", "make --width a multiple of --heads");
        if (width / heads > 256) throw CommandException.Usage($"width {width} in {heads} heads makes heads of {width / heads}", "a head has at most 256 features", "raise --heads");
        var config = new Gpt2Config { Layers = parse.GetValue(Layers) ?? 12, Width = width, Heads = heads, VocabularySize = parse.GetValue(Vocabulary) ?? 50257, MaxLength = Math.Max(1024, positions), EndOfText = null };
        return new Gpt2Model(config, seed).To(device, dtype);
    }

    private static void WriteJson(LengthsSpec lengths, CausalLanguageModel model, GenerateResult result)
    {
        foreach (GenerateRow row in result.Rows)
        {
            JsonOutput.Write(new JsonObject
            {
                ["workload"] = lengths.Name, ["prompts"] = row.Prompts, ["prompt_tokens"] = row.PromptTokens, ["tokens"] = row.Tokens, ["device"] = model.Device.ToString(), ["dtype"] = model.DType.ToString().ToLowerInvariant(), ["threads"] = Device.CpuThreads,
                ["first_token_ms"] = JsonOutput.Number(row.FirstTokenMilliseconds), ["ms_per_step"] = JsonOutput.Number(row.Milliseconds), ["min_ms_per_step"] = JsonOutput.Number(row.LeastMilliseconds), ["tok_per_s"] = JsonOutput.Number(row.TokensPerSecond, 1),
                ["step_bytes"] = row.StepBytes, ["gb_s"] = JsonOutput.Number(row.StepBytes / row.Milliseconds * 1e-6, 2), ["ratio"] = JsonOutput.Number(row.Ratio), ["best_ratio"] = JsonOutput.Number(row.BestRatio),
            });
        }
        JsonOutput.Write(new JsonObject
        {
            ["summary"] = "generate", ["layers"] = model.Layers, ["width"] = model.Width, ["heads"] = model.Heads, ["kv_heads"] = model.KeyValueHeads, ["vocabulary"] = model.VocabularySize,
            ["capture"] = model.Device != Device.Cpu && result.WhyNotRecorded is null, ["bandwidth"] = Name(model), ["bandwidth_gb_s"] = JsonOutput.Number(result.BytesPerSecond * 1e-9, 2),
        });
    }

    private static void Print(CausalLanguageModel model, GenerateResult result)
    {
        var table = new Table(("prompts", 8), ("tokens", 8), ("first ms", 9), ("ms a step", 9), ("fastest", 9), ("tokens/s", 9), ("GB/s", 8), ("of " + Name(model), 8), ("at best", 8));
        foreach (GenerateRow row in result.Rows)
            table.Row($"{row.Prompts}", $"{row.Tokens}", $"{row.FirstTokenMilliseconds:F1}", $"{row.Milliseconds:F3}", $"{row.LeastMilliseconds:F3}", $"{row.TokensPerSecond:F1}", $"{row.StepBytes / row.Milliseconds * 1e-6:F2}", $"{row.Ratio:P1}", $"{row.BestRatio:P1}");
        Console.Out.WriteLine($"{model.Layers} blocks of width {model.Width}, {model.DType} on {model.Device}; {Name(model)} bandwidth {result.BytesPerSecond * 1e-9:F2} GB/s");
    }

    private static string Name(CausalLanguageModel model) => model.Device == Device.Cpu ? "reading" : "copying";
}
