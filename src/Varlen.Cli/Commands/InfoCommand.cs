using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
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
            ["available"] = device.Missing is null,
            ["reason"] = device.Missing,
        })]),
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
        foreach ((string name, string? missing) in MachineInfo.Devices) Row(name, missing is null ? "available" : $"not available: {missing}");

        static void Row(string name, string value) => Console.Out.WriteLine($"{name,-10} {value}");
    }
}
