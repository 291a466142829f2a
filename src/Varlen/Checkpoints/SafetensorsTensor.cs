using Varlen.Checkpoints;

namespace Varlen;

/// <summary>One tensor to write: what it is, and what hands its bytes to the file.</summary>
public sealed class SafetensorsTensor
{
    private readonly long[] _shape;

    /// <summary>A tensor of any size whose bytes are written by a callback, so that they need not be in memory at once.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <param name="dtype">Element type.</param>
    /// <param name="shape">Sizes of the dimensions; empty for a scalar. Copied.</param>
    /// <param name="write">Writes all elements to the stream, row-major and little-endian. It may be called once, from the writing thread.</param>
    /// <exception cref="ArgumentException">A size is negative, there are more than 32, or their product is too large for any file.</exception>
    public SafetensorsTensor(string name, DType dtype, ReadOnlySpan<long> shape, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(write);
        (Name, DType, _shape, Write) = (name, dtype, shape.ToArray(), write);
        ByteLength = Measure(name, dtype, shape);
    }

    /// <summary>A tensor whose bytes are in memory; they are kept, not copied.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <param name="dtype">Element type.</param>
    /// <param name="shape">Sizes of the dimensions; empty for a scalar. Copied.</param>
    /// <param name="bytes">All elements, row-major and little-endian.</param>
    /// <exception cref="ArgumentException">A size is negative, there are more than 32, or <paramref name="bytes"/> does not have the shape's length.</exception>
    public SafetensorsTensor(string name, DType dtype, ReadOnlySpan<long> shape, ReadOnlyMemory<byte> bytes)
        : this(name, dtype, shape, stream => stream.Write(bytes.Span))
    {
        if (bytes.Length != ByteLength)
            throw new ArgumentException($"tensor {JsonText.Quote(name)} has {bytes.Length} bytes, and its shape [{string.Join(", ", _shape)}] of {dtype} takes {ByteLength}; pass every element once", nameof(bytes));
    }

    /// <summary>Its name in the file.</summary>
    public string Name { get; }

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>Sizes of the dimensions; empty for a scalar.</summary>
    public ReadOnlySpan<long> Shape => _shape;

    internal Action<Stream> Write { get; }

    /// <summary>Bytes that the shape stands for.</summary>
    internal long ByteLength { get; }

    private static long Measure(string name, DType dtype, ReadOnlySpan<long> shape)
    {
        if (shape.Length > SafetensorsLimits.Rank)
            throw new ArgumentException($"tensor {JsonText.Quote(name)} has {shape.Length} dimensions, and the limit is {SafetensorsLimits.Rank}; reshape it", nameof(shape));
        long bytes = dtype.Size();
        bool empty = false;
        for (int i = 0; i < shape.Length; i++)
        {
            if (shape[i] < 0) throw new ArgumentException($"shape[{i}] = {shape[i]} of tensor {JsonText.Quote(name)} is negative; sizes count from 0", nameof(shape));
            if (shape[i] == 0) empty = true;
            // The reader counts bits.
            else if (bytes > long.MaxValue / 8 / shape[i])
                throw new ArgumentException($"the size of tensor {JsonText.Quote(name)} does not fit 63 bits at shape[{i}] = {shape[i]}; split the tensor", nameof(shape));
            else bytes *= shape[i];
        }
        return empty ? 0 : bytes;
    }
}
