using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Varlen.Checkpoints;
using Xunit;
using static Varlen.Tests.Checkpoints.SafetensorsBytes;

namespace Varlen.Tests.Checkpoints;

/// <summary>Damaged headers against an independent reading of the same bytes by <see cref="JsonDocument"/>.</summary>
public sealed class SafetensorsFuzzTests(ITestOutputHelper output)
{
    private const int Cases = 200_000;

    private static readonly byte[][] Seeds =
    [
        Assemble("{}"),
        Assemble("{" + Entry("a", "[2,2]", 0, 16) + "}  ", 16),
        Assemble("{" + string.Join(",", Entry("w", "[3]", 0, 12), Entry("b", "[]", 12, 20, "F64"), Entry("none", "[0,4]", 20, 20, "I32")) + "}", 20),
        Assemble("{\"__metadata__\":{\"format\":\"pt\",\"k\\u0065y\":\"\\ud83d\\ude00\"}," + Entry("\\u0061/b", "[4]", 0, 2, "F4") + "," + Entry("é", "[1,1,1]", 2, 4, "BF16") + "}", 4),
        Assemble("{" + string.Join(",", Entry("late", "[8]", 8, 16, "U8"), Entry("early", "[8]", 0, 8, "BOOL")) + "}", 16),
    ];

    private static readonly string[] Pieces =
    [
        "0", "-1", "1.5", "1e3", "4", "8", "16", "9223372036854775807", "9223372036854775808", "4294967296", "[]", "[0]", "{}", "null", "true", "\"\"",
        ",", ":", "[", "]", "{", "}", "\"", "\\", "\\u0000", "\\ud800", "\"dtype\":\"F32\"", "\"shape\":[1]", "\"__metadata__\":{}", "F64", "U8", " ", "\n", "\0", "\u00e9",
    ];

    [Fact]
    public void Damaged_headers_are_judged_as_an_independent_reader_judges_them()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int accepted = 0;
        for (int i = 0; i < Cases; i++)
        {
            byte[] file = Mutate(random);
            try
            {
                if (Check(file)) accepted++;
            }
            catch (Exception failure)
            {
                throw new InvalidOperationException($"seed {seed}, case {i}, file {Convert.ToHexString(file)}: {failure.Message}", failure);
            }
        }
        output.WriteLine($"{accepted} of {Cases} accepted");
        // Both sides must have been exercised for the comparison to mean anything.
        Assert.InRange(accepted, Cases / 100, Cases * 9 / 10);
    }

    private static bool Check(byte[] file)
    {
        List<Expected>? expected = Read(file);
        long before = GC.GetAllocatedBytesForCurrentThread();
        SafetensorsHeader? header = null;
        string refusal = "";
        try
        {
            header = SafetensorsHeader.Parse(file, file.Length);
        }
        catch (CheckpointFormatException error)
        {
            refusal = error.Message;
            Assert.InRange(error.Offset, 0, file.Length);
        }
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.InRange(allocated, 0, 4L * file.Length + (1 << 20));

        Assert.True((header is null) == (expected is null), $"{(header is null ? "refused" : "accepted")} against the other reader: {refusal}");
        if (header is null) return false;
        Assert.Equal(expected!.Count, header.Count);
        for (int i = 0; i < header.Count; i++)
        {
            SafetensorsEntry entry = header[i];
            Assert.Equal(expected[i].Name, entry.Name);
            Assert.Equal(expected[i].Shape, entry.Shape.ToArray());
            Assert.Equal((expected[i].Begin, expected[i].End), (entry.Begin - header.DataStart, entry.End - header.DataStart));
            Assert.NotNull(header.Find(entry.Name));
        }
        foreach ((string key, string value) in header.Metadata) Assert.Equal(value, header.Metadata[key]);
        return true;
    }

    private sealed record Expected(string Name, long[] Shape, long Begin, long End);

    // The format's rules once more, in the most direct way: a document, big integers, and a map of every data byte. Null when a rule is broken.
    private static List<Expected>? Read(byte[] file)
    {
        if (file.Length < 10) return null;
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(file);
        if (length > (ulong)file.Length - 8 || length < 2 || file[8] != '{') return null;
        byte[] json = file[8..(8 + (int)length)];
        if (!Utf8.IsValid(json)) return null;
        var owners = new int[file.Length - 8 - json.Length];
        var tensors = new List<Expected>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (property.Name == "__metadata__")
                {
                    if (property.Value.EnumerateObject().Any(pair => pair.Name is null || pair.Value.ValueKind != JsonValueKind.String || pair.Value.GetString() is null)) return null;
                }
                else if (ReadEntry(property, owners) is { } tensor) tensors.Add(tensor);
                else return null;
            }
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return null;
        }
        if (owners.Any(count => count != 1)) return null;
        // An empty tensor may stand at either end of another, not inside it.
        bool inside = tensors.Any(empty => empty.Begin == empty.End && tensors.Any(other => other.Begin < empty.Begin && empty.Begin < other.End));
        return inside ? null : tensors;
    }

    private static Expected? ReadEntry(JsonProperty property, int[] owners)
    {
        JsonElement[] shape = [.. property.Value.GetProperty("shape").EnumerateArray()];
        JsonElement[] offsets = [.. property.Value.GetProperty("data_offsets").EnumerateArray()];
        string dtype = property.Value.GetProperty("dtype").GetString() ?? "";
        int bits = dtype switch
        {
            "F4" => 4,
            "F6_E2M3" or "F6_E3M2" => 6,
            "BOOL" or "I8" or "U8" or "F8_E4M3" or "F8_E5M2" or "F8_E8M0" or "F8_E4M3FNUZ" or "F8_E5M2FNUZ" => 8,
            "F16" or "BF16" or "I16" or "U16" => 16,
            "F32" or "I32" or "U32" => 32,
            "F64" or "I64" or "U64" or "C64" => 64,
            _ => 0,
        };
        if (bits == 0 || shape.Length > 32 || offsets.Length != 2 || property.Value.EnumerateObject().Count() != 3) return null;
        JsonElement[] numbers = [.. shape, .. offsets];
        if (numbers.Any(number => number.ValueKind != JsonValueKind.Number || number.GetRawText().Any(character => !char.IsAsciiDigit(character)))) return null;
        BigInteger[] values = [.. numbers.Select(number => BigInteger.Parse(number.GetRawText(), System.Globalization.CultureInfo.InvariantCulture))];
        BigInteger[] sizes = values[..shape.Length];
        BigInteger begin = values[^2], end = values[^1];
        BigInteger product = sizes.Where(size => !size.IsZero).Aggregate(BigInteger.One, (left, right) => left * right);
        if (product > long.MaxValue) return null;
        if (sizes.Any(size => size.IsZero)) product = 0;
        if (begin > end || end > owners.Length || product * bits != (end - begin) * 8) return null;
        for (long i = (long)begin; i < end; i++) owners[i]++;
        return new(property.Name, [.. sizes.Select(size => (long)size)], (long)begin, (long)end);
    }

    private static byte[] Mutate(Random random)
    {
        byte[] seed = Seeds[random.Next(Seeds.Length)];
        int header = (int)BinaryPrimitives.ReadUInt64LittleEndian(seed);
        List<byte> json = [.. seed[8..(8 + header)]];
        List<byte> data = [.. seed[(8 + header)..]];
        for (int edits = random.Next(1, 4); edits > 0; edits--) Edit(random, json);
        if (random.Next(8) == 0) data.AddRange(new byte[random.Next(1, 9)]);
        if (random.Next(8) == 0 && data.Count > 0) data.RemoveRange(0, random.Next(1, data.Count));
        byte[] file = Assemble([.. json], [.. data]);
        if (random.Next(10) == 0) file[random.Next(8)] ^= (byte)(1 << random.Next(8));
        return random.Next(20) == 0 ? file[..random.Next(file.Length)] : file;
    }

    private static void Edit(Random random, List<byte> json)
    {
        int at = random.Next(json.Count + 1);
        switch (random.Next(8))
        {
            case 0 when at < json.Count:
                json[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1 when at < json.Count:
                json[at] = (byte)random.Next(256);
                break;
            case 2 when at < json.Count:
                json.RemoveRange(at, Math.Min(random.Next(1, 6), json.Count - at));
                break;
            case 3:
                byte[] other = Seeds[random.Next(Seeds.Length)];
                int from = random.Next(8, other.Length);
                json.InsertRange(at, other[from..Math.Min(other.Length, from + random.Next(1, 60))]);
                break;
            case 4:
                json.InsertRange(at, Encoding.UTF8.GetBytes(Pieces[random.Next(Pieces.Length)]));
                break;
            case 5:
                ReplaceNumber(random, json, at);
                break;
            case 6:
                // White space where a gap is legal, which must change nothing.
                int gap = json.FindIndex(Math.Min(at, json.Count), character => character is (byte)',' or (byte)'}' or (byte)']');
                if (gap >= 0) json.Insert(gap, (byte)" \t\n\r"[random.Next(4)]);
                break;
            default:
                json.InsertRange(at, json.Skip(at).Take(random.Next(1, 80)).ToArray());
                break;
        }
        if (json.Count == 0) json.Add((byte)'{');
    }

    private static void ReplaceNumber(Random random, List<byte> json, int at)
    {
        int start = json.FindIndex(Math.Min(at, json.Count), character => char.IsAsciiDigit((char)character));
        if (start < 0) return;
        int end = start;
        while (end < json.Count && char.IsAsciiDigit((char)json[end])) end++;
        json.RemoveRange(start, end - start);
        string[] numbers = ["0", "1", "2", "4", "8", "12", "16", "20", "-0", "01", "1.0", "1E0", "4294967296", "9223372036854775807", "9223372036854775808", "99999999999999999999999999"];
        json.InsertRange(start, Encoding.ASCII.GetBytes(numbers[random.Next(numbers.Length)]));
    }
}
