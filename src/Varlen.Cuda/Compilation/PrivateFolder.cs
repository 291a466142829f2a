using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>Makes sure that nobody else can put files into a folder whose files become code.</summary>
internal static unsafe partial class PrivateFolder
{
    private const int AtCurrentFolder = -100, NoFollow = 0x100;
    private const uint WantsTypeModeOwner = 0x1 | 0x2 | 0x8;
    // struct statx has one layout on every Linux.
    private const int StatBytes = 256, OwnerAt = 20;

    /// <summary>Makes the folder with mode 0700, or checks that it is the user's own, no link, and closed to others.</summary>
    /// <param name="folder">An absolute path.</param>
    /// <param name="why">Why it is not safe or cannot be had.</param>
    public static bool TryPrepare(string folder, [NotNullWhen(false)] out string? why)
    {
        try
        {
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(folder);
                why = null;
                return true;
            }
            const UnixFileMode own = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
            Directory.CreateDirectory(folder, own);
            if (new DirectoryInfo(folder).LinkTarget is not null) why = $"{folder} is a symbolic link";
            else if ((File.GetUnixFileMode(folder) & ~own) != 0) why = $"{folder} is open to others; chmod 700 it";
            else if (!IsOwn(folder)) why = $"{folder} belongs to another user";
            else why = null;
            return why is null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            why = e.Message;
            return false;
        }
    }

    private static bool IsOwn(string folder)
    {
        try
        {
            byte* stat = stackalloc byte[StatBytes];
            return Statx(AtCurrentFolder, folder, NoFollow, WantsTypeModeOwner, stat) == 0 && *(uint*)(stat + OwnerAt) == GetEffectiveUser();
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint GetEffectiveUser();
}
