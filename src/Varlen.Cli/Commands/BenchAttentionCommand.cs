using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Backends.Cuda;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>Which kernels of a GPU take part.</summary>
internal enum KernelChoice
{
    /// <summary>Those that the lengths ask for.</summary>
    Auto,
    /// <summary>The portable ones alone.</summary>
    Portable,
}

/// <summary>varlen bench attention: packed attention as a share of the processor's arithmetic peak.</summary>
internal static class BenchAttentionCommand
{
    private const string FewLong = "fixed:2048x2", ManyLong = "fixed:8192x4", Mixed = "uniform:1..1023x32", Short = "uniform:1..64x512";
    private static readonly AttentionWindow[] Masks = [AttentionWindow.Full, AttentionWindow.Causal, new(256, 0)];
    private static readonly Option<string[]> Lengths = BenchCommand.LengthsOption($"{Mixed}, {Short}, and {ManyLong} ({FewLong} on the CPU) by default.");
    private static readonly Option<int?> Heads = OptionParsers.Integer("--heads", 1, 4096, "Query heads; 16 by default.");
    private static readonly Option<int?> KeyHeads = OptionParsers.Integer("--kv-heads", 1, 4096, "Key heads, a divisor of the query heads; as many by default.");
    private static readonly Option<int?> HeadDim = OptionParsers.Integer("--head-dim", 1, 256, "Features of a head; 64 by default.");
    private static readonly Option<AttentionWindow?> Window = OptionParsers.Make<AttentionWindow?>("--window", "L,R", "Keys visible before and after the aligned one, -1 for all of that side; by default all of full, causal and 256,0.", CommonOptions.ParseWindow);
    private static readonly Option<DType?> ElementType = OptionParsers.Choice("--dtype", "Storage type; float32 by default, bfloat16 on a GPU.",
        ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));
    private static readonly Option<AttentionBenchmarkMode?> Mode = OptionParsers.Choice("--mode", "The forward pass alone, or backward too; train by default.",
        ("eval", AttentionBenchmarkMode.Forward), ("train", AttentionBenchmarkMode.Backward));
    private static readonly Option<KernelChoice?> Kernels = OptionParsers.Choice("--kernels", "The GPU kernels that the sequences' lengths ask for, or the portable ones alone; auto by default.", ("auto", KernelChoice.Auto), ("portable", KernelChoice.Portable));
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<ulong?> Seed = OptionParsers.Seed("Seed of drawn lengths; 0 by default.");
    private static readonly Option<int?> Rounds = OptionParsers.Integer("--rounds", 1, 1000, "Repetitions; medians are taken over them. 5 by default, 30 on a GPU.");
    private static readonly Option<string?> Report = BenchCommand.Report();

    public static Command Create()
    {
        var command = new Command("attention", "Packed attention, as shares of the arithmetic peak.");
        foreach (Option option in (Option[])[Lengths, Heads, KeyHeads, HeadDim, Window, ElementType, Mode, Kernels, DeviceOption, Deterministic, Threads, Seed, Rounds, Report]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        int heads = parse.GetValue(Heads) ?? 16, keyHeads = parse.GetValue(KeyHeads) ?? heads;
        if (heads % keyHeads != 0) throw CommandException.Usage($"{heads} query heads cannot share {keyHeads} key heads", "every key head serves equally many query heads", "make --heads a multiple of --kv-heads");
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic));
        bool onCpu = device == Device.Cpu, portable = parse.GetValue(Kernels) == KernelChoice.Portable;
        if (onCpu && parse.GetValue(Kernels) is not null) throw CommandException.Usage("--kernels chooses among kernels of a GPU", "the device is the CPU", "leave it out, or give --device cuda");
        ulong seed = parse.GetValue(Seed) ?? 0;
        LengthsSpec[] mixes = [.. (parse.GetValue(Lengths) is { Length: > 0 } given ? given : [Mixed, Short, onCpu ? FewLong : ManyLong]).Select(text => LengthsSpec.Parse(text, seed))];
        if (Array.Find(mixes, mix => mix.Batches.Count > 1) is { } several) throw CommandException.Usage($"{several.Name} has {several.Batches.Count} batches", "attention is timed on one", "give a file with one length a line");
        AttentionWindow[] windows = parse.GetValue(Window) is { } window ? [window] : Masks;
        if (parse.GetValue(Report) is { } folder) OutputFile.CreateFolder(folder);
        BenchCommand.WarnOfDebugBuild();
        (int headDim, AttentionBenchmarkMode mode) = (parse.GetValue(HeadDim) ?? 64, parse.GetValue(Mode) ?? AttentionBenchmarkMode.Backward);
        int threads = parse.GetValue(Threads) ?? Device.CpuThreads, rounds = parse.GetValue(Rounds) ?? (onCpu ? 5 : 30);
        var rows = new List<AttentionBenchmarkRow>();
        foreach (LengthsSpec mix in mixes)
            foreach (AttentionWindow each in windows)
                rows.Add(onCpu ? AttentionBenchmark.Run(mix.Name, mix.Lengths, heads, keyHeads, headDim, each, parse.GetValue(ElementType) ?? DType.Float32, threads, rounds, mode, PeakFma.Measure)
                    : CudaAttentionBenchmark.Run(mix.Name, mix.Lengths, heads, keyHeads, headDim, each, parse.GetValue(ElementType) ?? DType.BFloat16, rounds, mode, device, portable));
        double copy = CopyGigabytes(device);
        if (!parse.GetValue(CommonOptions.Json)) AttentionPage.Print(rows, device);
        else foreach (JsonObject row in AttentionPage.Objects(rows, device, copy)) JsonOutput.Write(row);
        if (parse.GetValue(Report) is { } place) BenchCommand.Write(AttentionPage.Create(rows, device, copy), place);
        return (int)ExitCode.Done;
    }

    // By all threads: the memory's rate is not a thread's.
    private static double CopyGigabytes(Device device)
    {
        const long bytes = 64 << 20;
        if (device.Backend is CudaBackend cuda)
        {
            using var timer = new CudaTimer(cuda);
            using var copies = new CudaCopyBandwidth(cuda, timer, 4 * bytes);
            return copies.Measure(seconds: 0) * 1e-9;
        }
        using var copy = new CopyBandwidth(bytes);
        return copy.Measure(0.05) * 1e-9;
    }
}
