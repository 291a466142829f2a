using System.Runtime.InteropServices;

namespace Varlen.Text;

/// <summary>The merges that counted words give. Counts of pairs are kept up to date word by word, so that a merge costs what it changes.</summary>
internal sealed class BytePairLearning
{
    private readonly Word[] _words;
    private readonly Dictionary<ulong, Pair> _pairs = [];
    private readonly PriorityQueue<ulong, (long Count, ulong Pair)> _queue = new(new MostFrequentFirst());
    // Only pairs that occur this often are queued: rare ones, of which there are many, wait until it is their turn.
    private long _frequent = long.MaxValue;

    public BytePairLearning(Dictionary<byte[], long> words)
    {
        _words = [.. words.Where(word => word.Key.Length > 1).Select(word => new Word([.. word.Key.Select(value => (int)value)], word.Key.Length, word.Value))];
        for (int index = 0; index < _words.Length; index++)
            for (int at = 0; at + 1 < _words[index].Length; at++) Count(_words[index].Symbols[at], _words[index].Symbols[at + 1], _words[index].Count, index);
    }

    /// <summary>Learns until there are so many tokens, or no pair occurs twice.</summary>
    public BytePairModel Learn(int vocabularySize)
    {
        var tokens = new List<byte[]>(BytePairModel.Bytes.Tokens);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        var merges = new Dictionary<ulong, BytePairMerge>();
        var order = new List<BytePairMerge>();
        var grown = new HashSet<ulong>();
        while (tokens.Count < vocabularySize && TryDequeue(out ulong key, out (long Count, ulong Pair) priority))
        {
            if (!_pairs.TryGetValue(key, out Pair? pair)) continue;
            if (pair.Count != priority.Count)
            {
                // Counts that fell since are put back in their place; those that grew were queued when they did.
                if (pair.Count < priority.Count) Enqueue(key, pair);
                continue;
            }
            // Two pairs can spell one token, and a pair can come again when another way leads to its parts.
            if (!merges.TryGetValue(key, out BytePairMerge merge))
            {
                merge = new((int)(key >> 32), (int)(uint)key, Intern((int)(key >> 32), (int)(uint)key));
                merges.Add(key, merge);
                order.Add(merge);
            }
            foreach (int word in pair.Words) Apply(merge, word, grown);
            _pairs.Remove(key);
            foreach (ulong changed in grown)
                if (_pairs.TryGetValue(changed, out Pair? now)) Enqueue(changed, now);
            grown.Clear();
        }
        return BytePairModel.Bytes with { Tokens = [.. tokens], Merges = [.. order] };

        int Intern(int left, int right)
        {
            byte[] bytes = [.. tokens[left], .. tokens[right]];
            string name = ByteAlphabet.Spell(bytes);
            if (ids.TryGetValue(name, out int known)) return known;
            ids.Add(name, tokens.Count);
            tokens.Add(bytes);
            return tokens.Count - 1;
        }
    }

    private bool TryDequeue(out ulong key, out (long Count, ulong Pair) priority)
    {
        while (!_queue.TryDequeue(out key, out priority))
        {
            if (_frequent == 2 || _pairs.Count == 0) return false;
            _frequent = Math.Max(2, Math.Min(_frequent, _pairs.Values.Max(pair => pair.Count)) / 4);
            foreach ((ulong rare, Pair pair) in _pairs) Enqueue(rare, pair);
        }
        return true;
    }

    private void Enqueue(ulong key, Pair pair)
    {
        if (pair.Count >= _frequent) _queue.Enqueue(key, (pair.Count, key));
    }

    private void Apply(BytePairMerge merge, int index, HashSet<ulong> grown)
    {
        ref Word word = ref _words[index];
        int[] symbols = word.Symbols;
        int kept = 0;
        for (int at = 0; at < word.Length; at++)
        {
            if (at + 1 >= word.Length || symbols[at] != merge.Left || symbols[at + 1] != merge.Right)
            {
                symbols[kept++] = symbols[at];
                continue;
            }
            Count(merge.Left, merge.Right, -word.Count, -1);
            if (kept > 0) Replace(symbols[kept - 1], merge.Left, symbols[kept - 1], merge.Result, word.Count);
            if (at + 2 < word.Length) Replace(merge.Right, symbols[at + 2], merge.Result, symbols[at + 2], word.Count);
            symbols[kept++] = merge.Result;
            at++;
        }
        word.Length = kept;

        void Replace(int left, int right, int newLeft, int newRight, long count)
        {
            Count(left, right, -count, -1);
            Count(newLeft, newRight, count, index);
            grown.Add(BytePairMerges.Key(newLeft, newRight));
        }
    }

    private void Count(int left, int right, long change, int word)
    {
        ref Pair? pair = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairs, BytePairMerges.Key(left, right), out _);
        pair ??= new();
        pair.Count += change;
        if (pair.Count == 0) _pairs.Remove(BytePairMerges.Key(left, right));
        if (word >= 0 && (pair.Words.Count == 0 || pair.Words[^1] != word)) pair.Words.Add(word);
    }

    private record struct Word(int[] Symbols, int Length, long Count);

    private sealed class MostFrequentFirst : IComparer<(long Count, ulong Pair)>
    {
        public int Compare((long Count, ulong Pair) x, (long Count, ulong Pair) y) => x.Count != y.Count ? y.Count.CompareTo(x.Count) : x.Pair.CompareTo(y.Pair);
    }

    private sealed class Pair
    {
        public long Count;
        public readonly List<int> Words = [];
    }
}
