using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>Moves rows between an operand in any storage type and single-precision scratch of fixed row length.</summary>
internal static unsafe class OperandRows
{
    private const int CacheLine = 64;

    /// <summary>Address of the first feature of a row.</summary>
    internal static byte* Address(in AttentionOperand operand, long batch, long token, int head)
        => (byte*)operand.Data
            + (batch * operand.BatchStride + token * operand.TokenStride + head * operand.HeadStride) * operand.DType.Size();

    /// <summary>
    /// Asks for the rows of several heads, token by token. Heads of a token are neighbours while the tokens of a head lie a page
    /// apart each, which no hardware prefetcher foresees: without this, short sequences mostly wait for memory.
    /// </summary>
    internal static void Prefetch(in AttentionOperand operand, long batch, long token, int head, int heads, int rows, int width)
    {
        int size = operand.DType.Size();
        if (!Sse.IsSupported || operand.Data == null || operand.HeadStride > 2 * width) return;
        byte* row = Address(operand, batch, token, head);
        long step = operand.TokenStride * size;
        int bytes = (((heads - 1) * (int)operand.HeadStride) + width) * size;
        for (; rows > 0; rows--, row += step)
            for (int i = 0; i < bytes; i += CacheLine) Sse.Prefetch1(row + i);
    }

    /// <summary>
    /// Copies <paramref name="rows"/> rows of <paramref name="width"/> features to rows of <paramref name="stride"/>; the features
    /// in between and the rows up to <paramref name="paddedRows"/> become 0.
    /// </summary>
    internal static void Load<V, S>(in AttentionOperand operand, long batch, long token, int head, int rows, int paddedRows,
        int width, int stride, float* destination) where V : unmanaged where S : ISimd<V>
    {
        byte* source = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        if (operand.DType == DType.Float32 && width == stride) LoadWhole<V, S>(source, step, rows, width, destination);
        else
            for (int row = 0; row < rows; row++)
            {
                float* to = destination + ((long)row * stride);
                Widen<V, S>(source + (row * step), operand.DType, width, to);
                for (int i = width; i < stride; i++) to[i] = 0f;
            }
        AttentionScratch.Clear(destination + ((long)rows * stride), (long)(paddedRows - rows) * stride);
    }

    // The common case: rows of whole vectors that need no conversion.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LoadWhole<V, S>(byte* source, long step, int rows, int width, float* destination)
        where V : unmanaged where S : ISimd<V>
    {
        for (; rows > 0; rows--, source += step)
        {
            float* from = (float*)source;
            for (int i = 0; i < width; i += S.Width, destination += S.Width) S.Store(destination, S.Load(from + i));
        }
    }

    /// <summary>Writes (or adds) <paramref name="scale"/> times the rows.</summary>
    internal static void Store<V, S>(in AttentionOperand operand, long batch, long token, int head, int rows, int width,
        float* source, long stride, float scale, bool accumulate) where V : unmanaged where S : ISimd<V>
    {
        byte* destination = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        if (operand.DType == DType.Float32) StoreFloat<V, S>(destination, step, rows, width, source, stride, scale, accumulate);
        else StoreConverted<V, S>(operand.DType, destination, step, rows, width, source, stride, scale, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreFloat<V, S>(byte* destination, long step, int rows, int width, float* source, long stride, float scale,
        bool accumulate) where V : unmanaged where S : ISimd<V>
    {
        V factor = S.Set(scale);
        for (; rows > 0; rows--, destination += step, source += stride)
        {
            float* to = (float*)destination;
            int i = 0;
            if (accumulate)
            {
                for (; i <= width - S.Width; i += S.Width) S.Store(to + i, S.Add(S.Multiply(S.Load(source + i), factor), S.Load(to + i)));
                for (; i < width; i++) to[i] += source[i] * scale;
            }
            else
            {
                for (; i <= width - S.Width; i += S.Width) S.Store(to + i, S.Multiply(S.Load(source + i), factor));
                for (; i < width; i++) to[i] = source[i] * scale;
            }
        }
    }

    private static void StoreConverted<V, S>(DType dtype, byte* destination, long step, int rows, int width, float* source, long stride,
        float scale, bool accumulate) where V : unmanaged where S : ISimd<V>
    {
        float* values = stackalloc float[256];
        for (; rows > 0; rows--, destination += step, source += stride)
        {
            // Scaled, and added to what is there, in single precision; rounded once.
            if (accumulate) Widen<V, S>(destination, dtype, width, values);
            StoreFloat<V, S>((byte*)values, 0, 1, width, source, 0, scale, accumulate);
            if (dtype == DType.BFloat16) StoreBFloat16<V, S>(values, width, (ushort*)destination);
            else if (dtype == DType.Float16)
                TensorPrimitives.ConvertToHalf(new ReadOnlySpan<float>(values, width), new Span<Half>(destination, width));
            else
                for (int i = 0; i < width; i++) ((double*)destination)[i] = values[i];
        }
    }

    /// <summary>Whether no element of the rows is NaN or infinite.</summary>
    internal static bool AllFinite<V, S>(in AttentionOperand operand, long batch, long token, int head, int rows, int width)
        where V : unmanaged where S : ISimd<V>
    {
        byte* source = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        float* row = stackalloc float[256];
        bool finite = true;
        for (; rows > 0 && finite; rows--, source += step)
        {
            if (operand.DType != DType.Float32) Widen<V, S>(source, operand.DType, width, row);
            finite = AllFinite<V, S>(operand.DType == DType.Float32 ? (float*)source : row, width);
        }
        return finite;
    }

    /// <summary>Whether none of the values is NaN or infinite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static bool AllFinite<V, S>(float* values, long count) where V : unmanaged where S : ISimd<V>
    {
        // 0 * x is 0 for finite x and NaN otherwise, and NaN stays. Four sums, because one would wait for itself.
        V a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
        long i = 0;
        for (; i <= count - (4 * S.Width); i += 4 * S.Width)
        {
            a = S.Fma(S.Load(values + i), S.Zero, a);
            b = S.Fma(S.Load(values + i + S.Width), S.Zero, b);
            c = S.Fma(S.Load(values + i + (2 * S.Width)), S.Zero, c);
            d = S.Fma(S.Load(values + i + (3 * S.Width)), S.Zero, d);
        }
        for (; i <= count - S.Width; i += S.Width) a = S.Fma(S.Load(values + i), S.Zero, a);
        float rest = S.Sum(S.Add(S.Add(a, b), S.Add(c, d)));
        for (; i < count; i++) rest += values[i] * 0f;
        return rest == 0f;
    }

    private static void Widen<V, S>(byte* source, DType dtype, int width, float* destination) where V : unmanaged where S : ISimd<V>
    {
        if (dtype == DType.Float32) LoadFloat<V, S>((float*)source, width, destination);
        else if (dtype == DType.BFloat16) LoadBFloat16<V, S>((ushort*)source, width, destination);
        else if (dtype == DType.Float16)
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(source, width), new Span<float>(destination, width));
        else
            for (int i = 0; i < width; i++) destination[i] = (float)((double*)source)[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadFloat<V, S>(float* source, int width, float* destination) where V : unmanaged where S : ISimd<V>
    {
        int i = 0;
        for (; i <= width - S.Width; i += S.Width) S.Store(destination + i, S.Load(source + i));
        for (; i < width; i++) destination[i] = source[i];
    }

    private static void LoadBFloat16<V, S>(ushort* source, int width, float* destination) where V : unmanaged where S : ISimd<V>
    {
        int i = 0;
        for (; i <= width - S.Width; i += S.Width) S.Store(destination + i, S.LoadBFloat16(source + i));
        for (; i < width; i++) destination[i] = BFloat16.FromBits(source[i]);
    }

    private static void StoreBFloat16<V, S>(float* source, int width, ushort* destination) where V : unmanaged where S : ISimd<V>
    {
        int i = 0;
        for (; i <= width - S.Width; i += S.Width) S.StoreBFloat16(destination + i, S.Load(source + i));
        for (; i < width; i++) destination[i] = ((BFloat16)source[i]).Bits;
    }
}
