using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Terminal;

public sealed class SpellingTests
{
    [Theory]
    [InlineData("", "abc", 3)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("ab", "ba", 1)]
    [InlineData("same", "same", 0)]
    public void Distance_counts_edits_and_swaps(string a, string b, int expected)
    {
        Assert.Equal(expected, Spelling.Distance(a, b));
        Assert.Equal(expected, Spelling.Distance(b, a));
    }

    [Theory]
    [InlineData("--windwo", "--window")]
    [InlineData("--win", "--window")]
    [InlineData("--thread", "--threads")]
    [InlineData("--lengths", null)]
    public void Nearest_is_the_word_meant_or_none(string word, string? expected)
        => Assert.Equal(expected, Spelling.Nearest(word, ["--window", "--threads", "--scale"]));
}
