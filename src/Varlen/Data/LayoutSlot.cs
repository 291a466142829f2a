namespace Varlen.Data;

/// <summary>What a backend derived from the layout in a slot, and keeps on its device in places that never change.</summary>
internal interface ILayoutMirror : IDisposable
{
    /// <summary>Derives it again, from the layouts of queries and keys that are in the slot now.</summary>
    void Refill(SequenceLayout queries, SequenceLayout keys);
}

/// <summary>
/// A place for one pair of layouts, of queries and keys, after the other. What kernels read of them lies at addresses that stay, with room for any batch
/// within the limits, so that a graph recorded with one batch runs with the next.
/// </summary>
/// <param name="limits">Of the layouts, each by itself.</param>
/// <param name="longest">Most tokens of a sequence.</param>
/// <param name="isSelf">Whether queries and keys always have one layout.</param>
/// <param name="covered">Where the device reads how many tokens a layout has, Int32, one element; not owned.</param>
internal sealed class LayoutSlot(BatchLimits limits, int longest, bool isSelf, Tensor covered) : IDisposable
{
    private readonly Dictionary<object, ILayoutMirror> _mirrors = [];
    private (SequenceLayout Queries, SequenceLayout Keys)? _given, _placed;

    public BatchLimits Limits { get; } = limits;

    public int Longest { get; } = longest;

    public bool IsSelf { get; } = isSelf;

    /// <summary>Tokens of the present layouts, on the device. Whoever sets the layout sends the number.</summary>
    public Tensor Covered { get; } = covered;

    /// <summary>Puts layouts, which keep within the limits, in the place of the last ones.</summary>
    /// <returns>The same layouts, which know that they are here.</returns>
    public (SequenceLayout Queries, SequenceLayout Keys) Set(SequenceLayout queries, SequenceLayout keys)
    {
        // The same objects as last time, which never change: as when one batch is stepped again and again.
        if (_given is { } last && ReferenceEquals(last.Queries, queries) && ReferenceEquals(last.Keys, keys)) return _placed!.Value;
        SequenceLayout placed = queries.In(this), others = ReferenceEquals(queries, keys) ? placed : keys.In(this);
        foreach (ILayoutMirror mirror in _mirrors.Values) mirror.Refill(placed, others);
        (_given, _placed) = ((queries, keys), (placed, others));
        return (placed, others);
    }

    /// <summary>As <see cref="SequenceLayout.Attached"/>, for what is refilled with each layout.</summary>
    public T Attached<T>(object key, Func<T> make) where T : class, ILayoutMirror
    {
        if (_mirrors.TryGetValue(key, out ILayoutMirror? found)) return (T)found;
        T made = make();
        _mirrors.Add(key, made);
        return made;
    }

    public void Dispose()
    {
        foreach (ILayoutMirror mirror in _mirrors.Values) mirror.Dispose();
        _mirrors.Clear();
    }
}
