namespace Varlen.Data;

/// <summary>What the first block of a file says about its encoding.</summary>
internal static class TextEncodings
{
    /// <summary>Null for text; otherwise why the file is none.</summary>
    /// <exception cref="TextFormatException">It is text, but UTF-16 or UTF-32.</exception>
    public static string? WhyNoText(TextSource source)
    {
        ReadOnlySpan<byte> start = source.Rest;
        if (Wide(start) is { } encoding)
            throw new TextFormatException($"the file is {encoding}", source.Path, 1, 1, "only UTF-8 is read", $"convert it: iconv -f {encoding} -t UTF-8");
        return start.Contains((byte)0) ? "it holds a zero byte, as binary files do" : null;
    }

    private static string? Wide(ReadOnlySpan<byte> start)
    {
        if (start.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE, 0, 0])) return "UTF-32LE";
        if (start.StartsWith((ReadOnlySpan<byte>)[0, 0, 0xFE, 0xFF])) return "UTF-32BE";
        if (start.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE])) return "UTF-16LE";
        if (start.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF])) return "UTF-16BE";
        // Without a mark: text of mostly Latin letters has a zero in every second byte, and nearly none in the others.
        ReadOnlySpan<byte> sample = start[..(Math.Min(start.Length, 4096) & ~1)];
        int even = 0, odd = 0;
        for (int i = 0; i < sample.Length; i += 2)
        {
            if (sample[i] == 0) even++;
            if (sample[i + 1] == 0) odd++;
        }
        int units = sample.Length / 2;
        if (units >= 2 && odd * 10 >= units * 4 && even * 50 <= units) return "UTF-16LE";
        return units >= 2 && even * 10 >= units * 4 && odd * 50 <= units ? "UTF-16BE" : null;
    }
}
