using System.Text;
using System.Text.RegularExpressions;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Text;

public sealed class WordSplitterTests
{
    // The published expression, run by the regular-expression engine; supplementary characters are beyond its categories.
    private static readonly Regex Published = new(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant);

    [Fact]
    public void Splits_as_the_published_expression()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 20_000; round++)
        {
            string text = TextSamples.Draw(random, random.Next(1, 12));
            Assert.True(Published.Matches(text).Select(match => match.Value).SequenceEqual(Split(Encoding.UTF8.GetBytes(text)).Select(word => Encoding.UTF8.GetString(word))), $"seed {seed}, round {round}: '{text}'");
        }
    }

    [Theory]
    [InlineData("Hello world", "Hello| world")]
    [InlineData("don't we'll I'M", "don|'t| we|'ll| I|'|M")]
    [InlineData("a  b   c", "a| | b|  | c")]
    [InlineData("x\n\ny ", "x|\n|\n|y| ")]
    [InlineData("  12ab!? ", " | 12|ab|!?| ")]
    [InlineData(" 'tis", " '|tis")]
    [InlineData("\ud801\udc37\ud801\udc37 \ud83d\ude00", "\ud801\udc37\ud801\udc37| \ud83d\ude00")]
    public void Splits_by_hand(string text, string words) => Assert.Equal(words.Split('|'), Split(Encoding.UTF8.GetBytes(text)).Select(word => Encoding.UTF8.GetString(word)));

    [Fact]
    public void A_stable_prefix_splits_the_same_whatever_follows()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        int found = 0;
        for (int round = 0; round < 20_000; round++)
        {
            byte[] text = Encoding.UTF8.GetBytes(TextSamples.Draw(random, random.Next(2, 12)));
            int seen = random.Next(1, text.Length + 1), stable = WordSplitter.StablePrefix(text.AsSpan(0, seen));
            Assert.InRange(stable, 0, seen - 1);
            if (stable > 0) found++;
            byte[][] whole = [.. Split(text)], parts = [.. Split(text[..stable]), .. Split(text[stable..])];
            Assert.True(whole.Length == parts.Length && whole.Zip(parts).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)), $"seed {seed}, round {round}: cut at {stable}");
        }
        Assert.True(found > 5000, $"only {found} prefixes");
    }

    [Fact]
    public void Any_bytes_are_split_without_loss()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 5000; round++)
        {
            byte[] bytes = TextSamples.DrawBytes(random, random.Next(1, 60));
            Assert.True(bytes.AsSpan().SequenceEqual(Split(bytes).SelectMany(word => word).ToArray()), $"seed {seed}, round {round}");
        }
    }

    private static List<byte[]> Split(byte[] text)
    {
        var words = new List<byte[]>();
        for (int at = 0; at < text.Length;)
        {
            int length = Gpt2Splitter.Plain.Next(text.AsSpan(at));
            words.Add(text[at..(at + length)]);
            at += length;
        }
        return words;
    }
}
