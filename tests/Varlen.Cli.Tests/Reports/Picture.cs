using System.Buffers.Binary;
using System.IO.Compression;
using Xunit;

namespace Varlen.Cli.Tests.Reports;

/// <summary>The pixels of a PNG file of 8-bit colours without interlacing, as browsers write it.</summary>
internal sealed record Picture(int Width, int Height, byte[] Pixels, int Channels)
{
    public static Picture Read(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        using var data = new MemoryStream();
        int width = 0, height = 0, channels = 0;
        for (int at = 8; at < file.Length;)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(at));
            ReadOnlySpan<byte> kind = file.AsSpan(at + 4, 4), body = file.AsSpan(at + 8, length);
            if (kind.SequenceEqual("IHDR"u8))
            {
                (width, height) = (BinaryPrimitives.ReadInt32BigEndian(body), BinaryPrimitives.ReadInt32BigEndian(body[4..]));
                channels = body[9] switch { 2 => 3, 6 => 4, _ => 0 };
                Assert.True(body[8] == 8 && channels > 0 && body[12] == 0, $"{path} is a PNG of another kind");
            }
            if (kind.SequenceEqual("IDAT"u8)) data.Write(body);
            at += length + 12;
        }
        data.Position = 0;
        using var rows = new ZLibStream(data, CompressionMode.Decompress);
        int stride = width * channels;
        var pixels = new byte[height * stride];
        for (int y = 0; y < height; y++)
        {
            int filter = rows.ReadByte();
            Span<byte> row = pixels.AsSpan(y * stride, stride);
            rows.ReadExactly(row);
            for (int x = 0; x < stride; x++)
            {
                int left = x >= channels ? row[x - channels] : 0, up = y > 0 ? pixels[(y - 1) * stride + x] : 0, corner = x >= channels && y > 0 ? pixels[(y - 1) * stride + x - channels] : 0;
                row[x] += (byte)(filter switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 => Paeth(left, up, corner), _ => 0 });
            }
        }
        return new(width, height, pixels, channels);
    }

    public (byte R, byte G, byte B) this[int x, int y] => (Pixels[(y * Width + x) * Channels], Pixels[(y * Width + x) * Channels + 1], Pixels[(y * Width + x) * Channels + 2]);

    /// <summary>How many pixels have each colour.</summary>
    public Dictionary<(byte R, byte G, byte B), int> Colours()
        => Enumerable.Range(0, Width * Height).Select(i => this[i % Width, i / Width]).GroupBy(colour => colour).ToDictionary(group => group.Key, group => group.Count());

    private static int Paeth(int left, int up, int corner)
    {
        int guess = left + up - corner, a = Math.Abs(guess - left), b = Math.Abs(guess - up), c = Math.Abs(guess - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }
}
