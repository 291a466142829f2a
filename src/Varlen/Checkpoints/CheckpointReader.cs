using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>Verifies a checkpoint's files on the handles that they are read through afterwards.</summary>
internal static class CheckpointReader
{
    private const int Piece = 1 << 20;

    /// <summary>Opens and verifies everything. Null when something is wrong; what it is has then been added to the defects.</summary>
    public static Checkpoint? Read(IFileStore store, string folder, long step, List<CheckpointDefect> defects)
    {
        if (ReadManifest(store, folder, step, defects) is not { } manifest) return null;
        var handles = new Dictionary<string, SafeFileHandle>();
        int before = defects.Count;
        try
        {
            foreach (CheckpointFile file in manifest.Files)
                if (Open(store, Path.Combine(folder, file.Name), file, defects) is { } handle) handles.Add(file.Name, handle);
            if (defects.Count == before) return new(folder, step, manifest.Files, handles);
        }
        catch
        {
            foreach (SafeFileHandle handle in handles.Values) handle.Dispose();
            throw;
        }
        foreach (SafeFileHandle handle in handles.Values) handle.Dispose();
        return null;
    }

    /// <summary>All bytes of an open file.</summary>
    public static byte[] ReadAll(SafeFileHandle handle, long length)
    {
        var bytes = new byte[length];
        int done = 0;
        while (done < bytes.Length && RandomAccess.Read(handle, bytes.AsSpan(done), done) is > 0 and int read) done += read;
        return done == bytes.Length ? bytes : throw new IOException($"the file shrank to {done} bytes while it was read");
    }

    private static CheckpointManifest? ReadManifest(IFileStore store, string folder, long step, List<CheckpointDefect> defects)
    {
        string path = Path.Combine(folder, CheckpointManifest.FileName);
        try
        {
            using SafeFileHandle handle = store.OpenFile(path);
            long length = RandomAccess.GetLength(handle);
            if (length <= CheckpointManifest.LargestText) return CheckpointManifest.Parse(ReadAll(handle, length), path, step);
            defects.Add(new(path, 0, length, $"a manifest has at most {CheckpointManifest.LargestText} bytes, this one {length}"));
        }
        catch (CheckpointFormatException e)
        {
            defects.Add(new(path, e.Offset, e.Offset + 1, $"{e.What}: {e.Reason}"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            defects.Add(new(path, 0, 0, e.Message));
        }
        return null;
    }

    private static SafeFileHandle? Open(IFileStore store, string path, CheckpointFile file, List<CheckpointDefect> defects)
    {
        SafeFileHandle? handle = null;
        try
        {
            handle = store.OpenFile(path);
            if (Defect(handle, path, file) is not { } defect) return handle;
            defects.Add(defect);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            defects.Add(new(path, 0, file.Size, e.Message));
        }
        handle?.Dispose();
        return null;
    }

    private static CheckpointDefect? Defect(SafeFileHandle handle, string path, CheckpointFile file)
    {
        long length = RandomAccess.GetLength(handle);
        if (length != file.Size) return new(path, Math.Min(length, file.Size), Math.Max(length, file.Size), $"it has {length} bytes, and {file.Size} were saved");
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var piece = new byte[Math.Min(Piece, length)];
        for (long at = 0; at < length;)
        {
            int read = RandomAccess.Read(handle, piece, at);
            if (read == 0) return new(path, at, length, "it shrank while it was read");
            hash.AppendData(piece, 0, read);
            at += read;
        }
        string found = Convert.ToHexStringLower(hash.GetCurrentHash());
        return found == file.Sha256 ? null : new(path, 0, length, $"its SHA-256 is {found}, and {file.Sha256} was saved");
    }
}
