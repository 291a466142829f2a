using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.Intrinsics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Models;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// PyTorch on the same model, weights and batches: a script of benchmarks/peers that stays open for the whole run and takes one step for each
/// line that it reads. benchmarks/peers/README.md tells the protocol.
/// </summary>
internal sealed class StepPeer : IDisposable
{
    private const string Folder = "benchmarks/peers", CoreType = "OPENBLAS_CORETYPE", LibraryPath = "LD_LIBRARY_PATH";
    private const string OpenBlas = "/usr/lib/x86_64-linux-gnu/openblas-openmp";
    private readonly string _python, _script, _exchange;
    private readonly Process _process;
    private readonly Task<string> _errors;
    private JsonElement _hello;

    private StepPeer(string python, string script, string exchange)
    {
        (_python, _script, _exchange) = (python, script, exchange);
        var start = new ProcessStartInfo(python, [script, "--serve", exchange]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in Settings) start.Environment[name] = value;
        try
        {
            _process = Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot start the peer", python, e.Message, "give --peer the path of a Python interpreter that has PyTorch", e);
        }
        _errors = _process.StandardError.ReadToEndAsync();
    }

    /// <summary>The environment variables that decide an older PyTorch's speed, as it gets them: the user's, or what suits the machine.</summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string?>
    {
        [CoreType] = Environment.GetEnvironmentVariable(CoreType) ?? (Vector512.IsHardwareAccelerated ? "SkylakeX" : null),
        [LibraryPath] = Environment.GetEnvironmentVariable(LibraryPath) ?? (Directory.Exists(OpenBlas) ? OpenBlas : null),
    }.Where(setting => setting.Value is not null).ToDictionary(setting => setting.Key, setting => setting.Value!);

    /// <summary>The framework and its version.</summary>
    public string Framework => _hello.GetProperty("framework").GetString()!;

    /// <summary>Starts it on a workload.</summary>
    /// <param name="python">The interpreter; its PyTorch is measured.</param>
    /// <param name="workload">Model and batches.</param>
    /// <exception cref="CommandException">The script or the interpreter is missing (66), or the script fails (69).</exception>
    public static StepPeer Start(string python, StepWorkload workload)
    {
        string name = workload.Model == StepModel.Gpt2 ? "hf_gpt2.py" : "steps.py";
        string script = Checkout.Find(Path.Combine(Folder, name))
            ?? throw new CommandException(ExitCode.InputUnreadable, "the peer's program is missing", $"{Folder}/{name}", "it is part of the source tree, and neither this folder nor the program's is inside one", "start ./varlen in a checkout");
        string exchange = Directory.CreateTempSubdirectory("varlen-peer-").FullName;
        StepPeer? peer = null;
        try
        {
            Write(exchange, workload);
            peer = new StepPeer(python, script, exchange);
            peer._hello = peer.Read();
            if (!peer._hello.TryGetProperty("framework", out _)) throw peer.Failed("it did not say what it is");
            return peer;
        }
        catch
        {
            if (peer is null) Directory.Delete(exchange, recursive: true);
            else peer.Dispose();
            throw;
        }
    }

    /// <summary>How the script can run a strategy; empty when it cannot.</summary>
    public IEnumerable<string> Variants(StepStrategy strategy)
        => _hello.TryGetProperty("variants", out JsonElement variants) && variants.TryGetProperty(strategy.Name, out JsonElement list) ? list.EnumerateArray().Select(variant => variant.GetString()!) : [];

    /// <summary>Takes one step.</summary>
    /// <returns>What it answers: ms, loss and peak_bytes, or error.</returns>
    /// <exception cref="CommandException">It ended, or answers something else (69).</exception>
    public JsonElement Step(StepMode mode, StepStrategy strategy, string variant)
    {
        try
        {
            _process.StandardInput.WriteLine($"{StepReport.Name(mode)}:{strategy.Name}:{variant}");
            _process.StandardInput.Flush();
        }
        catch (IOException)
        {
            // It has ended; what it said on its error stream is told below.
        }
        return Read();
    }

    public void Dispose()
    {
        try
        {
            _process.StandardInput.Close();
            if (!_process.WaitForExit(TimeSpan.FromSeconds(5))) _process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is IOException or InvalidOperationException or Win32Exception)
        {
            // Ended by itself.
        }
        _process.Dispose();
        Directory.Delete(_exchange, recursive: true);
    }

    private static void Write(string exchange, StepWorkload workload)
    {
        using CausalLanguageModel model = (workload with { Device = Device.Cpu, DType = workload.DType == DType.Float64 ? DType.Float64 : DType.Float32 }).CreateModel(StepMode.Train);
        model.SavePretrained(exchange);
        // A sequence of the decoder has one id more than inputs, the last target; GPT-2's labels are its own ids.
        bool isGpt2 = workload.Model == StepModel.Gpt2;
        var batches = new JsonArray([.. workload.Batches.Select(batch => new JsonArray([.. batch.Sequences().Select(sequence => new JsonArray([.. Ids(sequence).Select(id => (JsonNode)id)]))]))]);
        var description = new JsonObject
        {
            ["device"] = workload.Device == Device.Cpu ? "cpu" : "cuda", ["dtype"] = workload.DType.ToString().ToLowerInvariant(), ["threads"] = Device.CpuThreads, ["context"] = workload.Context,
            ["layers"] = workload.Layers, ["width"] = workload.Width, ["heads"] = workload.Heads, ["vocabulary"] = workload.Vocabulary, ["reference"] = workload.Model == StepModel.Reference,
            ["optimizer"] = workload.Optimizer.ToString().ToLowerInvariant(), ["lr"] = workload.LearningRate, ["batches"] = batches,
        };
        File.WriteAllText(Path.Combine(exchange, "workload.json"), description.ToJsonString());

        IEnumerable<int> Ids(TokenSequence sequence)
        {
            int[] tokens = sequence.Tokens.ToArray();
            return isGpt2 ? tokens : tokens.Length == 0 ? [] : [.. tokens, sequence.Targets.Span[^1]];
        }
    }

    // Frameworks also write warnings there; an answer is a line with one object.
    private JsonElement Read()
    {
        while (_process.StandardOutput.ReadLine() is { } line)
        {
            if (!line.StartsWith('{')) continue;
            try
            {
                return JsonSerializer.Deserialize<JsonElement>(line);
            }
            catch (JsonException)
            {
                throw Failed($"it answered {(line.Length > 60 ? line[..60] + "..." : line)}");
            }
        }
        _process.WaitForExit();
        string? last = _errors.Result.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault();
        throw Failed(string.Create(CultureInfo.InvariantCulture, $"{last ?? "it printed nothing"} (status {_process.ExitCode})"));
    }

    private CommandException Failed(string why) => new(ExitCode.DeviceUnavailable, "the peer failed", $"{_python} {_script}", why, "install PyTorch as benchmarks/peers/README.md says");
}

/// <summary>One strategy, mode and variant of the peer.</summary>
internal sealed class StepPeerCase(StepPeer peer, StepWorkload workload, StepMode mode, StepStrategy strategy, string variant) : IStepCase
{
    private readonly List<double> _milliseconds = [], _losses = [];
    private long _peakBytes;

    /// <summary>What the peer could not run, and why; null as long as it can.</summary>
    public string? Missing { get; private set; }

    /// <inheritdoc/>
    public void Step(bool counted)
    {
        if (Missing is not null) return;
        JsonElement answer = peer.Step(mode, strategy, variant);
        if (answer.TryGetProperty("error", out JsonElement error))
        {
            Missing = $"{StepReport.Name(mode)} {strategy} {variant}: {Printable.Text(error.GetString() ?? "")}";
            return;
        }
        _losses.Add(answer.GetProperty("loss").GetDouble());
        _peakBytes = Math.Max(_peakBytes, answer.TryGetProperty("peak_bytes", out JsonElement bytes) ? bytes.GetInt64() : 0);
        if (counted) _milliseconds.Add(answer.GetProperty("ms").GetDouble());
    }

    /// <summary>What was measured so far.</summary>
    public StepRow Row() => new(mode, strategy, (int)workload.Batches.Average(batch => (double)batch.Lengths.Tokens), (int)workload.Batches.Average(batch => (double)strategy.Rows(batch)),
        [.. _milliseconds], _peakBytes, [.. _losses], workload.Batches.Average(batch => batch.Operations(strategy, mode)))
    {
        Framework = peer.Framework, Variant = variant,
    };

    public void Dispose()
    {
    }
}
