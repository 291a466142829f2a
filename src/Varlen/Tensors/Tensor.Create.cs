using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cpu;
using Varlen.Ops;

namespace Varlen;

public sealed partial class Tensor
{
    /// <summary>Memory with whatever is in it.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="dtype">Element type.</param>
    /// <param name="device">Device; the CPU when null.</param>
    public static Tensor Empty(Shape shape, DType dtype = DType.Float32, Device? device = null) => Allocate(shape, dtype, device ?? Device.Cpu);

    /// <summary>Zeros.</summary>
    /// <inheritdoc cref="Full"/>
    public static Tensor Zeros(Shape shape, DType dtype = DType.Float32, Device? device = null, bool requiresGrad = false)
        => Full(shape, 0, dtype, device, requiresGrad);

    /// <summary>Ones.</summary>
    /// <inheritdoc cref="Full"/>
    public static Tensor Ones(Shape shape, DType dtype = DType.Float32, Device? device = null, bool requiresGrad = false)
        => Full(shape, 1, dtype, device, requiresGrad);

    /// <summary>One value everywhere.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="value">The value, rounded to the element type.</param>
    /// <param name="dtype">Element type.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <param name="requiresGrad">Whether gradients are gathered for it; floating-point types only.</param>
    public static Tensor Full(Shape shape, double value, DType dtype = DType.Float32, Device? device = null, bool requiresGrad = false)
    {
        Tensor tensor = Empty(shape, dtype, device);
        ElementwiseCopy.Fill(tensor, value);
        return tensor.WithGradient(requiresGrad);
    }

    /// <summary>Copies values from the host.</summary>
    /// <param name="values">The elements in row-major order; their type decides the element type.</param>
    /// <param name="shape">Sizes; their product is the number of values.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <param name="requiresGrad">Whether gradients are gathered for it; floating-point types only.</param>
    /// <exception cref="ArgumentException">The number of values does not fit the shape.</exception>
    public static Tensor From<T>(ReadOnlySpan<T> values, Shape shape, Device? device = null, bool requiresGrad = false) where T : unmanaged
    {
        if (values.Length != shape.Count)
            throw new ArgumentException($"{values.Length} values do not fill shape {shape}, which has {shape.Count} elements", nameof(values));
        Tensor tensor = Empty(shape, DTypes.Of<T>(), device);
        if (values.Length > 0) tensor.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(values), tensor.Pointer);
        return tensor.WithGradient(requiresGrad);
    }

    /// <inheritdoc cref="From{T}(ReadOnlySpan{T}, Shape, Device?, bool)"/>
    public static Tensor From<T>(T[] values, Shape shape, Device? device = null, bool requiresGrad = false) where T : unmanaged
        => From((ReadOnlySpan<T>)values, shape, device, requiresGrad);

    /// <summary>Independent standard normal values. The same seed gives the same values on every device.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="seed">Seed of the Philox stream.</param>
    /// <param name="dtype">A floating-point type.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <param name="requiresGrad">Whether gradients are gathered for it.</param>
    public static Tensor Randn(Shape shape, ulong seed, DType dtype = DType.Float32, Device? device = null, bool requiresGrad = false)
    {
        Op.RequireFloatingPoint(dtype, nameof(dtype));
        var values = new float[shape.Count];
        RandomStream.Normal(seed, values);
        using Tensor host = AllocateUntracked(shape, DType.Float32, Device.Cpu);
        if (values.Length > 0) Device.Cpu.Backend.CopyFromHost(MemoryMarshal.AsBytes(values.AsSpan()), host.Pointer);
        Tensor tensor = host.UntrackedCopy(dtype, device ?? Device.Cpu);
        TensorScope.Track(tensor);
        return tensor.WithGradient(requiresGrad);
    }

    private Tensor WithGradient(bool requiresGrad)
    {
        if (requiresGrad) RequiresGrad = true;
        return this;
    }
}
