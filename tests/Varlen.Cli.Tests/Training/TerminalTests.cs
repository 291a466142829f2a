using System.Diagnostics;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>What reaches the terminal, the pipes and the disk.</summary>
public sealed class TerminalTests : IDisposable
{
    private readonly Workspace _workspace = new();

    [Theory]
    [InlineData("xterm", "", true)]
    [InlineData("xterm", "1", false)]
    [InlineData("dumb", "", false)]
    public void ATerminalGetsABarUnlessItAsksForPlainLines(string term, string noColor, bool bar)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists("/usr/bin/script"), "script from util-linux makes the terminal");
        string command = string.Join(' ', _workspace.Arguments("run", "--steps", "30").Prepend(Cli.Program).Select(arg => $"'{arg}'"));
        var start = new ProcessStartInfo("/usr/bin/script", ["-q", "-e", "-c", command, "/dev/null"]);
        (start.Environment["TERM"], start.Environment["NO_COLOR"]) = (term, noColor);
        CliResult result = Cli.Run(start);
        Assert.True(result.ExitCode == 0, result.Output);
        Assert.Equal(bar, result.Output.Contains("\e[K", StringComparison.Ordinal));
        // The runtime sets the keys' mode of the terminals that it knows.
        if (!bar) Assert.DoesNotContain('\e', result.Output.Replace("\e[?1h\e=", "", StringComparison.Ordinal));
        Assert.Contains("30", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void ControlSequencesInNamesReachNeitherTerminalNorReport()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "names on Windows hold no control characters");
        const string evil = "evil\e[31m\u009b2J\u202e<script>alert(1)</script>";
        string flat = evil.Replace("/", "", StringComparison.Ordinal), data = _workspace[flat];
        Directory.CreateDirectory(data);
        File.WriteAllText(Path.Combine(data, flat + ".txt"), string.Concat(Enumerable.Repeat("some text, ", 50)));
        File.WriteAllBytes(Path.Combine(data, flat + "-binary.txt"), new byte[100]);
        CliResult result = Cli.RunIn(_workspace.Path, _workspace.Arguments(data, flat + "-run", ["--steps", "2"]));
        Assert.True(result.ExitCode == 0, result.Error);
        AssertHarmless(result.Error);
        AssertHarmless(result.Output);
        string report = File.ReadAllText(_workspace[$"{flat}-run/report.html"]);
        AssertHarmless(report);
        Assert.DoesNotContain("<script", report, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("&lt;script&gt;", report, StringComparison.Ordinal);

        foreach (string[] command in (string[][])[["train", _workspace[flat + "?"]], ["train", data, "--" + evil], ["train", "--resume", data], ["evaluate", data, data], ["inspect", data]])
            AssertHarmless(Cli.RunIn(_workspace.Path, command) is var run ? run.Error + run.Output : "");

        static void AssertHarmless(string text) => Assert.Equal(Printable.Text(text, lines: true), text);
    }

    [Theory]
    [InlineData("| true")]
    [InlineData("2>&1 | true")]
    [InlineData(">&-")]
    [InlineData("2>&-")]
    public void OutputsThatAreClosedGiveNoStackTrace(string redirection)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a POSIX shell");
        CliResult result = Shell(_workspace.Arguments("run", "--steps", "3"), redirection);
        Assert.DoesNotContain("   at ", result.Error + result.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Unhandled", result.Error + result.Output, StringComparison.Ordinal);
        Assert.True(File.Exists(_workspace["run/model/model.safetensors"]), result.Error);
    }

    [Theory]
    [InlineData(">/dev/full")]
    [InlineData(">/dev/full 2>/dev/full")]
    public void OutputsOnAFullDiskEndWith74(string redirection)
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "needs /dev/full");
        CliResult result = Shell(["info", "--json"], redirection);
        Assert.True(result.ExitCode == 74, $"{result.ExitCode}: {result.Error}");
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void AFullDiskIsAWarningThenExit74AndTheRunGoesOnWhenThereIsRoom()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "only root may mount a small disk");
        Directory.CreateDirectory(_workspace["disk"]);
        // Room for the prepared run and one or two states of about 100 kB.
        int status = Cli.Run(new ProcessStartInfo("mount", ["-t", "tmpfs", "-o", "size=320k", "varlen-test", _workspace["disk"]])).ExitCode;
        try
        {
            Assert.SkipUnless(status == 0, $"mounting a small disk fails here with status {status}");
            string[] plan = ["--steps", "12", "--save-every", "1"];
            CliResult full = _workspace.Train("disk/run", [.. plan, "--json"]);
            full.AssertEnds(74, "the state of step ", "No space left on device", "needed", "free", "--resume");
            Assert.Equal(74, full.Json().GetProperty("exit").GetInt32());
            Assert.Equal(2, full.Error.Split("was not saved, training goes on").Length - 1);
            Assert.Equal(0, Cli.Run(new ProcessStartInfo("mount", ["-o", "remount,size=16m", _workspace["disk"]])).ExitCode);
            CliResult resumed = _workspace.Resume("disk/run");
            Assert.True(resumed.ExitCode == 0, resumed.Error);
            Assert.Equal(0, _workspace.Train("straight", plan).ExitCode);
            Assert.Equal(_workspace.Outcome("straight"), _workspace.Outcome("disk/run"));
        }
        finally
        {
            if (status == 0) Cli.Run(new ProcessStartInfo("umount", [_workspace["disk"]]));
        }
    }

    public void Dispose() => _workspace.Dispose();

    private CliResult Shell(string[] args, string redirection) => Cli.Run(new ProcessStartInfo("/bin/sh",
        ["-c", $"{string.Join(' ', args.Prepend(Cli.Program).Select(arg => $"'{arg}'"))} {redirection}"])
    { WorkingDirectory = _workspace.Path });
}
