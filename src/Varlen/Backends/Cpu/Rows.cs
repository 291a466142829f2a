using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu;

/// <summary>A kernel written once for all floating-point types: stored as T, computed in A.</summary>
internal interface ITypedKernel
{
    /// <typeparam name="T">The element type in memory.</typeparam>
    /// <typeparam name="A">The type of arithmetic: double for double, else float.</typeparam>
    void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>;
}

/// <summary>
/// Rows of a dense tensor as arithmetic sees them: a kernel reads a row into scratch (or in place when no conversion is needed),
/// computes in single or double precision, and writes it back, overwriting or adding.
/// </summary>
internal static unsafe class Rows
{
    /// <summary>Runs a kernel for a floating-point element type.</summary>
    public static void Dispatch<TKernel>(DType dtype, ref TKernel kernel) where TKernel : struct, ITypedKernel
    {
        switch (dtype)
        {
            case DType.Float64: kernel.Run<double, double>(); break;
            case DType.Float32: kernel.Run<float, float>(); break;
            case DType.BFloat16: kernel.Run<BFloat16, float>(); break;
            case DType.Float16: kernel.Run<Half, float>(); break;
            default: throw new NotSupportedException($"no CPU kernel computes in {dtype}");
        }
    }

    /// <summary>The row in the arithmetic type: itself, or converted into <paramref name="scratch"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static A* Read<T, A>(T* row, long length, A* scratch) where T : unmanaged where A : unmanaged
    {
        if (typeof(T) == typeof(A)) return (A*)row;
        if (typeof(T) == typeof(BFloat16)) Widen((ushort*)row, length, (float*)scratch);
        else if (typeof(T) == typeof(Half)) Widen((Half*)row, length, (float*)scratch);
        else
            for (long i = 0; i < length; i++) scratch[i] = Element.Convert<T, A>(row[i]);
        return scratch;
    }

    /// <summary>destination (+)= values, rounded to the element type.</summary>
    public static void Write<A>(A* values, void* destination, DType dtype, long length, bool accumulate)
        where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        switch (dtype)
        {
            case DType.Float64: Write(values, (double*)destination, length, accumulate); break;
            case DType.Float32: Write(values, (float*)destination, length, accumulate); break;
            case DType.BFloat16: Write(values, (BFloat16*)destination, length, accumulate); break;
            case DType.Float16: Write(values, (Half*)destination, length, accumulate); break;
            default: throw new NotSupportedException($"no CPU kernel writes {dtype}");
        }
    }

    /// <inheritdoc cref="Write{A}(A*, void*, DType, long, bool)"/>
    public static void Write<A, T>(A* values, T* destination, long length, bool accumulate)
        where A : unmanaged, IBinaryFloatingPointIeee754<A> where T : unmanaged
    {
        if (typeof(T) == typeof(A))
        {
            A* target = (A*)destination;
            if (!accumulate)
            {
                if (target != values) NativeMemory.Copy(values, target, (nuint)(length * sizeof(A)));
                return;
            }
            long i = 0;
            for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) (Vector.Load(target + i) + Vector.Load(values + i)).Store(target + i);
            for (; i < length; i++) target[i] += values[i];
            return;
        }
        long at = 0;
        if (typeof(A) == typeof(float) && typeof(T) == typeof(BFloat16)) at = Narrow<BFloat16, BFloat16Element>((float*)values, (BFloat16*)destination, length, accumulate);
        if (typeof(A) == typeof(float) && typeof(T) == typeof(Half)) at = Narrow<Half, Float16Element>((float*)values, (Half*)destination, length, accumulate);
        for (; at < length; at++)
            destination[at] = Element.Convert<A, T>(accumulate ? Element.Convert<T, A>(destination[at]) + values[at] : values[at]);
    }

    /// <summary>Writes all but a rest of fewer than 8 elements, and gives the number of those written.</summary>
    private static long Narrow<T, TElement>(float* values, T* destination, long length, bool accumulate) where T : unmanaged where TElement : IElement<T>
    {
        long i = 0;
        for (; i <= length - 8; i += 8)
        {
            Vector256<float> value = Vector256.Load(values + i);
            TElement.Store8(destination + i, accumulate ? TElement.Load8(destination + i) + value : value);
        }
        return i;
    }

    private static void Widen(ushort* source, long length, float* destination)
    {
        long i = 0;
        for (; i <= length - 8; i += 8)
        {
            Vector128<ushort> bits = Vector128.Load(source + i);
            (Vector128.WidenLower(bits) << 16).AsSingle().Store(destination + i);
            (Vector128.WidenUpper(bits) << 16).AsSingle().Store(destination + i + 4);
        }
        for (; i < length; i++) destination[i] = BitConverter.UInt32BitsToSingle((uint)source[i] << 16);
    }

    private static void Widen(Half* source, long length, float* destination)
        => System.Numerics.Tensors.TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(source, checked((int)length)), new Span<float>(destination, (int)length));
}

/// <summary>Scratch of row kernels: one buffer per thread, which a kernel asks for once and divides.</summary>
internal static unsafe class Scratch
{
    /// <summary>Aligned memory of the calling thread, valid until its next call.</summary>
    public static T* Get<T>(long count) where T : unmanaged => NativeScratch.Rent<T>(ScratchUse.Rows, count);
}
