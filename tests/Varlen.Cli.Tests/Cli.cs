using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>What one run of the program gave.</summary>
/// <param name="ExitCode">Its status.</param>
/// <param name="Output">Its standard output.</param>
/// <param name="Error">Its error stream.</param>
internal sealed record CliResult(int ExitCode, string Output, string Error)
{
    /// <summary>The standard output as exactly one JSON object on one line.</summary>
    public JsonElement Json()
    {
        Assert.EndsWith("\n", Output, StringComparison.Ordinal);
        Assert.Equal(1, Output.Count(c => c == '\n'));
        JsonElement root = JsonDocument.Parse(Output).RootElement;
        Assert.Equal(JsonValueKind.Object, root.ValueKind);
        return root;
    }

    /// <summary>Asserts a failure after other output: its code, its message, and the texts that the message must contain.</summary>
    public void AssertEnds(int code, string what, params string[] contains)
    {
        Assert.True(ExitCode == code, $"expected exit {code}, got {ExitCode}: {Error}");
        int start = Error.LastIndexOf("error: ", StringComparison.Ordinal);
        Assert.True(start == 0 || (start > 0 && Error[start - 1] == '\n'), Error);
        (this with { Error = Error[start..] }).AssertFails(code, what, contains);
    }

    /// <summary>Asserts a failure: its code, its message, and the texts that the message must contain.</summary>
    public void AssertFails(int code, string what, params string[] contains)
    {
        Assert.True(ExitCode == code, $"expected exit {code}, got {ExitCode}: {Error}");
        Assert.StartsWith($"error: {what}", Error, StringComparison.Ordinal);
        Assert.EndsWith($"[exit {code}]\n", Error, StringComparison.Ordinal);
        foreach (string text in contains) Assert.Contains(text, Error, StringComparison.Ordinal);
        Assert.True(Error.Count(c => c == '\n') <= 8, $"more than a screen's corner: {Error}");
    }
}

/// <summary>Runs the real program, as built beside the tests, as a process of its own.</summary>
internal static class Cli
{
    /// <summary>The executable.</summary>
    public static readonly string Program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "Varlen.Cli.exe" : "Varlen.Cli");

    private static string? s_emulator;

    /// <summary>These tests are the CPU's, on machines with a GPU too; what is for the emulated one asks for it.</summary>
    [ModuleInitializer]
    internal static void HideCuda()
    {
        s_emulator = Environment.GetEnvironmentVariable("VARLEN_CUDA_LIBRARIES");
        Environment.SetEnvironmentVariable("VARLEN_CUDA_LIBRARIES", null);
        Environment.SetEnvironmentVariable("CUDA_VISIBLE_DEVICES", "-1");
    }

    /// <summary>Runs it to its end, with nothing on the standard input.</summary>
    public static CliResult Run(params string[] args) => RunIn(Environment.CurrentDirectory, args);

    /// <summary>As <see cref="Run"/>, in a folder.</summary>
    public static CliResult RunIn(string folder, params string[] args) => Run(new ProcessStartInfo(Program, args) { WorkingDirectory = folder });

    /// <summary>Runs it on the emulated GPU whose libraries VARLEN_CUDA_LIBRARIES names; skips the test where that names none.</summary>
    public static CliResult RunEmulated(IReadOnlyDictionary<string, string> variables, params string[] args) => RunEmulated(new ProcessStartInfo(Program, args), variables);

    /// <summary>As <see cref="RunEmulated(IReadOnlyDictionary{string, string}, string[])"/>, of any program.</summary>
    public static CliResult RunEmulated(ProcessStartInfo start, IReadOnlyDictionary<string, string> variables)
    {
        Assert.SkipUnless(s_emulator is not null && s_emulator.TrimEnd('/').EndsWith("emulator", StringComparison.Ordinal) && Directory.Exists(s_emulator), "VARLEN_CUDA_LIBRARIES does not name the emulator's folder");
        start.Environment["VARLEN_CUDA_LIBRARIES"] = s_emulator;
        start.Environment.Remove("CUDA_VISIBLE_DEVICES");
        foreach ((string name, string value) in variables) start.Environment[name] = value;
        return Run(start);
    }

    /// <summary>Runs any program to its end.</summary>
    public static CliResult Run(ProcessStartInfo start)
    {
        (start.RedirectStandardInput, start.RedirectStandardOutput, start.RedirectStandardError) = (true, true, true);
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new(process.ExitCode, output, error.Result);
    }
}

/// <summary>A new folder that goes away with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("varlen-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public string Write(string name, string text)
    {
        System.IO.File.WriteAllText(File(name), text);
        return File(name);
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
