using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Varlen.Backends.Cuda.Compilation;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>Compiles every specialisation of every kernel to PTX, so that none lands uncompiled, on machines without a GPU too.</summary>
public sealed partial class KernelCompilationTests
{
    // Kernels that walk over strides of any rank index arrays, which lie in local memory, and are not meant to be fast. Clang 19 copies an argument whose
    // address is taken, as those of maps are.
    private static readonly string[] MayUseLocalMemory = ["copy.cu", "hopper_forward.cu", "hopper_backward.cu"];

    [Fact]
    public void EverySpecialisationCompiles()
    {
        string? script = Script();
        Assert.SkipWhen(script is null || OperatingSystem.IsWindows(), "the sources are not here");
        Assert.SkipUnless(Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(folder => File.Exists(Path.Combine(folder, "clang-19"))), "clang-19 is not on the PATH");
        // Entries of one source with equal options are one module.
        IGrouping<(string Source, string Defines), KernelKey>[] modules = [.. KernelSources.Families().SelectMany(family => family.All()).GroupBy(key => (key.Family.Source, string.Join(' ', key.Defines())))];
        Assert.NotEmpty(modules);
        using var folder = new TemporaryFolder();
        var failures = new ConcurrentQueue<string>();
        Parallel.For(0, modules.Length, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, i =>
        {
            (string source, string defines) = modules[i].Key;
            string ptx = folder[$"{i}.ptx"], name = $"{source} {defines}";
            string[] options = [.. defines.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(define => $"-D{define}")];
            var start = new ProcessStartInfo(script!, [Path.Combine(Path.GetDirectoryName(script)!, "../../src/Varlen.Cuda/Kernels", source), .. options]) { RedirectStandardError = true };
            start.Environment["OUT"] = ptx;
            using Process process = Process.Start(start)!;
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            if (process.ExitCode != 0)
            {
                failures.Enqueue($"{name}: {error}");
                return;
            }
            string text = File.ReadAllText(ptx);
            foreach (string entry in modules[i].Select(key => key.Family.Entry).Distinct())
                if (!text.Contains($".entry {entry}(", StringComparison.Ordinal)) failures.Enqueue($"{name}: there is no kernel {entry}");
            if (!MayUseLocalMemory.Contains(source) && LocalMemory().IsMatch(text)) failures.Enqueue($"{name}: an array lies in local memory");
        });
        Assert.True(failures.IsEmpty, $"{failures.Count} failures in {modules.Length} modules: {string.Join('\n', failures.Order())}");
        TestContext.Current.SendDiagnosticMessage("{0} modules compiled", modules.Length);
    }

    /// <summary>
    /// What the assembler says of hot kernels on the device itself: nothing in local memory beyond the few bytes that are known, no products of a warpgroup that wait
    /// for each other, no ignored request for registers.
    /// </summary>
    [Fact]
    public void TheAssemblerHasNothingToSayOfHotKernels()
    {
        var backend = (Varlen.Backends.Cuda.CudaBackend)TestDevices.RealCuda().Backend;
        // Bytes that a kernel may keep in local memory, whether spilled registers or arrays that a loop indexes; -1 where one for long rows does, beside the hot ones.
        (string Source, string[] Defines, int Local)[] modules =
        [
            ("norm.cu", ["ELEMENT=bf16"], -1), ("gelu.cu", ["ELEMENT=bf16"], 0), ("swiglu.cu", ["ELEMENT=bf16"], 0), ("cross_entropy.cu", ["ELEMENT=bf16"], 0), ("optimizer.cu", [], 0), ("column_sums.cu", ["ELEMENT=bf16"], 0),
            ("sample.cu", ["ELEMENT=bf16"], 0), ("few_rows.cu", ["ELEMENT=bf16"], 0), ("attention_decode.cu", ["ELEMENT=bf16", "HEAD_DIM=64"], 0),
            ("attention_forward.cu", ["ELEMENT=bf16", "HEAD_DIM=64", "FEATURES=0"], 0), ("attention_forward.cu", ["ELEMENT=bf16", "HEAD_DIM=128", "FEATURES=0"], 0),
            ("attention_one_pass.cu", ["ELEMENT=bf16", "HEAD_DIM=64"], 0), ("attention_one_pass.cu", ["ELEMENT=bf16", "HEAD_DIM=128"], 16),
            .. from dim in (int[])[64, 128] select ("attention_short_forward.cu", (string[])["ELEMENT=bf16", $"HEAD_DIM={dim}"], 0),
            .. from dim in (int[])[64, 128] from grouped in (int[])[0, 1] select ("attention_short_backward.cu", (string[])["ELEMENT=bf16", $"HEAD_DIM={dim}", $"GROUPED={grouped}"], dim * grouped == 128 ? 128 : 0),
            .. backend.Info.ComputeCapability.Major != 9 ? [] : ((string, string[], int)[])
            [
                ("hopper_forward.cu", ["ELEMENT=bf16", "HEAD_DIM=64", "GROUPS=1"], 0), ("hopper_forward.cu", ["ELEMENT=bf16", "HEAD_DIM=64", "GROUPS=3"], 16), ("hopper_forward.cu", ["ELEMENT=bf16", "HEAD_DIM=128", "GROUPS=2"], 0),
                ("hopper_backward.cu", ["ELEMENT=bf16", "HEAD_DIM=64"], 0), ("hopper_backward.cu", ["ELEMENT=bf16", "HEAD_DIM=128"], 0),
            ],
        ];
        var problems = new ConcurrentQueue<string>();
        Parallel.ForEach(modules, module =>
        {
            // NVRTC keeps what it has compiled, and says nothing when it takes that: a definition that nobody reads makes it new.
            string log = KernelCompiler.Compile(module.Source, [.. module.Defines, $"UNIQUE=u{Guid.NewGuid():N}"], backend.Info.Architecture).Log, name = $"{module.Source} {string.Join(' ', module.Defines)}";
            Assert.Contains("registers", log, StringComparison.Ordinal);
            if (Warning().Match(log) is { Success: true } warning) problems.Enqueue($"{name}: {warning.Value}");
            int local = StackFrame().Matches(log).Max(match => int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture));
            if (module.Local >= 0 && local > module.Local) problems.Enqueue($"{name}: {local} bytes lie in local memory");
        });
        Assert.True(problems.IsEmpty, string.Join('\n', problems));
    }

    [GeneratedRegex(@".*(C75\d\d|Potential Performance Loss|setmaxnreg).*")]
    private static partial Regex Warning();

    [GeneratedRegex(@"(\d+) bytes stack frame")]
    private static partial Regex StackFrame();

    private static string? Script()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
            if (Path.Combine(folder, "tests", "Varlen.Cuda.Kernels", "compile") is var script && File.Exists(script)) return script;
        return null;
    }

    [GeneratedRegex(@"\.local\s+\.align")]
    private static partial Regex LocalMemory();
}
