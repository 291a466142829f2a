namespace Varlen.Data;

/// <summary>What a backend derived from the layout in a slot, and keeps on its device in places that never change.</summary>
internal interface ILayoutMirror : IDisposable
{
    /// <summary>Derives it again, from the layout that is in the slot now.</summary>
    void Refill(SequenceLayout layout);
}

/// <summary>
/// A place for one layout after the other. What kernels read of the layout lies at addresses that stay, with room for any batch within the limits, so
/// that a graph recorded with one batch runs with the next.
/// </summary>
/// <param name="limits">Of the batches.</param>
/// <param name="longest">Most tokens of a sequence.</param>
/// <param name="covered">Where the device reads how many tokens the layout has, Int32, one element; not owned.</param>
internal sealed class LayoutSlot(BatchLimits limits, int longest, Tensor covered) : IDisposable
{
    private readonly Dictionary<object, ILayoutMirror> _mirrors = [];

    public BatchLimits Limits { get; } = limits;

    public int Longest { get; } = longest;

    /// <summary>Tokens of the present layout, on the device. Whoever sets the layout sends the number.</summary>
    public Tensor Covered { get; } = covered;

    /// <summary>Puts a layout, which keeps within the limits, in the place of the last one.</summary>
    /// <returns>The same layout, which knows that it is here.</returns>
    public SequenceLayout Set(SequenceLayout layout)
    {
        SequenceLayout placed = layout.In(this);
        foreach (ILayoutMirror mirror in _mirrors.Values) mirror.Refill(placed);
        return placed;
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
