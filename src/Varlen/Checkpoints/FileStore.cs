using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>The disk.</summary>
internal sealed class FileStore : IFileStore
{
    public static FileStore Instance { get; } = new();

    public void CreateFolder(string path)
    {
        // The runtime's call accepts a folder that is there already.
        if (Path.Exists(path)) throw new IOException($"'{path}' exists already");
        Directory.CreateDirectory(path);
    }

    // Unbuffered: writers hand over whole blocks.
    public Stream CreateFile(string path) => new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);

    public void SyncFile(Stream file) => DiskSync.File(((FileStream)file).SafeFileHandle, ((FileStream)file).Name);

    public void SyncFolder(string path) => DiskSync.Folder(path);

    public void RenameFolder(string from, string to) => Directory.Move(from, to);

    public string[] List(string path) => [.. new DirectoryInfo(path).EnumerateFileSystemInfos().Select(entry => entry.Name)];

    // Opening a pipe would wait for its writer; pipes, sockets and devices have no length.
    public SafeFileHandle OpenFile(string path) => new FileInfo(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Length == 0
        ? throw new IOException($"'{path}' is empty or no regular file")
        : File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);

    public void DeleteFile(string path) => File.Delete(path);

    public void DeleteFolder(string path) => Directory.Delete(path);

    public long? FreeBytes(string path)
    {
        try
        {
            return new DriveInfo(path).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
