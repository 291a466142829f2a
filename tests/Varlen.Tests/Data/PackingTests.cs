using Varlen.Data;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class PackingTests
{
    [Fact]
    public void EveryTokenButTheFirstIsATargetOnceAndTargetsStayInTheirDocument()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 100; round++)
        {
            int context = random.Next(1, 9);
            int[] document = [.. Enumerable.Range(0, random.Next(1, 40))];
            TokenSequence[] chunks = [.. TokenSequence.Cut(document, context)];
            Assert.True(chunks.All(chunk => chunk.Tokens.Length <= context && chunk.Tokens.Length == chunk.Targets.Length), $"seed {seed}");
            Assert.Equal(document[..^1], chunks.SelectMany(chunk => chunk.Tokens.ToArray()));
            Assert.Equal(document[1..], chunks.SelectMany(chunk => chunk.Targets.ToArray()));
        }
    }

    [Fact]
    public void PacksInOrderWithinTheBudgetAndDropsNothing()
    {
        TokenSequence[] sequences = [.. new[] { 3, 4, 2, 6, 1 }.Select(n => new TokenSequence(new int[n], new int[n]))];
        Assert.Equal([[3, 4], [2], [6, 1]], SequencePacker.Pack(sequences, 7).Select(batch => batch.Select(s => s.Tokens.Length)));
        Assert.Contains("sequence 3 has 6 tokens, more than the budget of 5", Assert.Throws<ArgumentException>(() => SequencePacker.Pack(sequences, 5).ToList()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ABatchCountsItsTargetsAndRestartsPositions()
    {
        using PackedBatch batch = PackedBatch.Create([new TokenSequence((int[])[5, 6], (int[])[6, 7]), new TokenSequence((int[])[8, 9, 1], (int[])[9, PackedBatch.IgnoreIndex, 2])]);
        Assert.Equal([5, 6, 8, 9, 1], batch.Tokens.ToArray<int>());
        Assert.Equal([0, 1, 0, 1, 2], batch.Positions.ToArray<int>());
        Assert.Equal(4, batch.TargetCount);
        Assert.Throws<ArgumentException>(() => PackedBatch.Create([new TokenSequence(new int[2], new int[1])]));
    }

    [Fact]
    public void BytesSurviveTheRoundTrip()
    {
        const string text = "Grüße, \u4e16\u754c \ud83d\ude00\n";
        Assert.Equal(text, new ByteTokenizer().Decode(new ByteTokenizer().Encode(text).Append(new ByteTokenizer().EndOfText)));
    }

    [Fact]
    public void ReadsFoldersInOrderAndSkipsWhatIsNoText()
    {
        string folder = Directory.CreateTempSubdirectory("varlen").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "b.md"), "two");
            File.WriteAllText(Path.Combine(folder, "a.txt"), "one");
            File.WriteAllText(Path.Combine(folder, "empty.txt"), "");
            File.WriteAllText(Path.Combine(folder, "c.bin"), "no");
            Assert.Equal(["one", "two"], TextDocuments.Read([folder]).Select(document => new ByteTokenizer().Decode(document.ToArray())));
            Assert.All(TextDocuments.Read([folder]), document => Assert.Equal(new ByteTokenizer().EndOfText, document.Span[^1]));
            Assert.Throws<FileNotFoundException>(() => TextDocuments.Read([Path.Combine(folder, "missing")]));
            Assert.Throws<InvalidDataException>(() => TextDocuments.Read([Path.Combine(folder, "empty.txt")]));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
