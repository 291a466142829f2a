using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Parity;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench parity: the same steps as another framework from the same weights, and how far both are apart.</summary>
internal static class BenchParityCommand
{
    private static readonly Argument<string> Folder = new("FOLDER") { Description = "What benchmarks/parity/reference.py wrote." };
    private static readonly Option<DType?> Precision = OptionParsers.Choice("--precision", "One of both; both by default.", ("fp32", DType.Float32), ("bf16", DType.BFloat16));
    private static readonly Option<string?> Plant = new("--plant") { HelpName = "PARAMETER", Description = "Zero this parameter's gradient: a fault that must be noticed." };
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("parity", "Compare training with another framework's, step by step.") { Folder };
        foreach (Option option in (Option[])[Precision, Plant, DeviceOption, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic));
        using ParityFolder folder = ParityFolder.Open(parse.GetRequiredValue(Folder));
        DType[] precisions = parse.GetValue(Precision) is { } one ? [one] : [DType.Float32, DType.BFloat16];
        bool json = parse.GetValue(CommonOptions.Json);
        if (!json) Console.Out.WriteLine($"{folder.Steps} steps on {device}, against {folder.Framework}");
        var faults = new List<string>();
        foreach (DType precision in precisions)
        {
            ParityResult result = ParityRun.Run(folder, device, precision, parse.GetValue(Plant));
            faults.AddRange(result.Faults());
            if (json) WriteJson(result, folder, device);
            else Print(result);
        }
        if (faults.Count == 0) return (int)ExitCode.Done;
        throw new CommandException(ExitCode.CheckFailed, "training is not the same", folder.Path, string.Join("; ", faults.Take(5)) + (faults.Count > 5 ? $" and {faults.Count - 5} more" : ""),
            parse.GetValue(Plant) is null ? "report it with the reference's versions: one of both sides computes something else" : "nothing: a fault was planted");
    }

    private static void Print(ParityResult result)
    {
        GradientError worst = result.Gradients[0];
        Console.Out.WriteLine(FormattableString.Invariant($"{result.Precision}: loss {result.Losses[0]:F4} to {result.Losses[^1]:F4}, at most {result.LossDifference:F5} apart (step {result.LossStep})"));
        Console.Out.WriteLine(FormattableString.Invariant($"{result.Precision}: first gradients at most {result.Gradients.Max(error => error.Error):G3} apart; nearest to its bound {worst.Parameter} with {worst.Error:G3} of {worst.Bound:G3}, the reference's mixed precision {worst.PeerError:G3}"));
    }

    private static void WriteJson(ParityResult result, ParityFolder folder, Device device) => JsonOutput.Write(new JsonObject
    {
        ["precision"] = result.Precision,
        ["device"] = device.ToString(),
        ["against"] = folder.Framework,
        ["steps"] = result.Losses.Count,
        ["loss"] = JsonOutput.Number(result.Losses[0], 6),
        ["last_loss"] = JsonOutput.Number(result.Losses[^1], 6),
        ["loss_difference"] = JsonOutput.Number(result.LossDifference, 6),
        ["loss_step"] = result.LossStep,
        ["gradients"] = new JsonArray([.. result.Gradients.Select(error => new JsonObject
        {
            ["parameter"] = error.Parameter,
            ["error"] = JsonOutput.Number(error.Error, 6),
            ["peer_error"] = JsonOutput.Number(error.PeerError, 6),
            ["bound"] = JsonOutput.Number(error.Bound, 6),
        })]),
        ["ok"] = !result.Faults().Any(),
    });
}
