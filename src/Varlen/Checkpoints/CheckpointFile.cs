namespace Varlen.Checkpoints;

/// <summary>One file of a checkpoint, as its manifest lists it.</summary>
/// <param name="Name">Name in the checkpoint's folder.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Sha256">SHA-256 of its bytes in lower-case hexadecimal digits.</param>
public sealed record CheckpointFile(string Name, long Size, string Sha256)
{
    private const int LongestName = 128;

    /// <summary>Whether a name may stand in a manifest: it can leave no folder, and means the same on every system.</summary>
    internal static bool IsName(string name)
        => name.Length is > 0 and <= LongestName && name != CheckpointManifest.FileName && name[^1] != '.' && char.IsAsciiLetterOrDigit(name[0])
            && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_') && !IsDevice(name.Split('.')[0].ToUpperInvariant());

    // Windows opens its devices under these names in every folder.
    private static bool IsDevice(string stem) => stem is "CON" or "PRN" or "AUX" or "NUL" || (stem.Length == 4 && stem[..3] is "COM" or "LPT" && char.IsAsciiDigit(stem[3]));
}

/// <summary>A stretch of a checkpoint's file that is not what was saved.</summary>
/// <param name="Path">The file, or the checkpoint's folder when a file is missing from it.</param>
/// <param name="Begin">First byte of the stretch.</param>
/// <param name="End">One past its last byte.</param>
/// <param name="Reason">What is wrong, with the expected and the found value.</param>
public sealed record CheckpointDefect(string Path, long Begin, long End, string Reason)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Path}, bytes {Begin} to {End}: {Reason}";
}
