using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>
/// Waits until written data is on the disk. Calls fsync itself: .NET 10's own flush ignores its result on Linux, and has none for folders.
/// A failure is final, because the system may have dropped the data that it could not write; only an interrupted call is repeated.
/// </summary>
internal static partial class DiskSync
{
    private const int Interrupted = 4, Invalid = 22;

    /// <summary>Contents and length of an open file.</summary>
    /// <exception cref="IOException">The data may not be on the disk.</exception>
    public static void File(SafeFileHandle file, string path)
    {
        // On macOS this asks the drive to empty its own cache too, which fsync does not.
        if (!OperatingSystem.IsLinux()) RandomAccess.FlushToDisk(file);
        if (!OperatingSystem.IsWindows() && Sync(file) is not 0 and int error) throw Failure(error, path);
    }

    /// <summary>The names in a folder. Windows keeps them by itself.</summary>
    /// <exception cref="IOException">The names may not be on the disk.</exception>
    public static void Folder(string path)
    {
        if (OperatingSystem.IsWindows()) return;
        int descriptor;
        while ((descriptor = Open(path, 0)) < 0)
            if (Marshal.GetLastPInvokeError() is not Interrupted and int error) throw Failure(error, path);
        using var folder = new SafeFileHandle(descriptor, ownsHandle: true);
        // File systems without such an operation answer EINVAL; there is nothing to wait for then.
        if (Sync(folder) is not 0 and not Invalid and int failed) throw Failure(failed, path);
    }

    private static int Sync(SafeFileHandle handle)
    {
        while (Fsync(handle) != 0)
            if (Marshal.GetLastPInvokeError() is not Interrupted and int error) return error;
        return 0;
    }

    private static IOException Failure(int error, string path) => new($"{Marshal.GetPInvokeErrorMessage(error)} : '{path}'", error);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Fsync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);
}
