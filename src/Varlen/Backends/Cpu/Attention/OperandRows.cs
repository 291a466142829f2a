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
    /// Asks for rows that will be written later. Each row lies on a page of its own, which no hardware prefetcher foresees; without
    /// this, short sequences spend most of their time waiting for their results' cache lines.
    /// </summary>
    internal static void Prefetch(in AttentionOperand operand, long batch, long token, int head, int rows, int width)
    {
        if (!Sse.IsSupported || operand.Data == null) return;
        byte* row = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        int bytes = width * operand.DType.Size();
        for (; rows > 0; rows--, row += step)
        {
            for (int i = 0; i < bytes; i += CacheLine) Sse.Prefetch1(row + i);
            // A row that starts within a line ends in one more.
            Sse.Prefetch1(row + bytes - 1);
        }
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
        DType dtype = operand.DType;
        for (int row = 0; row < rows; row++, source += step, destination += stride)
        {
            if (dtype == DType.Float32) LoadFloat<V, S>((float*)source, width, destination);
            else if (dtype == DType.BFloat16) LoadBFloat16<V, S>((ushort*)source, width, destination);
            else TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(source, width), new Span<float>(destination, width));
            for (int i = width; i < stride; i++) destination[i] = 0f;
        }
        NativeScratch.Clear(destination, (long)(paddedRows - rows) * stride);
    }

    /// <summary>
    /// Writes (or adds) <paramref name="scale"/> times the rows. <paramref name="source"/> is scratch: it may be overwritten.
    /// </summary>
    internal static void Store<V, S>(in AttentionOperand operand, long batch, long token, int head, int rows, int width,
        float* source, long stride, float scale, bool accumulate) where V : unmanaged where S : ISimd<V>
    {
        byte* destination = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        float* old = stackalloc float[256];
        for (int row = 0; row < rows; row++, destination += step, source += stride)
        {
            float* values = source;
            if (operand.DType == DType.Float32) old = (float*)destination;
            else if (accumulate) Widen<V, S>(destination, operand.DType, width, old);
            if (operand.DType == DType.Float32) values = (float*)destination;
            ScaleAdd<V, S>(source, scale, accumulate ? old : null, width, values);
            if (operand.DType == DType.BFloat16) StoreBFloat16<V, S>(values, width, (ushort*)destination);
            else if (operand.DType == DType.Float16)
                TensorPrimitives.ConvertToHalf(new ReadOnlySpan<float>(values, width), new Span<Half>(destination, width));
            else if (operand.DType == DType.Float64)
                TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(values, width), new Span<double>(destination, width));
        }
    }

    /// <summary>Whether no element of the rows is NaN or infinite.</summary>
    internal static bool AllFinite<V, S>(in AttentionOperand operand, long batch, long token, int head, int rows, int width)
        where V : unmanaged where S : ISimd<V>
    {
        byte* source = Address(operand, batch, token, head);
        long step = operand.TokenStride * operand.DType.Size();
        float* row = stackalloc float[256];
        float* lanes = stackalloc float[S.Width];
        // 0 * x is 0 for finite x and NaN otherwise, and NaN stays.
        V sum = S.Zero;
        float rest = 0f;
        for (; rows > 0; rows--, source += step)
        {
            float* values = (float*)source;
            if (operand.DType != DType.Float32)
            {
                Widen<V, S>(source, operand.DType, width, row);
                values = row;
            }
            int i = 0;
            for (; i <= width - S.Width; i += S.Width) sum = S.Fma(S.Load(values + i), S.Zero, sum);
            for (; i < width; i++) rest += values[i] * 0f;
        }
        S.Store(lanes, sum);
        for (int i = 0; i < S.Width; i++) rest += lanes[i];
        return rest == 0f;
    }

    private static void Widen<V, S>(byte* source, DType dtype, int width, float* destination) where V : unmanaged where S : ISimd<V>
    {
        if (dtype == DType.BFloat16) LoadBFloat16<V, S>((ushort*)source, width, destination);
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

    // The old values may be the destination itself.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ScaleAdd<V, S>(float* source, float scale, float* old, int width, float* destination)
        where V : unmanaged where S : ISimd<V>
    {
        V factor = S.Set(scale);
        int i = 0;
        for (; i <= width - S.Width; i += S.Width)
        {
            V value = S.Multiply(S.Load(source + i), factor);
            S.Store(destination + i, old == null ? value : S.Add(value, S.Load(old + i)));
        }
        for (; i < width; i++) destination[i] = old == null ? source[i] * scale : source[i] * scale + old[i];
    }
}
