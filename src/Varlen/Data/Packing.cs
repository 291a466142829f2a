namespace Varlen.Data;

/// <summary>The packing policies, on sequences in shuffled order that fit into a batch.</summary>
/// <remarks>Source: D. S. Johnson, "Near-optimal bin packing algorithms" (1973): first fit, and best fit decreasing.</remarks>
internal static class Packing
{
    // Batches' worth of sequences that best fit chooses among, and how many batches stay open for what follows.
    private const int Window = 32, Open = 8;

    /// <summary>
    /// Window by window. Sequences above an eighth of the budget come first, the longest before; the others keep their shuffled order, as
    /// they fill any gap and sorting them would make batches of equal lengths. The emptiest batches stay open for the next window.
    /// </summary>
    public static PackedEpoch BestFit(SequenceChunk[] order, int budget, Randomness random)
    {
        var result = new Batches(order.Length);
        var open = new List<Bin>();
        for (int start = 0, end; start < order.Length; start = end)
        {
            long tokens = 0;
            for (end = start; end < order.Length && tokens < (long)Window * budget; end++) tokens += order[end].Length;
            ReadOnlySpan<SequenceChunk> window = order.AsSpan(start..end);
            var large = new List<SequenceChunk>();
            foreach (SequenceChunk chunk in window)
                if (chunk.Length > budget / 8) large.Add(chunk);
            foreach (SequenceChunk chunk in large.OrderByDescending(chunk => chunk.Length)) PlaceBest(open, chunk, budget);
            foreach (SequenceChunk chunk in window)
                if (chunk.Length <= budget / 8) PlaceBest(open, chunk, budget);

            int kept = end == order.Length ? 0 : Open;
            Bin[] byRoom = [.. open.OrderByDescending(bin => bin.Room)];
            open = [.. byRoom.Take(kept)];
            Bin[] closed = [.. byRoom.Skip(kept)];
            random.Shuffle(closed.AsSpan());
            foreach (Bin bin in closed) result.Add(bin.Chunks);
        }
        return result.ToEpoch();
    }

    /// <summary>At most <see cref="Window"/> batches are open; the oldest closes for a new one.</summary>
    public static PackedEpoch FirstFit(SequenceChunk[] order, int budget)
    {
        var result = new Batches(order.Length);
        var open = new List<Bin>();
        foreach (SequenceChunk chunk in order)
        {
            Bin? bin = open.Find(bin => bin.Room >= chunk.Length);
            if (bin is null)
            {
                if (open.Count == Window)
                {
                    result.Add(open[0].Chunks);
                    open.RemoveAt(0);
                }
                open.Add(bin = new(budget));
            }
            bin.Add(chunk);
        }
        foreach (Bin bin in open) result.Add(bin.Chunks);
        return result.ToEpoch();
    }

    public static PackedEpoch Concat(SequenceChunk[] order, int budget)
    {
        var result = new Batches(order.Length);
        var bin = new Bin(budget);
        foreach (SequenceChunk chunk in order)
            for (SequenceChunk rest = chunk; rest.Length > 0;)
            {
                int length = Math.Min(rest.Length, bin.Room);
                bin.Add(rest with { Length = length });
                rest = rest with { Start = rest.Start + length, Length = rest.Length - length };
                if (bin.Room > 0) continue;
                result.Add(bin.Chunks);
                bin = new(budget);
            }
        if (bin.Chunks.Count > 0) result.Add(bin.Chunks);
        return result.ToEpoch();
    }

    private static void PlaceBest(List<Bin> open, SequenceChunk chunk, int budget)
    {
        Bin? best = null;
        foreach (Bin bin in open)
            if (bin.Room >= chunk.Length && (best is null || bin.Room < best.Room)) best = bin;
        if (best is null) open.Add(best = new(budget));
        best.Add(chunk);
    }

    private sealed class Bin(int room)
    {
        public List<SequenceChunk> Chunks { get; } = [];
        public int Room { get; private set; } = room;

        public void Add(SequenceChunk chunk)
        {
            Chunks.Add(chunk);
            Room -= chunk.Length;
        }
    }

    private sealed class Batches(int sequences)
    {
        private readonly List<SequenceChunk> _chunks = new(sequences);
        private readonly List<int> _starts = [0];

        public void Add(List<SequenceChunk> batch)
        {
            _chunks.AddRange(batch);
            _starts.Add(_chunks.Count);
        }

        public PackedEpoch ToEpoch() => new([.. _chunks], [.. _starts]);
    }
}
