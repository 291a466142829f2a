using Varlen.Data;

namespace Varlen.Tests.Data;

/// <summary>Token stores with documents of chosen lengths.</summary>
internal static class Stores
{
    public static readonly string Fingerprint = new('0', 64);

    /// <summary>Token i of document d is (d * 1000 + i) modulo the vocabulary.</summary>
    public static TokenStore Create(TemporaryFolder folder, IEnumerable<int> lengths, int vocabulary = 60_000)
    {
        string path = folder[$"{Path.GetRandomFileName()}.tokens"];
        using (var writer = new TokenStoreWriter(path, vocabulary, Fingerprint))
        {
            foreach (int length in lengths)
            {
                writer.Append([.. Enumerable.Range(0, length).Select(i => (writer.DocumentCount * 1000 + i) % vocabulary)]);
                writer.EndDocument();
            }
            writer.Complete();
        }
        return TokenStore.Open(path);
    }

    public static int[] DrawLengths(Random random, int documents, int longest) => [.. Enumerable.Range(0, documents).Select(_ => 2 + (int)(Math.Pow(random.NextDouble(), 3) * (longest - 1)))];
}
