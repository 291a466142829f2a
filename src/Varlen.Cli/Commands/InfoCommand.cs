using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Varlen.Backends.Cuda;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Backends.Cuda.Native;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen info: version, runtime, machine and devices.</summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        var command = new Command("info", "Show the version, the machine, and which devices can be used or why not.");
        Option<int?> threads = CommonOptions.Threads();
        command.Add(threads);
        command.SetAction(parse =>
        {
            CommonOptions.UseThreads(parse.GetValue(threads));
            if (parse.GetValue(CommonOptions.Json)) JsonOutput.Write(Object());
            else Print();
            return (int)ExitCode.Done;
        });
        return command;
    }

    private static JsonObject Object() => new()
    {
        ["status"] = "ok",
        ["version"] = MachineInfo.Version,
        ["runtime"] = RuntimeInformation.FrameworkDescription,
        ["os"] = RuntimeInformation.OSDescription,
        ["architecture"] = RuntimeInformation.ProcessArchitecture.ToString(),
        ["processor"] = MachineInfo.Processor(),
        ["processors"] = Environment.ProcessorCount,
        ["vector_bits"] = MachineInfo.VectorBits,
        ["threads"] = Device.CpuThreads,
        ["memory_bytes"] = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
        ["devices"] = new JsonArray([.. MachineInfo.Devices.Select(device => new JsonObject
        {
            ["name"] = device.Name,
            ["description"] = device.Description,
            ["available"] = device.Missing is null,
            ["reason"] = device.Missing,
        })]),
        ["cuda"] = new JsonObject
        {
            ["driver"] = MachineInfo.CudaDriver,
            ["compiler"] = CudaPlatform.OfThisMachine.CompilerVersion?.ToString(),
            ["kernels"] = KernelCache.DefaultFolder(),
            ["libraries"] = new JsonArray([.. CudaPlatform.OfThisMachine.Libraries.Select(library => new JsonObject
            {
                ["name"] = library.Library.Purpose,
                ["path"] = library.Path,
                ["tried"] = new JsonArray([.. library.Attempts.Select(attempt => JsonValue.Create(attempt))]),
            })]),
        },
    };

    private static void Print()
    {
        Row("version", MachineInfo.Version);
        Row("runtime", RuntimeInformation.FrameworkDescription);
        Row("system", $"{RuntimeInformation.OSDescription} ({RuntimeInformation.ProcessArchitecture})");
        Row("processor", $"{MachineInfo.Processor()}, {Environment.ProcessorCount} available");
        Row("vectors", $"{MachineInfo.VectorBits} bits");
        Row("threads", $"{Device.CpuThreads}");
        Row("memory", $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (1024.0 * 1024 * 1024):F1} GiB");
        foreach ((string name, string? description, string? missing) in MachineInfo.Devices) Row(name, missing is null ? description ?? "available" : $"not available: {missing}");
        CudaPlatform cuda = CudaPlatform.OfThisMachine;
        if (MachineInfo.CudaDriver is { } driver) Row("driver", $"CUDA {driver}{(cuda.CompilerVersion is { } compiler ? $", kernels compiled by NVRTC {compiler}" : "")}");
        foreach (LibraryReport library in cuda.Libraries)
            if (library.Path is { } path) Row("library", $"{library.Library.Purpose}: {path}");
        if (cuda.Missing is null) Row("kernels", KernelCache.DefaultFolder() ?? "in memory only, without a folder for caches");

        static void Row(string name, string value) => Console.Out.WriteLine($"{name,-10} {value}");
    }
}
