using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class TokenStoreTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(300)]
    [InlineData(65_536)]
    [InlineData(65_537)]
    public void Documents_come_back(int vocabulary)
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        int[][] documents = [.. Enumerable.Range(0, 50).Select(_ => Enumerable.Range(0, random.Next(3) == 0 ? 0 : random.Next(40_000)).Select(_ => random.Next(vocabulary)).ToArray())];
        documents[0] = [vocabulary - 1, 0];
        using (var writer = new TokenStoreWriter(_folder["s"], vocabulary, Stores.Fingerprint))
        {
            foreach (int[] document in documents)
            {
                // What is abandoned leaves no trace, whatever its length.
                writer.Append(new int[random.Next(50_000)]);
                writer.AbandonDocument();
                foreach (int[] part in document.Chunk(random.Next(1, 30_000))) writer.Append(part);
                writer.EndDocument();
            }
            writer.Append(new int[100_000]);
            writer.AbandonDocument();
            Assert.False(File.Exists(_folder["s"]));
            writer.Complete();
        }
        using var store = TokenStore.Open(_folder["s"]);
        store.Verify();
        Assert.Equal((documents.Length, documents.Sum(d => d.Length), vocabulary, Stores.Fingerprint), (store.DocumentCount, store.Tokens, store.VocabularySize, store.TokenizerFingerprint));
        for (int d = 0; d < documents.Length; d++)
        {
            Assert.Equal(documents[d].Length, store.Length(d));
            Assert.True(documents[d].SequenceEqual(store.Read(d)), $"seed {seed}, document {d}");
            int start = random.Next(documents[d].Length + 1), length = random.Next(documents[d].Length - start + 1);
            var part = new int[length];
            store.CopyTokens(d, start, part);
            Assert.True(documents[d].AsSpan(start, length).SequenceEqual(part), $"seed {seed}, document {d}");
        }
        Assert.Single(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Equal_data_has_equal_hashes()
    {
        using TokenStore a = Stores.Create(_folder, [3, 4]), b = Stores.Create(_folder, [3, 4]), c = Stores.Create(_folder, [4, 3]);
        Assert.Equal(a.ContentHash, b.ContentHash);
        Assert.NotEqual(a.ContentHash, c.ContentHash);
    }

    [Fact]
    public void Misuse_is_refused_and_leaves_nothing_behind()
    {
        using (var writer = new TokenStoreWriter(_folder["s"], 10, Stores.Fingerprint))
        {
            Assert.Contains("ids[1] = 10", Assert.Throws<ArgumentException>(() => writer.Append([9, 10])).Message, StringComparison.Ordinal);
            Assert.Throws<ArgumentException>(() => writer.Append([-1]));
            writer.Append([1]);
            Assert.Throws<InvalidOperationException>(writer.Complete);
        }
        Assert.Empty(Directory.GetFiles(_folder.Path));
        Assert.Throws<ArgumentException>(() => new TokenStoreWriter(_folder["s"], 10, "short"));
        using TokenStore store = Stores.Create(_folder, [5]);
        Assert.Throws<ArgumentOutOfRangeException>(() => store.Length(1));
        Assert.Throws<ArgumentOutOfRangeException>(() => store.CopyTokens(0, 3, new int[3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => store.CopyTokens(0, -1, new int[1]));
        store.Dispose();
        Assert.Throws<ObjectDisposedException>(() => store.CopyTokens(0, 0, new int[1]));
        Assert.Throws<FileNotFoundException>(() => TokenStore.Open(_folder["none"]));
    }

    [Fact]
    public void Every_damaged_byte_is_noticed()
    {
        string path;
        using (TokenStore store = Stores.Create(_folder, [5, 0, 8, 2])) path = store.Path;
        byte[] whole = File.ReadAllBytes(path);
        for (int at = 0; at < whole.Length; at++)
            for (int bit = 0; bit < 8; bit += 3)
            {
                byte[] damaged = [.. whole];
                damaged[at] ^= (byte)(1 << bit);
                File.WriteAllBytes(path, damaged);
                Assert.Throws<TextFormatException>(() => { using TokenStore store = TokenStore.Open(path); store.Verify(); });
                // Everything but the ids is checked before the store is used.
                if (at < 128 || at >= whole.Length - 5 * sizeof(long)) Assert.Throws<TextFormatException>(() => TokenStore.Open(path).Dispose());
            }
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Throws<TextFormatException>(() => TokenStore.Open(path).Dispose());
        }
        File.WriteAllBytes(path, [.. whole, 0]);
        Assert.Throws<TextFormatException>(() => TokenStore.Open(path).Dispose());
    }

    [Fact]
    public void An_id_outside_of_the_vocabulary_never_comes_out()
    {
        string path;
        using (TokenStore store = Stores.Create(_folder, [5, 3], vocabulary: 10_000)) path = store.Path;
        byte[] bytes = File.ReadAllBytes(path);
        (bytes[128 + 6 * 2], bytes[128 + 6 * 2 + 1]) = (0x10, 0x27);
        File.WriteAllBytes(path, bytes);
        using TokenStore damaged = TokenStore.Open(path);
        damaged.CopyTokens(1, 0, new int[1]);
        Assert.Contains("token 1 of document 1 is 10000", Assert.Throws<TextFormatException>(() => damaged.CopyTokens(1, 0, new int[2])).Message, StringComparison.Ordinal);
    }
}
