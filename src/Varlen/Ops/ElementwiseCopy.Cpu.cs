using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : ICopyKernels
{
    public void Copy(Tensor source, Tensor destination, bool accumulate)
    {
        if (source.Count == 0) return;
        bool converts = source.DType.IsFloatingPoint() && destination.DType.IsFloatingPoint() && (accumulate || source.DType != destination.DType);
        // Sums are formed in the source's type of arithmetic, which must not be the narrower one.
        if (converts && (destination.DType != DType.Float64 || source.DType == DType.Float64))
        {
            Map(default(Unchanged), source.Shape, source, null, null, new GradientTarget(destination, accumulate));
            return;
        }
        var loop = new ElementwiseLoop(source.Shape, source, destination);
        switch (source.DType)
        {
            case DType.Float64: CopyFrom<double>(source, destination, accumulate, loop); break;
            case DType.Float32: CopyFrom<float>(source, destination, accumulate, loop); break;
            case DType.BFloat16: CopyFrom<BFloat16>(source, destination, accumulate, loop); break;
            case DType.Float16: CopyFrom<Half>(source, destination, accumulate, loop); break;
            case DType.Int32: CopyFrom<int>(source, destination, accumulate, loop); break;
            case DType.Int64: CopyFrom<long>(source, destination, accumulate, loop); break;
            case DType.Bool: CopyFrom<bool>(source, destination, accumulate, loop); break;
        }
    }

    public void FillTail(Tensor destination, int dimension, Tensor first, double value)
    {
        int[] sizes = destination.Shape.Dimensions.ToArray();
        int from = *first.Data<int>();
        sizes[dimension] -= from;
        using Tensor tail = destination.UntrackedView(new Shape(sizes), destination.Strides.ToArray(), from * destination.Strides[dimension]);
        Fill(tail, value);
    }

    public void Fill(Tensor destination, double value)
    {
        if (destination.Count == 0) return;
        // One element, read again and again through strides of zero.
        using Tensor constant = Tensor.AllocateUntracked([], destination.DType, destination.Device);
        switch (destination.DType)
        {
            case DType.Float64: *constant.Data<double>() = value; break;
            case DType.Float32: *constant.Data<float>() = (float)value; break;
            case DType.BFloat16: *constant.Data<BFloat16>() = (BFloat16)value; break;
            case DType.Float16: *constant.Data<Half>() = (Half)value; break;
            case DType.Int32: *constant.Data<int>() = (int)value; break;
            case DType.Int64: *constant.Data<long>() = (long)value; break;
            case DType.Bool: *constant.Data<bool>() = value != 0; break;
        }
        using Tensor spread = constant.UntrackedView(destination.Shape, new long[destination.Shape.Rank], 0);
        Copy(spread, destination, accumulate: false);
    }

    private void CopyFrom<TSource>(Tensor source, Tensor destination, bool accumulate, ElementwiseLoop loop) where TSource : unmanaged
    {
        switch (destination.DType)
        {
            case DType.Float64: Run<double>(); break;
            case DType.Float32: Run<float>(); break;
            case DType.BFloat16: Run<BFloat16>(); break;
            case DType.Float16: Run<Half>(); break;
            case DType.Int32: Run<int>(); break;
            case DType.Int64: Run<long>(); break;
            case DType.Bool: Run<bool>(); break;
        }

        void Run<TDestination>() where TDestination : unmanaged
        {
            var rows = new CopyRows<TSource, TDestination>
            {
                Source = source.Data<TSource>(),
                Destination = destination.Data<TDestination>(),
                Loop = loop,
                Accumulate = accumulate,
            };
            Team.For(loop.Blocks, ref rows, loop.Workers);
        }
    }

    private struct CopyRows<TSource, TDestination> : IParallelItems where TSource : unmanaged where TDestination : unmanaged
    {
        public TSource* Source;
        public TDestination* Destination;
        public ElementwiseLoop Loop;
        public bool Accumulate;

        public readonly void Invoke(long block, int worker)
        {
            long first = block * Loop.PiecesPerBlock, end = Math.Min(Loop.Pieces, first + Loop.PiecesPerBlock);
            for (long piece = first; piece < end; piece++)
            {
                long length = Loop.Piece(piece, out OperandOffsets at);
                Row(Source + at[0], Destination + at[1], length);
            }
        }

        private readonly void Row(TSource* source, TDestination* destination, long n)
        {
            (long ss, long ds) = (Loop.InnerStride(0), Loop.InnerStride(1));
            if (ss == 1 && ds == 1 && typeof(TSource) == typeof(TDestination) && !Accumulate)
            {
                NativeMemory.Copy(source, destination, (nuint)(n * sizeof(TSource)));
                return;
            }
            if (ss == 0 && ds == 1 && !Accumulate && typeof(TSource) == typeof(TDestination))
            {
                new Span<TDestination>(destination, checked((int)n)).Fill(*(TDestination*)source);
                return;
            }
            for (long i = 0; i < n; i++)
                destination[i * ds] = Accumulate
                    ? Element.FromDouble<TDestination>(Element.ToDouble(destination[i * ds]) + Element.ToDouble(source[i * ss]))
                    : Element.Convert<TSource, TDestination>(source[i * ss]);
        }
    }

    private readonly struct Unchanged : IElementwise
    {
        public static int Inputs => 1;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (a, default);
    }
}

/// <summary>Conversions between element types, inlined for each pair.</summary>
internal static class Element
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TDestination Convert<TSource, TDestination>(TSource value) where TSource : unmanaged where TDestination : unmanaged
        => typeof(TSource) == typeof(TDestination) ? Unsafe.BitCast<TSource, TDestination>(value) : FromDouble<TDestination>(ToDouble(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double ToDouble<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return Unsafe.BitCast<T, double>(value);
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<T, float>(value);
        if (typeof(T) == typeof(BFloat16)) return Unsafe.BitCast<T, BFloat16>(value);
        if (typeof(T) == typeof(Half)) return (double)Unsafe.BitCast<T, Half>(value);
        if (typeof(T) == typeof(int)) return Unsafe.BitCast<T, int>(value);
        if (typeof(T) == typeof(long)) return Unsafe.BitCast<T, long>(value);
        return Unsafe.BitCast<T, bool>(value) ? 1 : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T FromDouble<T>(double value) where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return Unsafe.BitCast<double, T>(value);
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<float, T>((float)value);
        if (typeof(T) == typeof(BFloat16)) return Unsafe.BitCast<BFloat16, T>((BFloat16)value);
        if (typeof(T) == typeof(Half)) return Unsafe.BitCast<Half, T>((Half)value);
        if (typeof(T) == typeof(int)) return Unsafe.BitCast<int, T>((int)value);
        if (typeof(T) == typeof(long)) return Unsafe.BitCast<long, T>((long)value);
        return Unsafe.BitCast<bool, T>(value != 0);
    }
}
