using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen train: a small decoder on the bytes of texts.</summary>
internal static class TrainCommand
{
    private static readonly Argument<string[]> Data = new("DATA") { Description = "Text files, or folders with .txt and .md files.", Arity = ArgumentArity.OneOrMore };
    private static readonly Option<int?> Steps = OptionParsers.Integer("--steps", 1, 1_000_000, "Optimiser steps; 200 by default.");
    private static readonly Option<int?> BatchTokens = OptionParsers.Integer("--batch-tokens", 16, 1 << 24, "Most tokens of a batch; 4096 by default.");
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 8, 1 << 20, "Longest sequence; longer documents are cut. 256 by default.");
    private static readonly Option<double?> LearningRate = OptionParsers.Number("--lr", "X", value => value > 0 && double.IsFinite(value), "a finite positive number", "Learning rate; 0.001 by default.");
    private static readonly Option<int?> Seed = OptionParsers.Integer("--seed", 0, int.MaxValue, "Seed of weights, order and sample; 1 by default.");
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<string?> Out = new("--out") { Description = "Folder for model.safetensors; runs/DATE-TIME by default.", HelpName = "DIR" };

    public static Command Create()
    {
        var command = new Command("train", "Train a small language model on the bytes of texts, without padding.") { Data };
        foreach (Option option in (Option[])[Steps, BatchTokens, Context, LearningRate, Seed, Threads, DeviceOption, Out]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        Device device = parse.GetValue(DeviceOption).Open();
        int seed = parse.GetValue(Seed) ?? 1, context = parse.GetValue(Context) ?? 256;
        var options = new TrainerOptions { Seed = seed };
        options = options with { Steps = parse.GetValue(Steps) ?? options.Steps, BatchTokens = parse.GetValue(BatchTokens) ?? options.BatchTokens, LearningRate = parse.GetValue(LearningRate) ?? options.LearningRate };
        if (context > options.BatchTokens) throw CommandException.Usage($"--context {context} is more than --batch-tokens {options.BatchTokens}", "a sequence must fit into a batch", "lower the context or raise the batch");

        IReadOnlyList<ReadOnlyMemory<int>> documents = Read(parse.GetRequiredValue(Data));
        List<TokenSequence> sequences = [.. documents.SelectMany(document => TokenSequence.Cut(document, context))];
        string folder = parse.GetValue(Out) ?? Path.Combine("runs", DateTime.Now.ToString("yyyy-MM-dd-HHmmss", System.Globalization.CultureInfo.InvariantCulture));
        string path = Path.Combine(folder, "model.safetensors");
        OutputFile.CreateFolder(folder);
        OutputFile.RequireWritable(path);

        var config = new DecoderConfig { VocabularySize = new ByteTokenizer().VocabularySize, MaxLength = context, Width = 128, Heads = 4, Layers = 4 };
        using Decoder model = new Decoder(config, (ulong)seed).To(device);
        Console.Error.WriteLine($"data   {documents.Count} documents, {sequences.Sum(s => (long)s.Tokens.Length)} tokens in {sequences.Count} sequences of at most {context}");
        Console.Error.WriteLine($"model  {model.Parameters().Sum(p => p.Master.Count)} parameters, {config.Layers} layers, width {config.Width}, on {device} with {Device.CpuThreads} threads");

        var log = new ProgressLines(options.Steps);
        using (var trainer = new Trainer(model, sequences, options)) trainer.Run(log);
        OutputFile.Write(path, () => Safetensors.Save(path, model.StateDict(), new Dictionary<string, string> { ["format"] = "pt" }));

        ReadOnlyMemory<int> first = documents[0];
        int[] prompt = first[..Math.Min(16, first.Length - 1)].ToArray();
        string sample = new ByteTokenizer().Decode(prompt.Concat(new TextGenerator(model, new ByteTokenizer().EndOfText).Generate(prompt, 200, seed: seed)));
        Console.Error.WriteLine($"saved  {path}");
        if (parse.GetValue(CommonOptions.Json))
            JsonOutput.Write(new JsonObject
            {
                ["status"] = "ok", ["model"] = path, ["steps"] = options.Steps, ["first_loss"] = JsonOutput.Number(log.First), ["last_loss"] = JsonOutput.Number(log.Last),
                ["tokens"] = log.Tokens, ["tokens_per_second"] = JsonOutput.Number(log.TokensPerSecond, 0), ["sample"] = sample,
            });
        else Console.Out.WriteLine(sample);
        return (int)ExitCode.Done;
    }

    private static IReadOnlyList<ReadOnlyMemory<int>> Read(string[] paths)
    {
        try
        {
            return TextDocuments.Read(paths);
        }
        catch (InvalidDataException e)
        {
            throw new CommandException(ExitCode.BadData, "there is nothing to train on", string.Join(", ", paths), e.Message, "name other files or folders", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot read the data", string.Join(", ", paths), e.Message, "give files or folders that exist and may be read", e);
        }
    }

    /// <summary>About twenty lines a run, on the error stream.</summary>
    private sealed class ProgressLines(int steps) : IProgress<TrainingProgress>
    {
        private readonly int _every = Math.Max(1, steps / 20);
        private double _seconds;

        public double First { get; private set; }
        public double Last { get; private set; }
        public long Tokens { get; private set; }
        public double TokensPerSecond => Tokens / _seconds;

        public void Report(TrainingProgress value)
        {
            if (value.Step == 1) First = value.Loss;
            Last = value.Loss;
            Tokens += value.Tokens;
            _seconds += value.Seconds;
            if (value.Step == 1 || value.Step % _every == 0 || value.Step == steps)
                Console.Error.WriteLine(string.Create(System.Globalization.CultureInfo.InvariantCulture,
                    $"step {value.Step,6}  loss {value.Loss:F4}  norm {value.GradientNorm:F2}  {value.Tokens / value.Seconds:F0} tokens/s"));
        }
    }
}
