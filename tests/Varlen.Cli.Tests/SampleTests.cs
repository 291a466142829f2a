using System.Diagnostics;
using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>The samples run as they are shown.</summary>
public sealed class SampleTests
{
    [Fact]
    public void TheTutorialPrintsItsDocumentedFigures()
    {
        string folder = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar);
        string program = Path.Combine(folder, "..", "..", "VarlenTutorial", Path.GetFileName(folder), OperatingSystem.IsWindows() ? "VarlenTutorial.exe" : "VarlenTutorial");
        using Process process = Process.Start(new ProcessStartInfo(program) { RedirectStandardOutput = true })!;
        string[] lines = process.StandardOutput.ReadToEnd().Split('\n');
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        Assert.Equal("cu_seq: [0, 32, 47, 64, 92, 103, 128, 168, 177, 192], max_len: 40", lines[0]);
        Assert.Equal("output shape: [3, 64, 128]", lines[1]);
        Assert.StartsWith("loss: ", lines[2], StringComparison.Ordinal);
    }
}
