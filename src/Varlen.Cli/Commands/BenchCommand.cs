using System.CommandLine;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench: measures this machine, each time against a reference loop that runs in between.</summary>
internal static class BenchCommand
{
    public static Command Create() => new("bench", "Measure kernels against what this machine can do at the same moment.")
    {
        BenchMatMulCommand.Create(), BenchOpsCommand.Create(),
    };

    /// <summary>--rounds.</summary>
    public static Option<int?> Rounds() => Terminal.OptionParsers.Integer("--rounds", 1, 1000, "Passes over all cases; medians are taken over them. 7 by default.");
}
