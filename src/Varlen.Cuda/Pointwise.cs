using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private const int PointwiseThreads = 256, PointwiseUnroll = 2;

    /// <summary>Runs a function of up to three values at each place of a shape, by one of the two kernels that POINTWISE in pointwise.cuh makes.</summary>
    /// <param name="rows">For rows of aligned vectors.</param>
    /// <param name="strided">For all other layouts.</param>
    /// <param name="shape">The places. Inputs broadcast to it and share one element type; a result may replace an input.</param>
    /// <param name="inputs">One to three, the first never null; null reads as zeros.</param>
    /// <param name="y">First result.</param>
    /// <param name="z">Second result, for functions that have it.</param>
    /// <param name="function">Which function of the kernel.</param>
    /// <param name="constant">Its constant.</param>
    private void Pointwise(
        KernelFamily rows, KernelFamily strided, Shape shape, ReadOnlySpan<Tensor?> inputs, GradientTarget y, GradientTarget z = default, int function = 0, double constant = 0)
    {
        if (shape.Count == 0 || !(y.IsWanted || z.IsWanted)) return;
        DType type = inputs[0]!.DType;
        var arguments = new PointwiseArguments { Count = shape.Count, Function = function, Constant = (float)constant };
        ReadOnlySpan<Tensor?> operands = [inputs[0], inputs.Length > 1 ? inputs[1] : null, inputs.Length > 2 ? inputs[2] : null, y.Tensor, z.Tensor];
        for (int n = 0; n < 3; n++) arguments.Inputs[n] = operands[n]?.Pointer ?? 0;
        (arguments.Outputs[0], arguments.Outputs[1]) = (TargetArgument.From(y), TargetArgument.From(z));
        arguments.Walk = new StridedWalk5(shape, operands);
        if (arguments.FitsVectors(type, operands)) Launch(rows.With(type), (arguments.Vectors + (PointwiseThreads * PointwiseUnroll) - 1) / (PointwiseThreads * PointwiseUnroll), PointwiseThreads, in arguments);
        else Launch(strided.With(type), ElementBlocks(shape.Count, PointwiseThreads), PointwiseThreads, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PointwiseArguments
    {
        public Pointers Inputs;
        public Targets Outputs;
        public long Count;
        public int Function;
        public float Constant;
        public int Steps, Columns;
        public Divider RowVectors;
        public uint Vectors;
        public int IsEven, Padding;
        public StridedWalk5 Walk;

        /// <summary>Fills in how rows are cut into vectors, if the layout allows that.</summary>
        public bool FitsVectors(DType type, ReadOnlySpan<Tensor?> operands)
        {
            int inner = Walk.Rank - 1, elements = 16 / type.Size();
            bool areStepping = true;
            if (inner > 1) return false;
            for (int n = 0; n < operands.Length; n++)
            {
                if (operands[n] is not { } tensor) continue;
                if (Walk.Stride(n, inner) == 0 && n < 3)
                {
                    areStepping = false;
                    continue;
                }
                bool fits = Walk.Stride(n, inner) == 1 && IsAligned(tensor.Pointer) && (inner == 0 || Walk.Stride(n, 0) % elements == 0) && (tensor.DType == type || tensor.DType == DType.Float32);
                if (!fits) return false;
                Steps |= 1 << n;
            }
            Columns = Walk.Size(inner);
            int vectors = (Columns + elements - 1) / elements;
            long all = vectors * (inner == 0 ? 1L : Walk.Size(0));
            if (all > int.MaxValue / 2) return false;
            (RowVectors, Vectors, IsEven) = (new Divider(vectors), (uint)all, areStepping && Columns % elements == 0 ? 1 : 0);
            return true;
        }
    }

    [InlineArray(3)]
    private struct Pointers
    {
        private nint _first;
    }

    [InlineArray(2)]
    private struct Targets
    {
        private TargetArgument _first;
    }
}

/// <summary>Division of numbers below 2^31 by a positive one, as kernels do it: the twin of vector.cuh's.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct Divider
{
    private readonly uint _divisor, _multiplier, _shift;

    public Divider(int divisor)
    {
        _divisor = (uint)divisor;
        _shift = divisor == 1 ? 0 : (uint)BitOperations.Log2((uint)divisor - 1) + 1;
        _multiplier = (uint)(((1UL << 32) * ((1UL << (int)_shift) - (uint)divisor) / (uint)divisor) + 1);
    }

    /// <summary>As kernels compute it.</summary>
    public uint Divide(uint number) => ((uint)(((ulong)_multiplier * number) >> 32) + number) >> (int)_shift;
}

/// <summary>Five operands, three inputs and two results; those that are missing have stride 0.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StridedWalk5
{
    public int Rank;
    private Sizes _sizes;
    private Strides _strides;

    public StridedWalk5(Shape shape, ReadOnlySpan<Tensor?> operands)
    {
        var strides = new long[5][];
        for (int n = 0; n < 5; n++) strides[n] = operands[n] is { } tensor ? StridedWalk.Broadcast(tensor, shape) : new long[shape.Rank];
        Rank = StridedWalk.Merge(shape.Dimensions, strides, _sizes, _strides);
    }

    public readonly int Size(int dimension) => _sizes[dimension];

    public readonly long Stride(int operand, int dimension) => _strides[(operand * StridedWalk.MaxRank) + dimension];

    [InlineArray(5 * StridedWalk.MaxRank)]
    private struct Strides
    {
        private long _first;
    }
}
