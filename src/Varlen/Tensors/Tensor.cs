using System.Runtime.CompilerServices;
using Varlen.Autograd;

namespace Varlen;

/// <summary>
/// A strided view of device memory with a shape and an element type, and optionally a place in the autograd graph.
/// </summary>
/// <remarks>
/// A tensor made while a <see cref="TensorScope"/> is open is released when that scope closes, unless it is returned from it or
/// kept with <see cref="Keep"/>; outside of any scope its maker disposes it. Not thread-safe: one thread per device at a time.
/// See docs/memory.md.
/// </remarks>
public sealed partial class Tensor : IDisposable
{
    private readonly long[] _strides;
    private Storage? _storage;
    private string? _releasedBy;

    /// <summary>Wraps a storage, taking over one of its counts.</summary>
    private Tensor(Storage storage, Shape shape, long[] strides, long offset, DType dtype, Device device)
    {
        _storage = storage;
        _strides = strides;
        Shape = shape;
        Offset = offset;
        DType = dtype;
        Device = device;
    }

    /// <summary>Sizes of the dimensions.</summary>
    public Shape Shape { get; }

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>Where the elements are.</summary>
    public Device Device { get; }

    /// <summary>Number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>Elements between neighbours of each dimension.</summary>
    public ReadOnlySpan<long> Strides => _strides;

    /// <summary>Whether the elements lie densely in row-major order.</summary>
    public bool IsContiguous
    {
        get
        {
            long expected = 1;
            for (int i = Shape.Rank - 1; i >= 0; i--)
            {
                int size = Shape[i];
                if (size == 0) return true;
                if (size != 1 && _strides[i] != expected) return false;
                expected *= size;
            }
            return true;
        }
    }

    /// <summary>Whether the tensor has been released.</summary>
    public bool IsReleased => _storage is null;

    /// <summary>First element's position in the storage, in elements.</summary>
    internal long Offset { get; }

    /// <exception cref="ObjectDisposedException">The tensor was released.</exception>
    internal Storage Storage => _storage ?? throw Released();

    /// <summary>Address of the first element.</summary>
    internal nint Pointer => Storage.Pointer + (nint)(Offset * DType.Size());

    /// <summary>Typed address of the first element; the caller has checked the element type.</summary>
    internal unsafe T* Data<T>() where T : unmanaged => (T*)Pointer;

    /// <summary>Releases this view now. Views of the same storage stay valid. Safe to call again.</summary>
    public void Dispose() => Release("Dispose");

    /// <summary>
    /// Takes the tensor out of every scope: it lives until its holder disposes it.
    /// </summary>
    /// <returns>This tensor.</returns>
    /// <exception cref="ObjectDisposedException">The tensor was released.</exception>
    public Tensor Keep()
    {
        _ = Storage;
        IsKept = true;
        return this;
    }

    internal bool IsKept { get; private set; }

    /// <summary>Depth of the scope that last handed this tensor to its parent; deeper than any scope that still tracks it.</summary>
    internal int ReturningFrom { get; set; }

    internal void Release(string by)
    {
        if (_storage is not { } storage) return;
        _releasedBy = by;
        _storage = null;
        Slot?.Release();
        Slot = null;
        Recipe?.Dispose();
        Recipe = null;
        storage.Release();
    }

    private ObjectDisposedException Released()
        => new(nameof(Tensor), $"Tensor {Shape} was released {(_releasedBy == "Dispose" ? "by Dispose" : $"when {_releasedBy} ended")}; call Keep() to own a tensor beyond its scope.");

    /// <summary>A view of this tensor's storage, with a count of its own, tracked by the current scope.</summary>
    internal Tensor Alias(Shape shape, long[] strides, long offset, GradientSlot? slot = null)
    {
        var view = new Tensor(Storage.Retain(), shape, strides, offset, DType, Device) { Slot = slot?.Retain() };
        TensorScope.Track(view);
        return view;
    }

    /// <summary>A view that no scope releases: for the graph and for modules.</summary>
    internal Tensor UntrackedAlias(Shape? shape = null)
        => shape is { } other
            ? new(Storage.Retain(), other, other.ContiguousStrides(), Offset, DType, Device)
            : new(Storage.Retain(), Shape, _strides, Offset, DType, Device);

    /// <summary>Any strided view that no scope releases; <paramref name="offset"/> counts from this tensor's first element.</summary>
    internal Tensor UntrackedView(Shape shape, long[] strides, long offset)
        => new(Storage.Retain(), shape, strides, Offset + offset, DType, Device);

    /// <summary>Uninitialised dense memory that no scope releases.</summary>
    internal static Tensor AllocateUntracked(Shape shape, DType dtype, Device device)
        => new(new Storage(device.Backend, checked(shape.Count * dtype.Size())), shape, shape.ContiguousStrides(), 0, dtype, device);

    /// <summary>Uninitialised dense memory, tracked by the current scope.</summary>
    internal static Tensor Allocate(Shape shape, DType dtype, Device device)
    {
        Tensor tensor = AllocateUntracked(shape, dtype, device);
        TensorScope.Track(tensor);
        return tensor;
    }

    /// <summary>Throws unless the caller may write here in place.</summary>
    internal void BeginInPlace([CallerMemberName] string op = "")
    {
        if (GradMode.IsEnabled && RequiresGrad)
            throw new InvalidOperationException($"{op}: the tensor {Shape} requires a gradient; write to it in place inside of GradMode.NoGrad(), or use the op that returns a new tensor");
        Storage.MarkWritten();
    }
}
