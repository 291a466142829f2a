using Microsoft.Win32.SafeHandles;

namespace Varlen.Text;

/// <summary>Reads the files of a tokenizer whole, up to 256 MiB.</summary>
internal static class BoundedFile
{
    private const int Largest = 256 << 20;

    public static byte[] Read(string path)
    {
        // Opening a pipe would wait for its writer; pipes and devices have no length.
        if (File.Exists(path) && new FileInfo(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Length == 0)
            throw Refused("is empty", "copy it again");
        using SafeFileHandle handle = File.OpenHandle(path);
        long length = RandomAccess.GetLength(handle);
        if (length > Largest) throw Refused($"has {length} bytes, and the limit is {Largest}", "name a file of a tokenizer");
        var bytes = new byte[length];
        for (int done = 0, read; done < bytes.Length; done += read)
            if ((read = RandomAccess.Read(handle, bytes.AsSpan(done), done)) == 0) throw Refused("became shorter while it was read", "do not write to a file that is being read");
        return bytes;

        TextFormatException Refused(string problem, string fix) => new("the tokenizer cannot be used", path, 0, 0, $"the file {problem}", fix);
    }
}
