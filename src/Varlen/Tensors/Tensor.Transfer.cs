using System.Runtime.InteropServices;
using Varlen.Ops;

namespace Varlen;

public sealed partial class Tensor
{
    /// <summary>Copies the elements to the host in row-major order, converting to <typeparamref name="T"/> as a cast would. Waits for the device.</summary>
    /// <typeparam name="T">double, float, BFloat16, Half, int, long or bool.</typeparam>
    public T[] ToArray<T>() where T : unmanaged
    {
        var values = new T[Count];
        if (values.Length == 0) return values;
        using Tensor dense = UntrackedCopy(DTypes.Of<T>(), Device);
        Device.Backend.CopyToHost(dense.Pointer, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    /// <summary>The single element, as a double. Waits for the device.</summary>
    /// <exception cref="InvalidOperationException">The tensor does not have exactly one element.</exception>
    public double Item()
        => Count == 1 ? ToArray<double>()[0] : throw new InvalidOperationException($"Item() needs exactly one element; the tensor {Shape} has {Count}");

    /// <summary>This tensor on another device or with another element type; this tensor itself when nothing changes. The gradient flows back, converted.</summary>
    /// <param name="device">Target device; null keeps the present one.</param>
    /// <param name="dtype">Target element type; null keeps the present one.</param>
    public Tensor To(Device? device = null, DType? dtype = null)
    {
        Device target = device ?? Device;
        DType type = dtype ?? DType;
        return target == Device && type == DType ? this : Conversion.Convert(this, target, type);
    }

    /// <summary>This tensor with dense row-major elements: itself when it is so already, else a copy through which gradients flow back.</summary>
    public Tensor Contiguous() => IsContiguous ? this : Conversion.Convert(this, Device, DType);

    /// <summary>A dense copy that shares nothing, outside of the graph.</summary>
    public Tensor Clone()
    {
        Tensor copy = UntrackedCopy(DType, Device);
        TensorScope.Track(copy);
        return copy;
    }

    /// <summary>Overwrites the elements with another tensor's, converted. Shapes must be equal.</summary>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public void CopyFrom(Tensor source)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (source.Shape != Shape) throw new ArgumentException($"CopyFrom: shape {source.Shape} does not fit {Shape}", nameof(source));
        BeginInPlace();
        if (source.Device == Device)
        {
            ElementwiseCopy.Copy(source, this, accumulate: false);
            return;
        }
        using Tensor here = source.UntrackedCopy(DType, Device);
        ElementwiseCopy.Copy(here, this, accumulate: false);
    }

    /// <summary>Overwrites every element with one value.</summary>
    public void Fill(double value)
    {
        BeginInPlace();
        ElementwiseCopy.Fill(this, value);
    }

    internal Tensor UntrackedCopy(DType dtype, Device device)
    {
        _ = Storage;
        // Converted where the elements are, then moved as one dense block.
        Tensor dense = AllocateUntracked(Shape, dtype, Device);
        ElementwiseCopy.Copy(this, dense, accumulate: false);
        if (device == Device) return dense;
        Tensor moved = AllocateUntracked(Shape, dtype, device);
        // One side of a transfer is the host; between two other devices it lies on the way.
        if (Device == Device.Cpu) device.Backend.CopyFromHost(dense.Pointer, moved.Pointer, dense.Storage.Bytes);
        else if (device == Device.Cpu) Device.Backend.CopyToHost(dense.Pointer, moved.Pointer, dense.Storage.Bytes);
        else
        {
            using Tensor host = AllocateUntracked(Shape, dtype, Device.Cpu);
            Device.Backend.CopyToHost(dense.Pointer, host.Pointer, host.Storage.Bytes);
            device.Backend.CopyFromHost(host.Pointer, moved.Pointer, host.Storage.Bytes);
        }
        dense.Dispose();
        return moved;
    }
}
