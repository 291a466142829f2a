using System.CommandLine;
using Varlen.Cli.Benchmarks;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench step: whole evaluation and training steps of a decoder under every strategy for sequences that differ in length.</summary>
internal static class BenchStepCommand
{
    private static readonly StepCommandOptions Options = new("step");
    private static readonly Option<bool> Reference = ReferenceOption();

    /// <summary>--reference.</summary>
    public static Option<bool> ReferenceOption() => new("--reference") { Description = "The blog post's decoder at full size: norms without bias, no final norm, an output layer with bias, and SGD." };

    public static Command Create()
    {
        var command = new Command("step", "Evaluation and training steps of a decoder, padded and not, beside each other.");
        foreach (Option option in Options.All) command.Add(option);
        command.Add(Reference);
        command.SetAction(parse => Options.Run(parse, parse.GetValue(Reference) ? StepModel.Reference : StepModel.Decoder, parse.GetValue(Reference), [StepStrategy.Packed, StepStrategy.Padded]));
        return command;
    }
}
