namespace Varlen.Cli.Terminal;

/// <summary>
/// What the process tells its caller. Codes from 64 on follow sysexits.h, so that a scheduler can tell "try again" from "never".
/// docs/command-line.md has the same table.
/// </summary>
internal enum ExitCode
{
    /// <summary>Done.</summary>
    Done = 0,
    /// <summary>A check ran and found problems.</summary>
    CheckFailed = 1,
    /// <summary>The command line cannot be understood, or its parts exclude each other.</summary>
    Usage = 2,
    /// <summary>Data or a model file is malformed.</summary>
    BadData = 65,
    /// <summary>An input does not exist or cannot be read.</summary>
    InputUnreadable = 66,
    /// <summary>A device, driver or library that was asked for is missing.</summary>
    DeviceUnavailable = 69,
    /// <summary>A defect of this program.</summary>
    InternalError = 70,
    /// <summary>Host or device memory ran out.</summary>
    OutOfMemory = 71,
    /// <summary>An output cannot be created.</summary>
    OutputUnwritable = 73,
    /// <summary>Reading or writing failed midway, for example because the disk is full.</summary>
    InputOutput = 74,
    /// <summary>A condition that passes: trying again can succeed.</summary>
    Temporary = 75,
    /// <summary>Training diverged.</summary>
    Diverged = 76,
    /// <summary>The operation is not permitted.</summary>
    Permission = 77,
    /// <summary>A configuration is invalid, or does not fit what is being resumed.</summary>
    Configuration = 78,
    /// <summary>Stopped by an interrupt; the state was saved.</summary>
    Interrupted = 130,
    /// <summary>Stopped by a request to terminate; the state was saved.</summary>
    Terminated = 143,
}

/// <summary>Names of the codes in JSON.</summary>
internal static class ExitCodes
{
    /// <summary>A stable name such as "bad-data".</summary>
    public static string Name(this ExitCode code) => System.Text.Json.JsonNamingPolicy.KebabCaseLower.ConvertName(code.ToString());
}
