using System.CommandLine;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench: measures this machine, each time against a reference loop that runs in between.</summary>
internal static class BenchCommand
{
    public static Command Create() => new("bench", "Measure kernels against what this machine can do at the same moment.")
    {
        BenchAttentionCommand.Create(), BenchGenerateCommand.Create(), BenchMatMulCommand.Create(), BenchOpsCommand.Create(), BenchParityCommand.Create(), BenchStepCommand.Create(),
    };

    /// <summary>Says so on the error stream when figures would mean nothing.</summary>
    public static void WarnOfDebugBuild()
    {
        if (Terminal.MachineInfo.IsDebugBuild) Console.Error.WriteLine("warning: this is a debug build; use the Release configuration to measure");
    }

    /// <summary>--rounds.</summary>
    public static Option<int?> Rounds() => Terminal.OptionParsers.Integer("--rounds", 1, 1000, "Passes over all cases; medians are taken over them. 7 by default.");
}
