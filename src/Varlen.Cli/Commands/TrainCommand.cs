using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Checkpoints;
using Varlen.Cli.Reports;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen train: from texts to a trained model, in a folder that a stopped run can go on in.</summary>
internal static class TrainCommand
{
    private static readonly Option<int?> StopAfter = OptionParsers.Integer("--stop-after", 1, 100_000_000, "Save and stop after this step; the plan stays as it is, and --resume goes on with it.");
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.BestDevice();
    private static readonly Option<string?> Out = new("--out") { Description = "Folder of the run; runs/DATE-TIME by default.", HelpName = "DIR" };

    public static Command Create()
    {
        var command = new Command("train", "Train a language model on texts of any length, without padding.") { TrainOptions.Data };
        foreach (Option option in (Option[])[.. TrainOptions.All, StopAfter, DeviceOption, Threads, Out, TrainOptions.Resume]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        string[] data = parse.GetValue(TrainOptions.Data) ?? [];
        string? resumed = parse.GetValue(TrainOptions.Resume), output = parse.GetValue(Out);
        if (resumed is not null && output is not null) throw CommandException.Usage("--resume and --out exclude each other", "a resumed run goes on in its own folder", "leave --out away");
        if (resumed is null && data.Length == 0) throw CommandException.Usage("no data given", "training needs texts", "name text files or folders: varlen train ./texts");
        CommonOptions.UseThreads(parse.GetValue(Threads));
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(TrainOptions.Deterministic));
        var folder = new RunFolder(resumed ?? output ?? Path.Combine("runs", DateTime.Now.ToString("yyyy-MM-dd-HHmmss", CultureInfo.InvariantCulture)));
        if (resumed is not null && !folder.Exists) throw new CommandException(ExitCode.InputUnreadable, "there is no run to resume", resumed, $"it holds no {Path.GetFileName(folder.Config)}", "give the folder of a run that was started");
        var before = new NewFolder(folder.Path);
        OutputFile.CreateFolder(folder.Path);
        using RunLock runLock = RunLock.Acquire(folder.Path);
        using NewFolder preparation = before;
        if (resumed is not null) preparation.Keep();
        if (resumed is null && folder.Exists) throw new CommandException(ExitCode.OutputUnwritable, "the folder holds a run already", folder.Path, "a new run would overwrite it", $"go on with it by --resume {folder.Path}, or choose another --out");
        using var signals = new StopSignals("stopping after this step and saving; once more to leave at once");
        Console.Error.WriteLine($"Varlen {MachineInfo.Version.Split('+')[0]} · {System.Runtime.InteropServices.RuntimeInformation.FrameworkDescription} · {MachineInfo.Describe(device)}");
        if (resumed is null) PlanPage.Print(Plan(parse, folder, device, signals), folder);
        else Verify(parse, folder, data);
        preparation.Keep();
        RunEnvironment.AddStart(folder, device);
        return Train(parse, folder, device, signals);
    }

    private static PlannedRun Plan(ParseResult parse, RunFolder folder, Device device, StopSignals signals)
    {
        try
        {
            PlannedRun planned = RunPlanner.Prepare(folder, TrainOptions.Request(parse), device, cancellationToken: signals.Token);
            RunEnvironment.WriteData(folder, planned.Corpus, planned.Plan, [planned.Packing]);
            return planned;
        }
        catch (ArgumentException e)
        {
            throw CommandException.Usage(e.Message);
        }
        catch (OperationCanceledException e)
        {
            throw signals.Stopped(e);
        }
    }

    private static void Verify(ParseResult parse, RunFolder folder, string[] data)
    {
        RunConfig config = LoadConfig(folder);
        TrainOptions.RequireSame(parse, config);
        if (data.Length > 0) RunData.RequireSame(folder, data);
        Console.Error.WriteLine($"Resume     {folder.Path}");
    }

    private static RunConfig LoadConfig(RunFolder folder)
    {
        try
        {
            return RunConfig.Load(folder.Config);
        }
        catch (FormatException e)
        {
            throw new CommandException(ExitCode.Configuration, "the run's settings cannot be read", folder.Config, e.Message, "restore the file from a copy of the folder, or start a new run", e);
        }
    }

    private static TrainingRun Open(RunFolder folder, Device device, TrainView view)
    {
        try
        {
            return new TrainingRun(folder, device, view);
        }
        catch (ArgumentException e)
        {
            throw new CommandException(ExitCode.Configuration, "the run cannot go on", folder.Path, e.Message, "its checkpoint belongs to other settings or data: restore those, or start a new run", e);
        }
    }

    private static int Train(ParseResult parse, RunFolder folder, Device device, StopSignals signals)
    {
        RunConfig config = RunConfig.Load(folder.Config);
        int end = Math.Min(parse.GetValue(StopAfter) ?? config.Training.Steps, config.Training.Steps);
        using var view = new TrainView(end, config.Training.Steps);
        using TrainingRun run = Open(folder, device, view);
        KernelProgress.Prepare(run.Model);
        RunResult result;
        try
        {
            result = run.Run(parse.GetValue(StopAfter), signals.Token);
        }
        catch (TrainingDivergedException)
        {
            // It shows how it came to that.
            TrainingReport.Write(folder);
            throw;
        }
        view.Dispose();
        if (result.Finished) RunExport.Write(folder, run, result);
        TrainingReport.Write(folder);
        PlanPage.PrintEnd(folder, run, result);
        if (parse.GetValue(CommonOptions.Json)) JsonOutput.Write(Summary(folder, result));
        else if (result.Finished) Console.Out.WriteLine(view.LastSample);
        return (int)(result.Finished ? ExitCode.Done : signals.Code ?? ExitCode.Done);
    }

    private static JsonObject Summary(RunFolder folder, RunResult result) => new()
    {
        ["status"] = result.Finished ? "done" : "stopped",
        ["run"] = folder.Path,
        ["model"] = result.Finished ? folder.Model : null,
        ["steps"] = result.Step,
        ["skipped_steps"] = result.SkippedSteps,
        ["tokens"] = new JsonObject { ["trained"] = result.Totals.Targets, ["skipped"] = result.Totals.SkippedTargets, ["ignored"] = result.Totals.IgnoredTargets, ["inputs"] = result.Totals.Tokens, ["padded"] = result.Totals.PaddedTokens },
        ["val_loss"] = result.Last is { } last ? JsonOutput.Number(last.Loss, 6) : null,
        ["bits_per_byte"] = result.Last is { } l ? JsonOutput.Number(l.BitsPerByte, 6) : null,
        ["best"] = result.BestLoss is { } best ? new JsonObject { ["step"] = result.BestStep, ["val_loss"] = JsonOutput.Number(best, 6) } : null,
        ["tokens_per_second"] = JsonOutput.Number(result.Totals.Tokens / result.Totals.Seconds, 0),
        ["seconds"] = JsonOutput.Number(result.Totals.Seconds, 2),
    };
}
