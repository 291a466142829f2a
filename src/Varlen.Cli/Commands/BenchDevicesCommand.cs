using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench devices: whether the GPUs of one process train independently of each other.</summary>
internal static class BenchDevicesCommand
{
    private static readonly StepCommandOptions Options = new("step");
    private static readonly Option<bool> Reference = BenchStepCommand.ReferenceOption();

    public static Command Create()
    {
        var command = new Command("devices", "Training steps on every GPU of this process, one GPU after the other and then all at once.");
        foreach (Option option in (Option[])[Options.Lengths, Options.Layers, Options.Width, Options.Heads, Options.Vocabulary, Options.Context, Options.Optimizer, Options.ElementType, Options.Capture, Options.Seed, Options.Rounds, Options.Warmup, Reference]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        bool isReference = parse.GetValue(Reference);
        int count = Device.CudaCount;
        if (count == 0) throw new CommandException(ExitCode.DeviceUnavailable, "there is no GPU to time", fix: "varlen info lists the devices, and says why there is none");
        StepWorkload[][] all = [.. Enumerable.Range(0, count).Select(i => new DeviceChoice(IsCuda: true, i).Open()).Select(device => Options.Workloads(parse, isReference ? StepModel.Reference : StepModel.Decoder, isReference, device).ToArray())];
        BenchCommand.WarnOfDebugBuild();
        var rounds = new StepRounds(parse.GetValue(Options.Warmup), parse.GetValue(Options.Rounds) ?? 7);
        bool isJson = parse.GetValue(CommonOptions.Json);
        Table? table = isJson ? null : new Table(("device", 8), ("tokens", 8), ("ms alone", 10), ("ms together", 12), ("of its speed", 13));
        for (int mix = 0; mix < all[0].Length; mix++)
        {
            foreach (DeviceRow row in DevicesBenchmark.Run([.. all.Select(workloads => workloads[mix])], rounds))
            {
                if (!isJson) table!.Row($"{row.Device}", $"{row.Alone.RealTokens}", $"{row.Alone.MedianMilliseconds:F3}", $"{row.Together.MedianMilliseconds:F3}", $"{row.Share:P1}");
                else
                    JsonOutput.Write(new JsonObject
                    {
                        ["workload"] = all[0][mix].Lengths.Name, ["device"] = row.Device.ToString(), ["devices"] = count, ["real_tokens"] = row.Alone.RealTokens,
                        ["alone_ms"] = JsonOutput.Number(row.Alone.MedianMilliseconds), ["together_ms"] = JsonOutput.Number(row.Together.MedianMilliseconds), ["ratio"] = JsonOutput.Number(row.Share),
                    });
            }
        }
        return (int)ExitCode.Done;
    }
}
