using Varlen.Checkpoints;

using Varlen.Text;
using Varlen.Training;

namespace Varlen.Cli.Terminal;

/// <summary>Exceptions of the library that stand for a fault of the user's files, as messages in four parts.</summary>
internal static class DataErrors
{
    /// <summary>The message of an exception, or null when it stands for something else.</summary>
    public static CommandException? Describe(Exception failure) => failure switch
    {
        TextFormatException bad => new(ExitCode.BadData, bad.What, bad.Where, bad.Reason, bad.Fix, bad),
        CheckpointFormatException bad => new(ExitCode.BadData, bad.What, $"{bad.Path}, byte {bad.Offset}", bad.Reason, bad.Fix, bad),
        RunLockedException locked => new(ExitCode.Temporary, "the run folder is in use", locked.Folder, $"process {locked.ProcessId?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "unknown"} on {locked.Host ?? "an unknown host"} is training in it", "wait for it to end, stop it, or use another folder", locked),
        CheckpointSaveException save => new(ExitCode.InputOutput, $"the state of step {save.Step} was not saved", save.Path,
            $"{save.Operation} failed: {save.InnerException?.Message ?? save.Message}; {Quantity.Bytes(save.NeededBytes)} needed{(save.FreeBytes is { } free ? $", {Quantity.Bytes(free)} free" : "")}", "make room or repair the disk, then go on with --resume: earlier checkpoints are intact", save),
        TrainingDivergedException diverged => new(ExitCode.Diverged, "training diverged", $"step {diverged.Step}", diverged.Message, "lower --lr or raise --warmup; the last checkpoint is intact, and go on from it with --resume after a fix of the data", diverged),
        FileNotFoundException missing => new(ExitCode.InputUnreadable, "a file is missing", missing.FileName, missing.Message, "give files or folders that exist and may be read", missing),
        DirectoryNotFoundException missing => new(ExitCode.InputUnreadable, "a folder is missing", null, missing.Message, "give files or folders that exist and may be read", missing),
        _ => null,
    };
}
