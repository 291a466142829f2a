using System.Text;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Text;

public sealed class BytePairTests
{
    [Fact]
    public void Learns_the_pairs_by_count_then_by_id()
    {
        // Counted by hand: "e"+"s" and "es"+"t" 9 times, "l"+"o" and "lo"+"w" 7; of the next, 6 times each, the lower left id first.
        BytePairTokenizer small = Train("low low low low low lower lower newest newest newest newest newest newest widest widest widest", 267);
        Assert.Equal(["es", "est", "lo", "low", " n", " low", "ew", " new", " newest", " w"], Enumerable.Range(257, 10).Select(id => Encoding.UTF8.GetString(small.Bytes(id))));
        Assert.Equal((267, 10, 256), (small.VocabularySize, small.MergeCount, small.EndOfText));
    }

    [Fact]
    public void Learns_as_a_plain_count_of_all_pairs_does()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 200)).Select(_ => (char)random.Next('a', 'a' + random.Next(1, 4)) + (random.Next(4) == 0 ? " " : "")));
            BytePairTokenizer trained = Train(text, 257 + 30);
            string[] learned = [.. Enumerable.Range(257, trained.VocabularySize - 257).Select(id => Encoding.UTF8.GetString(trained.Bytes(id)))];
            Assert.True(Reference.Learn(text, 30).SequenceEqual(learned), $"seed {seed}, round {round}: '{text}'");
        }
    }

    [Fact]
    public void Encodes_as_the_plain_algorithm_does()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        BytePairTokenizer tokenizer = Train(TextSamples.Draw(random, 4000), 700);
        Reference reference = new(tokenizer);
        for (int round = 0; round < 3000; round++)
        {
            // Long words take another way through the merge loop.
            string text = random.Next(3) == 0 ? string.Concat(Enumerable.Range(0, random.Next(30, 200)).Select(_ => "abet"[random.Next(4)])) : TextSamples.Draw(random, random.Next(1, 20));
            Assert.True(reference.Encode(text).SequenceEqual(tokenizer.Encode(text)), $"seed {seed}, round {round}: '{text}'");
        }
    }

    [Fact]
    public void Any_bytes_survive_the_round_trip()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        BytePairTokenizer tokenizer = Train(TextSamples.Draw(random, 2000), 500);
        for (int round = 0; round < 5000; round++)
        {
            byte[] bytes = TextSamples.DrawBytes(random, random.Next(0, 100));
            var ids = new List<int>();
            tokenizer.Encode(bytes, ids);
            Assert.True(bytes.AsSpan().SequenceEqual(ids.SelectMany(id => tokenizer.Bytes(id).ToArray()).ToArray()), $"seed {seed}, round {round}");
        }
    }

    [Theory]
    [InlineData("a", 200000)]
    [InlineData("ab", 200000)]
    [InlineData("\U0001f600", 200000)]
    [InlineData("e\u0301", 666666)]
    [InlineData(" ", 200000)]
    public void A_word_of_a_megabyte_is_encoded_in_few_steps(string piece, int most)
    {
        string text = string.Concat(Enumerable.Repeat(piece, 1_000_000 / Encoding.UTF8.GetByteCount(piece)));
        BytePairTokenizer tokenizer = Train(string.Concat(Enumerable.Repeat(piece, 2000)), 300);
        int[] ids = tokenizer.Encode(text);
        Assert.Equal(text, tokenizer.Decode(ids));
        Assert.True(ids.Length <= most, $"{ids.Length} ids");
    }

    [Fact]
    public void The_order_of_documents_changes_nothing_and_a_special_token_stays_text()
    {
        string[] documents = ["one two two", "three three three", "two one"];
        BytePairTokenizer first = BytePairTrainer.Train(documents.Select(Bytes), 270), second = BytePairTrainer.Train(documents.Reverse().Select(Bytes), 270);
        Assert.Equal(first.Fingerprint, second.Fingerprint);
        Assert.NotEqual(first.Fingerprint, BytePairTrainer.Train(documents.Select(Bytes), 260).Fingerprint);
        Assert.DoesNotContain(first.EndOfText, first.Encode("<|endoftext|>"));
        Assert.Throws<ArgumentOutOfRangeException>(() => BytePairTrainer.Train([], 256));
        Assert.Equal(257, BytePairTrainer.Train([], 1000).VocabularySize);
    }

    private static ReadOnlyMemory<byte> Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private static BytePairTokenizer Train(string text, int size) => BytePairTrainer.Train([Bytes(text)], size);

    /// <summary>Both algorithms in their plainest form: everything is counted anew for every merge.</summary>
    private sealed class Reference(BytePairTokenizer tokenizer)
    {
        private readonly List<(int Left, int Right, int Result)> _merges = [.. tokenizer.Merges.ToArray().Select(merge => (merge.Left, merge.Right, merge.Result))];

        public static string[] Learn(string text, int most)
        {
            List<int[]> words = [.. Words(text)];
            List<string> tokens = [.. Enumerable.Range(0, 257).Select(id => id < 256 ? ((char)id).ToString() : "")];
            while (tokens.Count < 257 + most)
            {
                var best = words.SelectMany(word => word.Zip(word.Skip(1))).GroupBy(pair => pair).Select(group => (Pair: group.Key, Count: Occurrences(words, group.Key)))
                    .OrderByDescending(pair => pair.Count).ThenBy(pair => pair.Pair.First).ThenBy(pair => pair.Pair.Second).FirstOrDefault();
                if (best.Count < 2) break;
                string made = tokens[best.Pair.First] + tokens[best.Pair.Second];
                int id = tokens.IndexOf(made);
                if (id < 0)
                {
                    id = tokens.Count;
                    tokens.Add(made);
                }
                words = [.. words.Select(word => Merge(word, best.Pair.First, best.Pair.Second, id))];
            }
            return [.. tokens.Skip(257)];
        }

        public List<int> Encode(string text) => [.. Words(text).SelectMany(Encode)];

        private int[] Encode(int[] word)
        {
            while (true)
            {
                var found = (Rank: int.MaxValue, At: 0);
                for (int at = 0; at + 1 < word.Length; at++)
                {
                    int rank = _merges.FindIndex(merge => merge.Left == word[at] && merge.Right == word[at + 1]);
                    if (rank >= 0 && rank < found.Rank) found = (rank, at);
                }
                if (found.Rank == int.MaxValue) return word;
                word = [.. word[..found.At], _merges[found.Rank].Result, .. word[(found.At + 2)..]];
            }
        }

        private static long Occurrences(List<int[]> words, (int First, int Second) pair) => words.Sum(word => word.Zip(word.Skip(1)).LongCount(other => other == pair));

        private static int[] Merge(int[] word, int left, int right, int result)
        {
            var merged = new List<int>();
            for (int at = 0; at < word.Length; at++)
            {
                bool matches = at + 1 < word.Length && word[at] == left && word[at + 1] == right;
                merged.Add(matches ? result : word[at]);
                if (matches) at++;
            }
            return [.. merged];
        }

        private static IEnumerable<int[]> Words(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            for (int at = 0; at < bytes.Length;)
            {
                int length = Gpt2Splitter.Plain.Next(bytes.AsSpan(at));
                yield return [.. bytes.AsSpan(at, length).ToArray().Select(value => (int)value)];
                at += length;
            }
        }
    }
}
