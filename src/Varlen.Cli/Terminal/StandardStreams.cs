using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Cli.Terminal;

/// <summary>The three streams that a process expects to inherit.</summary>
internal static partial class StandardStreams
{
    private const int GetFlags = 3, AccessMode = 3;
    private static readonly List<SafeFileHandle> Kept = [];

    /// <summary>
    /// Silences streams that the caller closed: their numbers belong to whatever is opened first, and what is printed would be written into it
    /// or fail.
    /// </summary>
    public static void Fill()
    {
        if (OperatingSystem.IsWindows()) return;
        // Read-only, it is a file that the runtime has opened since.
        if (!IsWritable(1)) Console.SetOut(TextWriter.Null);
        if (!IsWritable(2)) Console.SetError(TextWriter.Null);
        while (true)
        {
            SafeFileHandle handle = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            if (handle.DangerousGetHandle() > 2)
            {
                handle.Dispose();
                return;
            }
            Kept.Add(handle);
        }
    }

    private static bool IsWritable(int file) => Control(file, GetFlags) is var flags && flags >= 0 && (flags & AccessMode) != 0;

    [LibraryImport("libc", EntryPoint = "fcntl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Control(int file, int command);
}
