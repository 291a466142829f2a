using System.Runtime.InteropServices;
using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

/// <summary>
/// A row-major matrix of any floating-point type in native memory whose every byte outside of the matrix is a NaN pattern, before
/// the first row, between rows and after the last, so that a stray read shows in the result and a stray write in the pattern.
/// </summary>
internal sealed unsafe class NativeMatrix : IDisposable
{
    private const int Guard = 64;
    private const byte Pattern = 0xFF;

    private readonly byte* _memory;
    private readonly long _bytes;

    internal NativeMatrix(DType dtype, long rows, long columns, int padding)
    {
        (DType, Rows, Columns, Stride) = (dtype, rows, columns, columns + padding);
        _bytes = (rows * Stride + 2 * Guard) * dtype.Size();
        _memory = (byte*)NativeMemory.Alloc((nuint)_bytes);
        new Span<byte>(_memory, checked((int)_bytes)).Fill(Pattern);
    }

    internal DType DType { get; }
    internal long Rows { get; }
    internal long Columns { get; }
    internal long Stride { get; }
    internal byte* Data => _memory + Guard * DType.Size();

    internal double this[long row, long column]
    {
        get => Read(Data + (row * Stride + column) * DType.Size(), DType);
        set => Write(Data + (row * Stride + column) * DType.Size(), DType, value);
    }

    internal NativeMatrix FillRandom(Random random)
    {
        for (long row = 0; row < Rows; row++)
            for (long column = 0; column < Columns; column++) this[row, column] = random.NextDouble() - 0.5;
        return this;
    }

    internal NativeMatrix Clone()
    {
        var copy = new NativeMatrix(DType, Rows, Columns, (int)(Stride - Columns));
        Buffer.MemoryCopy(_memory, copy._memory, _bytes, _bytes);
        return copy;
    }

    internal ReadOnlySpan<byte> RowBytes(long row) => new(Data + row * Stride * DType.Size(), checked((int)(Columns * DType.Size())));

    internal void AssertNothingWrittenOutside()
    {
        long size = DType.Size(), first = Guard * size;
        for (long i = 0; i < _bytes; i++)
        {
            long element = (i - first) / size;
            bool inside = i >= first && element < Rows * Stride && element % Stride < Columns;
            if (!inside) Assert.True(_memory[i] == Pattern, $"byte {i - first} after the first element was written, outside of {Rows} x {Columns} (stride {Stride})");
        }
    }

    public void Dispose() => NativeMemory.Free(_memory);

    internal static double Read(byte* p, DType dtype) => dtype switch
    {
        DType.Float64 => *(double*)p,
        DType.BFloat16 => *(BFloat16*)p,
        DType.Float16 => (double)*(Half*)p,
        _ => *(float*)p,
    };

    private static void Write(byte* p, DType dtype, double value)
    {
        switch (dtype)
        {
            case DType.Float64: *(double*)p = value; break;
            case DType.BFloat16: *(BFloat16*)p = (BFloat16)value; break;
            case DType.Float16: *(Half*)p = (Half)value; break;
            default: *(float*)p = (float)value; break;
        }
    }
}
