using System.Text;
using System.Text.Json;
using Varlen.Data;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class JsonLinesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("{\"text\":\"a\",\"text\":\"b\"}", 19, "the key 'text' appears twice")]
    [InlineData("{\"text\":\"a\",\"t\\u0065xt\":\"b\"}", 24, "the key 'text' appears twice")]
    [InlineData("{\"text\":\"a\",\"x\":{\"k\":1,\"k\":2}}", 27, "the key 'k' appears twice")]
    [InlineData("{\"text\":\"a\\ud800b\"}", 11, "half a surrogate pair")]
    [InlineData("{\"text\":\"a\\udc00\\ud800\"}", 11, "half a surrogate pair")]
    [InlineData("{\"text\":\"a", 11, "the line ends within a string")]
    [InlineData("{\"text\":\"a\"", 12, "the line ends where ',' or '}' belongs")]
    [InlineData("{\"text\":\"a\tb\"}", 11, "control character 0x09")]
    [InlineData("{\"text\":\"\\q\"}", 10, "a backslash")]
    [InlineData("{\"text\":\"\\u00g0\"}", 10, "four hexadecimal digits")]
    [InlineData("{\"text\":\"a\"} x", 14, "something follows the record")]
    [InlineData("{\"text\":5}", 9, "the field 'text' is no string")]
    [InlineData("{\"TEXT\":\"a\"}", 13, "no field 'text'")]
    [InlineData("[\"a\"]", 1, "is a JSON object")]
    [InlineData("{\"text\":\"a\",}", 13, "'}' stands where a key in quotes belongs")]
    [InlineData("{\"text\":\"a\",\"n\":01}", 18, "'1' stands where ',' or '}' belongs")]
    [InlineData("{\"text\":\"a\",\"n\":-}", 18, "'}' stands where a digit belongs")]
    [InlineData("{\"text\":\"a\",\"n\":tru}", 17, "'t' stands where a value belongs")]
    public void A_bad_line_is_placed(string line, int column, string reason)
    {
        string file = _folder.Write("a.jsonl", $"{{\"text\":\"good\"}}\n{line}\n{{\"text\":\"last\"}}\n");
        TextFormatException error = Assert.Throws<TextFormatException>(() => Read(file, BadLines.Stop));
        Assert.Contains(reason, error.Reason, StringComparison.Ordinal);
        Assert.StartsWith($"{file}:2:{column}: ", error.Reason, StringComparison.Ordinal);
        (CorpusSummary summary, string[] texts) = Read(file, BadLines.Skip);
        Assert.Equal(["good", "last"], texts);
        Assert.Equal((1, 2), ((int)summary.BadLineCount, (int)Assert.Single(summary.BadLines).Line));
    }

    [Fact]
    public void Invalid_utf8_and_deep_nesting_are_bad_lines()
    {
        string deep = string.Concat(Enumerable.Repeat("[", 64)) + string.Concat(Enumerable.Repeat("]", 64));
        string file = _folder.Write("a.jsonl", [.. "{\"text\":\"a"u8, 0xFF, .. "\"}\n{\"text\":\"b\",\"x\":"u8, .. Encoding.UTF8.GetBytes(deep), .. "}\n{\"text\":\"c\",\"x\":"u8, .. Encoding.UTF8.GetBytes(deep[1..^1]), .. "}"u8]);
        (CorpusSummary summary, string[] texts) = Read(file, BadLines.Skip);
        Assert.Equal(["c"], texts);
        Assert.Equal([$"{file}:1:11: the text is not UTF-8", $"{file}:2:80: values are nested more than 64 deep"], summary.BadLines.Select(line => line.ToString()));
    }

    [Fact]
    public void The_first_twenty_are_shown_and_all_are_counted()
    {
        string file = _folder.Write("a.jsonl", string.Concat(Enumerable.Repeat("bad\n", 50)) + "{\"text\":\"a\"}");
        TextFormatException error = Assert.Throws<TextFormatException>(() => Read(file, BadLines.Stop));
        Assert.Contains("50 lines", error.What, StringComparison.Ordinal);
        Assert.Contains("and 30 more", error.Reason, StringComparison.Ordinal);
        Assert.Contains($"{file}:20:1: ", error.Reason, StringComparison.Ordinal);
        Assert.DoesNotContain($"{file}:21:", error.Reason, StringComparison.Ordinal);
        Assert.Equal((50, 20), ((int)Read(file, BadLines.Skip).Summary.BadLineCount, Read(file, BadLines.Skip).Summary.BadLines.Count));
    }

    [Fact]
    public void The_field_can_be_named_and_an_empty_text_is_no_document()
    {
        string file = _folder.Write("a.jsonl", "{\"body\":\"one\",\"text\":1}\n{\"body\":\"\"}\r\n{\"body\":\"\\ud83d\\ude00\\n\\/\\\"\\u0000\"}");
        CorpusSummary summary = TextCorpus.Tokenize([file], new ByteTokenizer(), _folder["s"], new() { TextField = "body" });
        using var store = TokenStore.Open(_folder["s"]);
        Assert.Equal((2, 1), (store.DocumentCount, (int)summary.EmptyDocuments));
        Assert.Equal("\U0001f600\n/\"\0", new ByteTokenizer().Decode(store.Read(1)));
    }

    [Fact]
    public void Damaged_lines_are_judged_as_an_independent_reader_judges_them()
    {
        int seed = Numeric.FreshSeed(), good = 0;
        var random = new Random(seed);
        string[] seeds = ["{\"text\":\"a\\u00e9\\ud83d\\ude00b\"}", "{\"id\": -1.5e+3, \"text\" : \"x\", \"t\":[true,false,null,{}]}", "{\"a\":{\"b\":{\"text\":\"no\"}},\"text\":\"\u4e16\"}"];
        string[] pieces = ["\"", "\\", "{", "}", "[", "]", ",", ":", "0", "1e5", "\\ud800", "\\n", " ", "\u00e9", "null", "\"text\"", "\"k\":1", "\u001f"];
        var lines = new List<byte[]>();
        for (int i = 0; i < 30_000; i++)
        {
            byte[] line = Encoding.UTF8.GetBytes(seeds[random.Next(seeds.Length)]);
            for (int edits = random.Next(3); edits > 0; edits--)
            {
                int at = random.Next(line.Length);
                line = random.Next(3) == 0 ? [.. line[..at], (byte)random.Next(256), .. line[(at + 1)..]] : [.. line[..at], .. Encoding.UTF8.GetBytes(pieces[random.Next(pieces.Length)]), .. line[(at + random.Next(2))..]];
            }
            lines.Add([.. line.Select(value => value is (byte)'\n' or 0 ? (byte)'_' : value)]);
        }
        string file = _folder.Write("a.jsonl", [.. lines.SelectMany(line => line.Append((byte)'\n'))]);
        (CorpusSummary summary, string[] texts) = Read(file, BadLines.Skip);
        int empty = 0;
        foreach (byte[] line in lines)
        {
            string? expected = Judge(line);
            if (expected is "") empty++;
            if (expected is not { Length: > 0 }) continue;
            Assert.True(good < texts.Length && texts[good] == expected, $"seed {seed}: {Encoding.UTF8.GetString(line)}");
            good++;
        }
        Assert.Equal((texts.Length, lines.Count - good - empty), (good, (int)summary.BadLineCount));
        Assert.InRange(good, 5000, 29_000);
    }

    // The text of a record, or null for a bad line.
    private static string? Judge(byte[] line)
    {
        try
        {
            if (!System.Text.Unicode.Utf8.IsValid(line)) return null;
            using JsonDocument document = JsonDocument.Parse(line, new() { AllowDuplicateProperties = false, MaxDepth = 64 });
            if (HasLoneSurrogate(document.RootElement)) return null;
            return document.RootElement.GetProperty("text").GetString();
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return null;
        }
    }

    private static bool HasLoneSurrogate(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => value.EnumerateObject().Any(property => property.Name is null || HasLoneSurrogate(property.Value)),
        JsonValueKind.Array => value.EnumerateArray().Any(HasLoneSurrogate),
        JsonValueKind.String => value.GetString() is null,
        _ => false,
    };

    private (CorpusSummary Summary, string[] Texts) Read(string file, BadLines bad)
    {
        CorpusSummary summary = TextCorpus.Tokenize([file], new ByteTokenizer(), _folder["s"], new() { BadLines = bad });
        using var store = TokenStore.Open(_folder["s"]);
        return (summary, [.. Enumerable.Range(0, store.DocumentCount).Select(document => new ByteTokenizer().Decode(store.Read(document)))]);
    }
}
