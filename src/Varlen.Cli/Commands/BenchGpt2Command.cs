using System.CommandLine;
using Varlen.Cli.Benchmarks;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench gpt2: the ways to train GPT-2 on sequences that differ in length, beside each other and beside HuggingFace's.</summary>
internal static class BenchGpt2Command
{
    private static readonly StepCommandOptions Options = new("gpt2");

    public static Command Create()
    {
        var command = new Command("gpt2", "Steps of GPT-2: padded with a mask, unpadded around attention, and flattened with position ids. Full size (24 layers of width 1024) on a GPU, small on the CPU.");
        foreach (Option option in Options.All) command.Add(option);
        command.SetAction(parse => Options.Run(parse, StepModel.Gpt2, parse.GetValue(Options.Device).IsCuda, [StepStrategy.Flattened, StepStrategy.Padded, StepStrategy.PaddedLongest, StepStrategy.PaddedUnpad]));
        return command;
    }
}
