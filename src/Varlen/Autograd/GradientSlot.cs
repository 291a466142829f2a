using Varlen.Ops;

namespace Varlen.Autograd;

/// <summary>Where a kernel writes one input's gradient.</summary>
/// <param name="Tensor">The destination, a view with the input's shape; null when nobody wants this gradient.</param>
/// <param name="Accumulate">Add to what is there instead of overwriting it (which may be uninitialised memory).</param>
internal readonly record struct GradientTarget(Tensor? Tensor, bool Accumulate)
{
    public bool IsWanted => Tensor is not null;
}

/// <summary>
/// The one gradient buffer of one value, a leaf or an op's result, shared by all views of it. Kernels write into it directly: the
/// first write of a region overwrites, later ones add, and sibling slices that cover the buffer together leave it without a zero fill.
/// </summary>
internal sealed class GradientSlot
{
    private readonly Coverage _coverage;
    private int _references = 1;
    private Tensor? _buffer;

    private GradientSlot(Tensor value, DType gradientType, GradientNode? producer, int output)
    {
        Shape = value.Shape;
        Offset = value.Offset;
        Device = value.Device;
        DType = gradientType;
        Producer = producer;
        Output = output;
        _coverage = new Coverage(Shape.Count);
    }

    /// <summary>A value that no op made; its gradient stays until it is cleared.</summary>
    public static GradientSlot Leaf(Tensor value, DType gradientType) => new(value, gradientType, null, 0);

    /// <summary>An op's result; its gradient lives from the first write to the op's own backward.</summary>
    public static GradientSlot Result(Tensor value, GradientNode producer, int output) => new(value, value.DType, producer, output);

    public Shape Shape { get; }
    public DType DType { get; }
    public Device Device { get; }
    /// <summary>Where the value starts in its storage: views' offsets are relative to it.</summary>
    public long Offset { get; }
    public GradientNode? Producer { get; }
    public int Output { get; }
    public bool IsLeaf => Producer is null;

    /// <summary>The gradient as far as any was written; null when none was.</summary>
    public Tensor? Gathered => _coverage.IsEmpty ? null : _buffer;

    public GradientSlot Retain()
    {
        _references++;
        return this;
    }

    public void Release()
    {
        if (--_references > 0) return;
        DropBuffer();
        Producer?.OutputReleased();
    }

    public void Clear() => _coverage.Clear();

    public void DropBuffer()
    {
        Own(null);
        _coverage.Clear();
    }

    /// <summary>The complete gradient, unwritten parts filled with zeros; null when nothing was written.</summary>
    public Tensor? Complete()
    {
        if (_coverage.IsEmpty) return null;
        FillGaps();
        return _buffer;
    }

    /// <summary>A destination for the gradient of a view of this value; the caller disposes it.</summary>
    public GradientTarget Target(Shape shape, ReadOnlySpan<long> strides, long offset)
    {
        (long period, long start, long length) = Coverage.Describe(shape.Dimensions, strides, offset - Offset, Shape.Count);
        if (_buffer is null)
        {
            Own(Tensor.AllocateUntracked(Shape, DType, Device));
            GradientStatistics.Buffers++;
        }
        else if (_buffer.Storage.GradientOwners > 1)
        {
            // The buffer was passed on between slots, and another one still needs what it holds.
            Own(_buffer.UntrackedCopy(DType, Device));
            GradientStatistics.Copies++;
        }
        Coverage.Finding finding = _coverage.Write(period, start, length);
        if (finding == Coverage.Finding.Mixed) FillGaps();
        Tensor view = _buffer!.UntrackedView(shape, strides.ToArray(), offset - Offset);
        return new GradientTarget(view, finding != Coverage.Finding.Fresh);
    }

    /// <summary>
    /// Takes a finished gradient as this value's own without a copy, sharing its memory; false when this slot holds something already.
    /// </summary>
    public bool TryAdopt(Tensor gradient)
    {
        if (IsLeaf || !_coverage.IsEmpty || gradient.DType != DType || gradient.Count != Shape.Count || !gradient.IsContiguous) return false;
        Own(gradient.UntrackedAlias(Shape));
        _coverage.MarkFull();
        return true;
    }

    private void Own(Tensor? buffer)
    {
        if (_buffer is not null)
        {
            _buffer.Storage.GradientOwners--;
            _buffer.Dispose();
        }
        _buffer = buffer;
        if (buffer is not null) buffer.Storage.GradientOwners++;
    }

    private void FillGaps()
    {
        if (_coverage.IsFull) return;
        foreach ((long start, long length) in _coverage.Gaps())
        {
            long period = _coverage.Period;
            using Tensor gap = _buffer!.UntrackedView([checked((int)(Shape.Count / period)), checked((int)length)], [period, 1], start);
            ElementwiseCopy.Fill(gap, 0);
            GradientStatistics.ZeroFills++;
        }
        _coverage.MarkFull();
    }
}

/// <summary>What the gradient-destination contract promises to keep at a minimum, counted for the tests of it.</summary>
internal static class GradientStatistics
{
    [ThreadStatic] public static long Buffers;
    [ThreadStatic] public static long ZeroFills;
    [ThreadStatic] public static long Copies;
    [ThreadStatic] public static long StandaloneAdds;
}
