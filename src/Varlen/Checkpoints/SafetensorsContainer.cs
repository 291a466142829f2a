using System.Buffers.Binary;
using System.Text;

namespace Varlen.Checkpoints;

/// <summary>The first bytes of a file: the header's length, or what other kind of file this is.</summary>
internal static class SafetensorsContainer
{
    /// <summary>Bytes of the length field.</summary>
    public const int Prefix = 8;

    /// <summary>How many bytes from the start are enough to recognise every foreign file.</summary>
    public const int Enough = 64;

    private static readonly (byte[] Signature, string Reason, string Fix)[] Foreign =
    [
        ("version https://git-lfs"u8.ToArray(), "it is a git-LFS pointer; the real file was never downloaded", "run git lfs pull in its repository, or download the file again"),
        ("PK\u0003\u0004"u8.ToArray(), "it is a zip archive, as torch.save and numpy.savez write; what is inside may run code and is never opened", "convert it with safetensors.torch.save_file in the program that made it"),
        ("GGUF"u8.ToArray(), "it is a GGUF file", "use the safetensors release of the model"),
        ([0x1F, 0x8B], "it is gzip-compressed", "decompress it with gunzip first"),
        ([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'], "it is a NumPy array", "convert it with safetensors.numpy.save_file"),
        ([0x89, (byte)'H', (byte)'D', (byte)'F'], "it is an HDF5 file", "convert it with safetensors.numpy.save_file"),
    ];

    /// <summary>The header's length in bytes.</summary>
    /// <param name="start">The first bytes of the file: all of it, or at least <see cref="Enough"/>.</param>
    /// <param name="fileLength">Bytes of the whole file.</param>
    /// <param name="path">Named in errors.</param>
    /// <exception cref="CheckpointFormatException">Not a safetensors file, or its header cannot be that long.</exception>
    public static int ReadHeaderLength(ReadOnlySpan<byte> start, long fileLength, string path)
    {
        if (fileLength == 0) throw NotSafetensors(path, 0, "it is empty", "download or write it again");
        ulong length = start.Length >= Prefix ? BinaryPrimitives.ReadUInt64LittleEndian(start) : 0;
        bool plausible = length is >= 2 and <= SafetensorsLimits.HeaderBytes && (long)length <= fileLength - Prefix;
        // A legal header may begin with the bytes of another format (a length of 640 begins like a pickle), so those count only when the rest does not fit.
        if (plausible && start.Length > Prefix && start[Prefix] == '{') return (int)length;
        if (Recognise(start) is var (reason, fix)) throw NotSafetensors(path, 0, reason, fix);

        if (fileLength < Prefix)
            throw NotSafetensors(path, 0, $"it has {fileLength} bytes, and the length field alone takes {Prefix}", "download or write it again");
        if (length < 2)
            throw NotSafetensors(path, 0, $"the header length is {length}, and the shortest header is the 2 bytes {{}}", "write the file again");
        if (length > SafetensorsLimits.HeaderBytes)
            throw NotSafetensors(path, 0, $"the header length is {length}, above the format's limit of {SafetensorsLimits.HeaderBytes} bytes", "check that this is a safetensors file");
        if (!plausible)
            throw NotSafetensors(path, 0, $"the header length is {length}, but only {fileLength - Prefix} bytes follow it", "the file is cut short: download or write it again");
        throw NotSafetensors(path, Prefix, $"the header must start with '{{' and starts with byte 0x{start[Prefix]:X2}", "check that this is a safetensors file");
    }

    private static (string Reason, string Fix)? Recognise(ReadOnlySpan<byte> start)
    {
        foreach ((byte[] signature, string reason, string fix) in Foreign)
            if (start.StartsWith(signature)) return (reason, fix);
        // Protocols 2 to 5 open with 0x80 and the protocol's number.
        if (start.Length >= 2 && start[0] == 0x80 && start[1] is >= 2 and <= 5)
            return ("it is a Python pickle, which may run code and is never opened", "convert it with safetensors.torch.save_file in the program that made it");
        ReadOnlySpan<byte> text = start.StartsWith("\uFEFF"u8) ? start[3..] : start;
        text = text.TrimStart(" \t\r\n"u8);
        if (text.StartsWith("<"u8) && text.Length > 1 && (text[1] == '!' || text[1] == '?' || char.IsAsciiLetter((char)text[1])))
            return ($"it is an HTML or XML page (\"{Encoding.ASCII.GetString(text[..Math.Min(text.Length, 15)])}\"), probably a download's error page", "download the file again; a sign-in or licence may be needed");
        if (text.StartsWith("{"u8))
            return ("it is a JSON text, such as the index of a sharded checkpoint", "open the .safetensors files that it names");
        return null;
    }

    private static CheckpointFormatException NotSafetensors(string path, long offset, string reason, string fix) =>
        new("not a safetensors file", path, offset, reason, fix);
}
