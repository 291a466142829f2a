using System.Globalization;
using System.Text;
using System.Text.Json;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class JsonTextTests
{
    [Fact]
    public void Lone_surrogates_are_found_exactly_where_decoding_fails()
    {
        string[] units = ["\\ud7ff", "\\ud800", "\\uD9ab", "\\uDBff", "\\udbFF", "\\uDC00", "\\udcff", "\\uDfff", "\\ue000", "\\uDa00", "\\uEB00", "\\n", "\\\\", "ud800", "x", "\\\\\\ud800"];
        int lone = 0, fine = 0;
        foreach (string first in units)
            foreach (string second in units)
                foreach (string third in units)
                {
                    byte[] text = Encoding.UTF8.GetBytes(first + second + third);
                    bool expected = Decodes(text) == false;
                    Assert.Equal(expected, JsonText.HasLoneSurrogate(text));
                    _ = expected ? lone++ : fine++;
                }
        Assert.True(lone > 100 && fine > 100, string.Create(CultureInfo.InvariantCulture, $"{lone} and {fine}"));
    }

    [Theory]
    [InlineData("plain.weight", "'plain.weight'")]
    [InlineData("a\n\u001b[2J", "'a\\n\\u001B[2J'")]
    [InlineData("é", "'\\u00E9'")]
    [InlineData("", "''")]
    public void Quotes_are_safe_to_print(string name, string expected) => Assert.Equal(expected, JsonText.Quote(name));

    [Fact]
    public void Quotes_are_cut_even_within_a_surrogate_pair()
    {
        string quote = JsonText.Quote(new string('x', 63) + "\U0001F600" + new string('y', 1000));
        Assert.StartsWith("'" + new string('x', 63), quote, StringComparison.Ordinal);
        Assert.EndsWith("...'", quote, StringComparison.Ordinal);
        Assert.InRange(quote.Length, 64, 80);
    }

    private static bool Decodes(byte[] text)
    {
        var reader = new Utf8JsonReader([(byte)'"', .. text, (byte)'"']);
        Assert.True(reader.Read());
        try
        {
            return reader.GetString() is not null;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }
}
