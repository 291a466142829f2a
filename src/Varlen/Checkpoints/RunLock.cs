using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>
/// The right to write a run folder. The system gives it to one process and takes it back when that process ends, however it ends; a second
/// file beside the lock says who holds it.
/// </summary>
/// <remarks>On a file system without locks the second file decides alone: its holder counts as alive while a process of that number and start runs on this boot of this host.</remarks>
public sealed partial class RunLock : IDisposable
{
    private const string LockName = ".lock", HolderName = ".lock.json";
    private const int Exclusive = 2, WithoutWaiting = 4, Interrupted = 4;
    // EWOULDBLOCK on Linux and macOS.
    private static readonly int[] Held = [11, 35];
    private readonly FileStream _file;
    private readonly string _holder;

    private RunLock(FileStream file, string holder) => (_file, _holder) = (file, holder);

    /// <summary>Takes the lock of a run folder, or fails at once. Makes the folder when it does not exist.</summary>
    /// <exception cref="RunLockedException">Another process has it, or this one already.</exception>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static RunLock Acquire(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string full = Directory.CreateDirectory(folder).FullName, holder = Path.Combine(full, HolderName);
        FileStream? file = null;
        try
        {
            file = new FileStream(Path.Combine(full, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            bool decides = OperatingSystem.IsWindows() || Lock(file.SafeFileHandle, full, holder);
            if (!decides && LockHolder.Read(holder) is { } other && other.MayBeAlive)
                throw Refusal(full, other, $"wait for it to end or stop it; if it is gone, delete {holder}");
            LockHolder.Current.Write(holder);
            return new(file, holder);
        }
        catch (Exception e)
        {
            file?.Dispose();
            // Opening refuses by a code of its own; the file can also be unreadable for other reasons.
            if (e is IOException and not RunLockedException && file is null && IsHeld(e.HResult)) throw Refusal(full, LockHolder.Find(holder));
            throw;
        }
    }

    /// <summary>Gives the lock back.</summary>
    public void Dispose()
    {
        if (!_file.CanRead) return;
        try
        {
            File.Delete(_holder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The lock itself says that nobody has it.
        }
        _file.Dispose();
    }

    // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
    private static bool IsHeld(int code) => Held.Contains(code) || code is unchecked((int)0x80070020) or unchecked((int)0x80070021);

    private static RunLockedException Refusal(string folder, LockHolder? holder, string? fix = null)
        => fix is null ? new(folder, holder?.ProcessId, holder?.Host) : new(folder, holder?.ProcessId, holder?.Host, fix);

    /// <summary>Asks the system itself: the runtime's own lock can be switched off, and passes over file systems without locks. False for such a one.</summary>
    private static bool Lock(SafeFileHandle file, string folder, string holder)
    {
        while (Flock(file, Exclusive | WithoutWaiting) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (Held.Contains(error)) throw Refusal(folder, LockHolder.Find(holder));
            if (error != Interrupted) return false;
        }
        return true;
    }

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Flock(SafeFileHandle file, int operation);
}
