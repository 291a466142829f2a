using System.CommandLine;
using Varlen.Cli.Reports;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench: measures this machine, each time against a reference loop that runs in between.</summary>
internal static class BenchCommand
{
    public static Command Create() => new("bench", "Measure kernels against what this machine can do at the same moment.")
    {
        BenchAttentionCommand.Create(), BenchDevicesCommand.Create(), BenchGenerateCommand.Create(), BenchGpt2Command.Create(), BenchMatMulCommand.Create(), BenchOpsCommand.Create(), BenchParityCommand.Create(), BenchStepCommand.Create(),
    };

    /// <summary>Says so on the error stream when figures would mean nothing.</summary>
    public static void WarnOfDebugBuild()
    {
        if (Terminal.MachineInfo.IsDebugBuild) Console.Error.WriteLine("warning: this is a debug build; use the Release configuration to measure");
    }

    /// <summary>--rounds.</summary>
    public static Option<int?> Rounds() => Terminal.OptionParsers.Integer("--rounds", 1, 1000, "Passes over all cases; medians are taken over them. 7 by default.");

    /// <summary>--lengths, which may be repeated.</summary>
    /// <param name="usual">What it is when absent.</param>
    public static Option<string[]> LengthsOption(string usual) => new("--lengths")
    {
        HelpName = "SPEC",
        Description = $"Lengths of the sequences: a FILE with one a line (or a batch in each line), uniform:A..BxN, lognormal:MEDIAN,DEVIATION..MOSTxN, fixed:LxN, or texts:PATH for those of documents. Several are measured one after the other. {usual}",
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>--report.</summary>
    public static Option<string?> Report() => new("--report") { HelpName = "DIR", Description = "Write a report there: report.md, report.html, report.json, results.csv and the charts." };

    /// <summary>Writes a report, and tells where on the error stream.</summary>
    public static void Write(ReportDocument report, string folder)
    {
        report.Write(folder);
        Console.Error.WriteLine($"report: {Path.Combine(folder, "report.html")}");
    }
}
