using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.Intrinsics;
using System.Text.Json;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>PyTorch's training step on the CPU, by benchmarks/peers/gpt_step_cpu.py, which has one model and one batch.</summary>
internal sealed class StepPeer
{
    private const string Script = "benchmarks/peers/gpt_step_cpu.py", CoreType = "OPENBLAS_CORETYPE", LibraryPath = "LD_LIBRARY_PATH";
    private const string OpenBlas = "/usr/lib/x86_64-linux-gnu/openblas-openmp";
    private readonly StepWorkload _workload;
    private readonly string _python, _script;
    private readonly int _threads;

    /// <param name="python">The interpreter; its PyTorch is measured.</param>
    /// <param name="workload">What Varlen computes.</param>
    /// <param name="threads">Threads of both.</param>
    /// <exception cref="CommandException">The script computes something else (2), or is not there (66).</exception>
    public StepPeer(string python, StepWorkload workload, int threads)
    {
        (_python, _workload, _threads) = (python, workload, threads);
        if ((workload.Layers, workload.Width, workload.Heads, workload.Context, workload.DType) != (4, 256, 4, 256, DType.Float32) || workload.Device != Device.Cpu
            || !workload.Lengths.Lengths.SequenceEqual(StepWorkload.DefaultLengths.Lengths))
            throw CommandException.Usage("--peer runs another workload", "the peer has 4 blocks of width 256 with 4 heads, context 256, float32 on the CPU, and the lengths of gpt_step.txt", "leave these options at their defaults; --vocabulary and --threads are free");
        _script = Find() ?? throw new CommandException(ExitCode.InputUnreadable, "the peer's program is missing", Script, "it is part of the source tree, and neither this folder nor the program's is inside one", "start ./varlen in a checkout");
    }

    /// <summary>What the peer can do.</summary>
    public static IReadOnlyList<StepStrategy> Strategies { get; } = [StepStrategy.Packed, StepStrategy.Padded];

    /// <summary>The environment variables that decide the peer's speed, as it gets them: the user's, or what suits the machine.</summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string?>
    {
        [CoreType] = Environment.GetEnvironmentVariable(CoreType) ?? (Vector512.IsHardwareAccelerated ? "SkylakeX" : null),
        [LibraryPath] = Environment.GetEnvironmentVariable(LibraryPath) ?? (Directory.Exists(OpenBlas) ? OpenBlas : null),
    }.Where(setting => setting.Value is not null).ToDictionary(setting => setting.Key, setting => setting.Value!);

    /// <summary>Starts it once; it warms up by itself.</summary>
    /// <param name="strategy">One of <see cref="Strategies"/>.</param>
    /// <param name="firstRound">Varlen's rounds just before: the first.</param>
    /// <param name="rounds">Their number, and of the peer's steps that count.</param>
    /// <exception cref="CommandException">The interpreter cannot be started (66), or the script fails (69).</exception>
    public StepPeerBlock Run(StepStrategy strategy, int firstRound, int rounds)
    {
        string[] arguments = [_script, Text(_threads), strategy.Name, Text(rounds), Text(_workload.Vocabulary)];
        var start = new ProcessStartInfo(_python, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in Settings) start.Environment[name] = value;
        (int code, string output, string error) = Finish(start);
        if (code != 0 || Read(output) is not var (tokens, milliseconds, least)) throw Failed(code, error);
        if (tokens != _workload.Lengths.Tokens) throw Failed(code, $"it reports {tokens} tokens, the batch has {_workload.Lengths.Tokens}");
        return new(strategy, firstRound, rounds, milliseconds, least);
    }

    private (int Code, string Output, string Error) Finish(ProcessStartInfo start)
    {
        try
        {
            using Process process = Process.Start(start)!;
            process.StandardInput.Close();
            Task<string> error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output, error.Result);
        }
        catch (Win32Exception e)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot start the peer", _python, e.Message, "give --peer the path of a Python interpreter that has PyTorch", e);
        }
    }

    // The script prints one object and then a line for people.
    private static (long Tokens, double Milliseconds, double Least)? Read(string output)
    {
        try
        {
            if (output.Split('\n').FirstOrDefault(line => line.StartsWith('{')) is not { } json) return null;
            using JsonDocument document = JsonDocument.Parse(json);
            JsonElement root = document.RootElement;
            return (root.GetProperty("tokens").GetInt64(), root.GetProperty("ms").GetDouble(), root.GetProperty("min_ms").GetDouble());
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private CommandException Failed(int code, string error)
    {
        string last = error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault() ?? "it printed no figures";
        return new(ExitCode.DeviceUnavailable, "the peer failed", $"{_python} {_script}", code == 0 ? last : $"{last} (status {code})", "install PyTorch as benchmarks/peers/README.md says");
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string? Find()
    {
        foreach (string from in (string[])[Environment.CurrentDirectory, AppContext.BaseDirectory])
            for (DirectoryInfo? folder = new(from); folder is not null; folder = folder.Parent)
                if (Path.Combine(folder.FullName, Script) is var path && File.Exists(path)) return path;
        return null;
    }
}
