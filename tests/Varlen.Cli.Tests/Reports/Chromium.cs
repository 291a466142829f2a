using System.Diagnostics;
using Xunit;

namespace Varlen.Cli.Tests.Reports;

/// <summary>A browser without a window.</summary>
internal static class Chromium
{
    private static readonly string? Program = ((string[])["chromium", "chromium-browser", "google-chrome"])
        .SelectMany(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, name)))
        .FirstOrDefault(File.Exists);

    /// <summary>Opens a page, and gives what the browser prints; skips the test where there is no browser.</summary>
    public static string Open(TemporaryFolder folder, string page, params string[] options)
    {
        Assert.SkipWhen(Program is null, "chromium is not on the PATH");
        string profile = folder.File($"profile-{Path.GetRandomFileName()}");
        var start = new ProcessStartInfo(Program,
        [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            "--hide-scrollbars", $"--user-data-dir={profile}", .. options, new Uri(page).AbsoluteUri,
        ]);
        CliResult result = Cli.Run(start);
        Assert.True(result.ExitCode == 0, result.Error);
        return result.Output;
    }

    /// <summary>A picture of a page.</summary>
    public static Picture Screenshot(TemporaryFolder folder, string page, int width, bool dark)
    {
        string file = folder.File($"{width}-{dark}.png");
        Open(folder, page, $"--screenshot={file}", $"--window-size={width},2400", $"--blink-settings=preferredColorScheme={(dark ? 0 : 1)}");
        return Picture.Read(file);
    }
}
