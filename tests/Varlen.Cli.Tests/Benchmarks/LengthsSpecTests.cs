using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

public sealed class LengthsSpecTests
{
    [Fact]
    public void Fixed_repeats_a_length()
    {
        LengthsSpec spec = LengthsSpec.Parse("fixed:8192x4", 0);
        Assert.Equal("fixed:8192x4", spec.Name);
        Assert.Equal([8192, 8192, 8192, 8192], spec.Lengths);
        Assert.Equal(32768, spec.Tokens);
    }

    [Fact]
    public void Uniform_covers_its_range_with_both_ends_and_no_favourites()
    {
        LengthsSpec spec = LengthsSpec.Parse("uniform:3..7x5000", 11);
        Assert.Equal(5000, spec.Lengths.Count);
        Assert.Equal([3, 4, 5, 6, 7], spec.Lengths.Distinct().Order());
        // 1000 of each are expected with a standard deviation of 28: seven of them.
        Assert.All(spec.Lengths.CountBy(length => length), group => Assert.InRange(group.Value, 800, 1200));
    }

    [Fact]
    public void Uniform_depends_on_the_seed_alone()
    {
        Assert.Equal(LengthsSpec.Parse("uniform:1..1023x32", 1).Lengths, LengthsSpec.Parse("uniform:1..1023x32", 1).Lengths);
        Assert.NotEqual(LengthsSpec.Parse("uniform:1..1023x32", 1).Lengths, LengthsSpec.Parse("uniform:1..1023x32", 2).Lengths);
        Assert.NotEqual(LengthsSpec.Parse("uniform:1..1023x32", 0).Lengths, LengthsSpec.Parse("uniform:1..1023x32", 1).Lengths);
        // A longer batch starts with the shorter one, and so do all platforms' batches.
        Assert.Equal(LengthsSpec.Parse("uniform:1..1023x8", 5).Lengths, LengthsSpec.Parse("uniform:1..1023x32", 5).Lengths.Take(8));
    }

    [Fact]
    public void Lognormal_has_its_median_and_its_bounds()
    {
        LengthsSpec spec = LengthsSpec.Parse("lognormal:100,0.5..300x4000", 3);
        Assert.All(spec.Lengths, length => Assert.InRange(length, 1, 300));
        // Half of them are below the median, with a standard deviation of 32; e^0.5 above it lie 16 %, of 23.
        Assert.InRange(spec.Lengths.Count(length => length <= 100), 1800, 2200);
        Assert.InRange(spec.Lengths.Count(length => length > 165), 475, 800);
        Assert.Equal(spec.Lengths.Take(9), LengthsSpec.Parse("lognormal:100,0.5..300x9", 3).Lengths);
        Assert.NotEqual(spec.Lengths, LengthsSpec.Parse("lognormal:100,0.5..300x4000", 4).Lengths);
        Assert.Equal([7, 7], LengthsSpec.Parse("lognormal:7,0..9x2", 1).Lengths);
    }

    [Fact]
    public void Texts_give_batches_of_the_lengths_of_their_documents()
    {
        using var folder = new TemporaryFolder();
        int[] lengths = [.. Enumerable.Range(1, 70)];
        foreach (int length in lengths) folder.Write($"{length}.txt", new string('a', length));
        LengthsSpec spec = LengthsSpec.Parse($"texts:{folder.Path}", 0);
        Assert.Equal([32, 32], spec.Batches.Select(batch => batch.Count));
        // One input a byte: the end of a text is predicted and predicts nothing. Two full batches leave six documents out.
        Assert.Equal(64, spec.Lengths.Intersect(lengths).Count());
        Assert.NotEqual(spec.Lengths.Order(), spec.Lengths);
        Assert.NotEqual(spec.Lengths, LengthsSpec.Parse($"texts:{folder.Path}", 1).Lengths);
        Assert.Equal([1024, 476], LengthsSpec.Parse($"texts:{folder.Write("long.txt", new string('b', 1500))}", 0).Lengths.OrderDescending());
    }

    [Fact]
    public void Uniform_takes_a_single_value_and_the_widest_range()
    {
        Assert.Equal([9, 9], LengthsSpec.Parse("uniform:9..9x2", 0).Lengths);
        Assert.Single(LengthsSpec.Parse($"uniform:0..{int.MaxValue}x1", 0).Lengths);
    }

    [Fact]
    public void File_holds_one_length_a_line()
    {
        using var folder = new TemporaryFolder();
        LengthsSpec spec = LengthsSpec.Parse(folder.Write("short.txt", "5\n0\r\n  17 \n\n"), 0);
        Assert.Equal("short", spec.Name);
        Assert.Equal([5, 0, 17], spec.Lengths);
    }

    [Theory]
    [InlineData("uniform:7..3x5", "uniform:3..7x5")]
    [InlineData("uniform:1..3", "uniform:1..1023x32")]
    [InlineData("unifrom:1..3x5", "uniform:1..1023x32")]
    [InlineData("fixed:-4x5", "fixed:8192x4")]
    [InlineData("fixed:4x0", "ask for 1 to")]
    [InlineData("fixed:4x99999999", "ask for 1 to")]
    [InlineData("fixed:99999999999x1", "use numbers up to 2147483647")]
    [InlineData("fixed:2147483647x2", "fewer or shorter")]
    public void Malformed_text_is_a_usage_error_with_a_fix(string text, string fix)
    {
        var error = Assert.Throws<CommandException>(() => LengthsSpec.Parse(text, 0));
        Assert.Equal(ExitCode.Usage, error.Code);
        Assert.Contains(text, error.Message, StringComparison.Ordinal);
        Assert.Contains(fix, error.Fix, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("5\nx\n7\n", ":2", "'x'")]
    [InlineData("-3\n", ":1", "'-3'")]
    [InlineData("1\n\n\n2.5", ":4", "'2.5'")]
    [InlineData("99999999999", ":1", "'99999999999'")]
    [InlineData("\n\n", "lengths.txt", "there are no lengths")]
    public void Bad_file_names_the_line(string text, string where, string what)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("lengths.txt", text);
        var error = Assert.Throws<CommandException>(() => LengthsSpec.Parse(path, 0));
        Assert.Equal(ExitCode.BadData, error.Code);
        Assert.EndsWith(where, error.Where, StringComparison.Ordinal);
        Assert.Contains(what, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_file_is_unreadable_and_a_folder_too()
    {
        using var folder = new TemporaryFolder();
        foreach (string path in (string[])[folder.File("none.txt"), folder.Path])
        {
            var error = Assert.Throws<CommandException>(() => LengthsSpec.Parse(path, 0));
            Assert.Equal(ExitCode.InputUnreadable, error.Code);
            Assert.Equal(path, error.Where);
        }
    }
}
