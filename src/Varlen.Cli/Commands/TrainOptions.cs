using System.CommandLine;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>The options of varlen train that decide its result, from the command line to a request.</summary>
internal static class TrainOptions
{
    public static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, jsonl files, or folders with texts and source code.", Arity = ArgumentArity.ZeroOrMore };
    public static readonly Option<string?> Resume = new("--resume") { Description = "Go on with the run in this folder, with its data and settings.", HelpName = "DIR" };
    private static readonly Option<string?> Model = new("--model") { Description = "auto (by default), tiny, small (GPT-2), a config.json of GPT-2, Llama, Qwen2 or Mistral (its vocabulary becomes the tokenizer's), or the folder of a pretrained model.", HelpName = "MODEL" };
    private static readonly Option<string?> TokenizerName = new("--tokenizer") { Description = "byte, bpe:N (trained on the data) or a tokenizer.json; bytes below 5 MB of text, else bpe:4096.", HelpName = "TOKENIZER" };
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 2, 1 << 20, "Longest sequence; longer documents are cut, and nothing is dropped. 128 by default.");
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 2, 1 << 26, "Most tokens of a batch; 1024 by default.");
    private static readonly Option<int?> MicroBatches = OptionParsers.Integer("--micro-batches", 1, 1 << 16, "Batches of one optimiser step; 1 by default.");
    private static readonly Option<int?> Steps = OptionParsers.Integer("--steps", 1, 100_000_000, "Optimiser steps; by default what ends within five minutes on this machine.");
    private static readonly Option<double?> LearningRate = OptionParsers.Number("--lr", "X", value => value > 0 && double.IsFinite(value), "a finite positive number", "Learning rate after the warm-up.");
    private static readonly Option<int?> Warmup = OptionParsers.Integer("--warmup", 0, 100_000_000, "Steps in which the learning rate rises; a twentieth of the plan by default, at most 100.");
    private static readonly Option<LearningRateDecay?> Schedule = OptionParsers.Choice("--schedule", "What the learning rate does after the warm-up; cosine by default.",
        ("constant", LearningRateDecay.Constant), ("linear", LearningRateDecay.Linear), ("cosine", LearningRateDecay.Cosine));
    private static readonly Option<OptimizerKind?> Optimizer = OptionParsers.Choice("--optimizer", "adamw by default.", ("adamw", OptimizerKind.AdamW), ("sgd", OptimizerKind.Sgd));
    private static readonly Option<double?> Clip = OptionParsers.Number("--clip", "X", value => value >= 0 && double.IsFinite(value), "a finite number, 0 for no clipping", "Largest global gradient norm; 1 by default.");
    private static readonly Option<double?> WeightDecay = OptionParsers.Number("--weight-decay", "X", value => value >= 0 && double.IsFinite(value), "a finite number of at least 0", "Decoupled weight decay of matrices; 0.1 by default.");
    private static readonly Option<PackingPolicy?> Packing = OptionParsers.Choice("--packing", "How sequences share a batch; best-fit by default.", PackingOption.Choices);
    private static readonly Option<DType?> Precision = CommonOptions.Precision();
    private static readonly Option<int?> EvaluateEvery = OptionParsers.Integer("--evaluate-every", 1, 100_000_000, "Steps between two evaluations; a tenth of the plan by default.");
    private static readonly Option<int?> SaveEvery = OptionParsers.Integer("--save-every", 1, 100_000_000, "Steps between two checkpoints; as between evaluations by default.");
    private static readonly Option<int?> Seed = OptionParsers.Integer("--seed", 0, int.MaxValue, "Seed of weights, order, split and dropout; 1 by default.");
    private static readonly Option<Switch?> Capture = CommonOptions.Capture("--batch-tokens");
    public static readonly Option<bool> Deterministic = CommonOptions.Deterministic();

    /// <summary>All of them, in the order of the help.</summary>
    public static IEnumerable<Option> All =>
        [Model, TokenizerName, Context, BatchTokens, MicroBatches, Steps, LearningRate, Warmup, Schedule, Optimizer, Clip, WeightDecay, Packing, Precision, EvaluateEvery, SaveEvery, Seed, Deterministic, Capture, TextOptions.Field, TextOptions.Chat, TextOptions.BadLines];

    /// <summary>What the command line asks for.</summary>
    public static RunRequest Request(ParseResult parse) => new()
    {
        Data = parse.GetValue(Data) ?? [],
        Reading = TextOptions.Reading(parse),
        ChatFormat = parse.GetValue(TextOptions.Chat) ?? "auto",
        Model = parse.GetValue(Model) ?? "auto",
        Tokenizer = parse.GetValue(TokenizerName) ?? "auto",
        Context = parse.GetValue(Context),
        BatchTokens = parse.GetValue(BatchTokens),
        MicroBatches = parse.GetValue(MicroBatches) ?? 1,
        Steps = parse.GetValue(Steps),
        LearningRate = parse.GetValue(LearningRate),
        WarmupSteps = parse.GetValue(Warmup),
        Decay = parse.GetValue(Schedule) ?? LearningRateDecay.Cosine,
        ClipNorm = parse.GetValue(Clip) ?? 1,
        WeightDecay = parse.GetValue(WeightDecay) ?? 0.1,
        Optimizer = parse.GetValue(Optimizer) ?? OptimizerKind.AdamW,
        Packing = parse.GetValue(Packing) ?? PackingPolicy.BestFit,
        EvaluateEvery = parse.GetValue(EvaluateEvery),
        SaveEvery = parse.GetValue(SaveEvery),
        Precision = parse.GetValue(Precision),
        Deterministic = parse.GetValue(Deterministic),
        Capture = parse.GetValue(Capture) == Switch.On,
        Seed = parse.GetValue(Seed) ?? 1,
    };

    /// <summary>Refuses what a resumed run was not started with.</summary>
    /// <exception cref="CommandException">An option differs from the run's setting.</exception>
    public static void RequireSame(ParseResult parse, RunConfig config)
    {
        Same(Context, config.Context);
        Same(BatchTokens, config.BatchTokens);
        Same(MicroBatches, config.Training.MicroBatches);
        Same(Steps, config.Training.Steps);
        Same(LearningRate, config.Training.LearningRate);
        Same(Warmup, config.Training.WarmupSteps);
        Same(Schedule, config.Training.Decay);
        Same(Optimizer, config.Training.Optimizer);
        Same(Clip, config.Training.ClipNorm ?? 0);
        Same(WeightDecay, config.Training.WeightDecay);
        Same(Packing, config.Packing);
        Same(Precision, config.Precision);
        Same(EvaluateEvery, config.EvaluateEvery);
        Same(SaveEvery, config.SaveEvery);
        Same(Seed, config.Seed);
        if (parse.GetValue(Capture) is { } capture && (capture == Switch.On) != config.Training.Capture) throw Differs("--capture", capture == Switch.On ? "on" : "off", config.Training.Capture ? "on" : "off");
        if (parse.GetValue(Deterministic) && !config.Deterministic) throw Differs("--deterministic", "", "off");
        if (parse.GetValue(Model) is { } model && model != config.Model) throw Differs("--model", model, config.Model);
        if (parse.GetValue(TextOptions.Field) is { } field && field != config.TextField) throw Differs("--text-field", field, config.TextField ?? "none");
        if (parse.GetValue(TextOptions.Chat) is { } chat && chat != "auto" && chat != config.ChatFormat) throw Differs("--chat-format", chat, config.ChatFormat ?? "no conversations");
        if (parse.GetValue(TokenizerName) is { } tokenizer && tokenizer != "auto" && tokenizer != config.Tokenizer) throw Differs("--tokenizer", tokenizer, config.Tokenizer);

        void Same<T>(Option<T?> option, T value) where T : struct
        {
            if (parse.GetValue(option) is { } asked && !asked.Equals(value)) throw Differs(option.Name, asked, value);
        }
    }

    private static CommandException Differs(string option, object asked, object value)
        => new(ExitCode.Configuration, $"{option} {asked} differs from the run's setting", null, $"the run was started with {value}, and the same settings are what makes a resumed run equal to one that never stopped", $"leave {option} out, or start a new run in another folder");
}
