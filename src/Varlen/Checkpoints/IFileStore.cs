using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>
/// Every operation that a checkpoint does to the disk, so that tests can count them, make any of them fail, and replay what a power loss
/// would leave. All throw <see cref="IOException"/> or <see cref="UnauthorizedAccessException"/>; none retries.
/// </summary>
internal interface IFileStore
{
    /// <summary>Makes one folder in an existing one.</summary>
    void CreateFolder(string path);

    /// <summary>Makes a new file for writing; closing it makes nothing durable.</summary>
    Stream CreateFile(string path);

    /// <summary>Returns when the contents of a file made by <see cref="CreateFile"/> are on the disk.</summary>
    void SyncFile(Stream file);

    /// <summary>Returns when the names in a folder are on the disk.</summary>
    void SyncFolder(string path);

    /// <summary>Gives a folder another name in the same parent, in which that name must be free.</summary>
    void RenameFolder(string from, string to);

    /// <summary>Names of the files and folders in a folder, in no order.</summary>
    string[] List(string path);

    /// <summary>Opens an existing regular file for reading.</summary>
    SafeFileHandle OpenFile(string path);

    /// <summary>Removes a file.</summary>
    void DeleteFile(string path);

    /// <summary>Removes an empty folder.</summary>
    void DeleteFolder(string path);

    /// <summary>Bytes that may still be written to the disk of a folder; null when the system does not tell.</summary>
    long? FreeBytes(string path);
}
