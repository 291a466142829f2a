namespace Varlen.Generation;

/// <summary>Which pages each sequence of a cache has. A page that is given back is the next to be taken.</summary>
/// <param name="sequences">How many sequences there are.</param>
/// <param name="mostPages">Most pages of one sequence.</param>
internal sealed class PageAllocator(int sequences, int mostPages)
{
    private readonly int[][] _pages = [.. Enumerable.Range(0, sequences).Select(_ => new int[mostPages])];
    private readonly int[] _used = new int[sequences];
    private readonly Stack<int> _free = [];

    /// <summary>Pages that exist, in use or not.</summary>
    public int Count { get; private set; }

    /// <summary>Pages in use.</summary>
    public int InUse => Count - _free.Count;

    /// <summary>The pages of a sequence, in order.</summary>
    public ReadOnlySpan<int> this[int sequence] => _pages[sequence].AsSpan(0, _used[sequence]);

    /// <summary>Takes or gives back pages until the sequence has so many. More come into being when none is free: half as many again.</summary>
    public void Resize(int sequence, int count)
    {
        ref int used = ref _used[sequence];
        while (used > count) _free.Push(_pages[sequence][--used]);
        while (used < count)
        {
            if (_free.Count == 0) Grow();
            _pages[sequence][used++] = _free.Pop();
        }
    }

    /// <summary>Brings pages into being until there are so many, as far as sequences can have them.</summary>
    public void Reserve(int count)
    {
        int larger = (int)Math.Min((long)_pages.Length * mostPages, count);
        if (larger > Count) GrowTo(larger);
    }

    private void Grow() => GrowTo((int)Math.Min((long)_pages.Length * mostPages, Math.Max(Count + (Count / 2), Count + 1)));

    private void GrowTo(int larger)
    {
        for (int page = larger - 1; page >= Count; page--) _free.Push(page);
        Count = larger;
    }
}
