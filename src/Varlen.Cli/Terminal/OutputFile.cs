namespace Varlen.Cli.Terminal;

/// <summary>A file that a command will write: refused before the work rather than after it.</summary>
internal static class OutputFile
{
    // Linux's and Windows' codes of a full disk or an exhausted quota, as exceptions carry them.
    private static readonly int[] FullDisk = [28, 122, unchecked((int)0x80070070), unchecked((int)0x80070027)];

    /// <summary>Checks that a regular file can be created or replaced at a path.</summary>
    /// <exception cref="CommandException">It cannot.</exception>
    public static void RequireWritable(string path)
    {
        if (path.Length == 0) throw Unwritable(path, "the name is empty");
        if (Directory.Exists(path)) throw Unwritable(path, "it is a folder");
        string target = Path.GetFullPath(path);
        // Replacing a device by a file would take it from the whole system.
        if (OperatingSystem.IsLinux() && target.StartsWith("/dev/", StringComparison.Ordinal) && !target.StartsWith("/dev/shm/", StringComparison.Ordinal)) throw Unwritable(path, "it is a device, not a file");
        string probe = $"{target}.{Path.GetRandomFileName()}.tmp";
        try
        {
            using FileStream stream = new(probe, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.DeleteOnClose);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, e);
        }
    }

    /// <summary>Makes a folder and those above it, unless they exist.</summary>
    /// <exception cref="CommandException">It cannot be made.</exception>
    public static void CreateFolder(string path)
    {
        try
        {
            Directory.CreateDirectory(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, e);
        }
    }

    /// <summary>Runs what writes the file, and reports its failure as the output's.</summary>
    public static void Write(string path, Action write)
    {
        try
        {
            write();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, e.InnerException is IOException or UnauthorizedAccessException ? e.InnerException : e);
        }
    }

    private static CommandException Failure(string path, Exception cause) => FullDisk.Contains(cause.HResult)
        ? new(ExitCode.InputOutput, "the disk is full", path, cause.Message, "free some space and try again", cause)
        : Unwritable(path, cause.Message, cause);

    private static CommandException Unwritable(string path, string why, Exception? cause = null)
        => new(ExitCode.OutputUnwritable, "cannot write the output", path, why, "name a file in a folder that exists and may be written to", cause);
}
