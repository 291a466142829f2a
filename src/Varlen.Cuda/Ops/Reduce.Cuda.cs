using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IReductionKernels
{
    private const int StripThreads = 32;
    // Runs of a result, at most, and terms of a run, at least. Both depend on the number of terms alone, and so do the bits.
    private const long MostRuns = 1024, RunTermsAlongRows = 16384, RunTermsOfColumns = 256;

    private static readonly KernelFamily
        ReduceRowsKernel = new("reduce.cu", "reduce_rows", KernelOption.FloatingPoint("ELEMENT")),
        ReduceColumnsKernel = new("reduce.cu", "reduce_columns", KernelOption.FloatingPoint("ELEMENT")),
        ReduceRunsKernel = new("reduce.cu", "reduce_runs", KernelOption.FloatingPoint("ELEMENT")),
        MaximaRows = new("reduce.cu", "maxima_rows", KernelOption.FloatingPoint("ELEMENT")),
        MaximaStrided = new("reduce.cu", "maxima_strided", KernelOption.FloatingPoint("ELEMENT"));

    public void Reduce(Reduction reduction, Tensor input, Tensor output, double scale, bool accumulate)
    {
        RequireComputeType(reduction.ToString(), input);
        if (output.Count == 0) return;
        var (kept, reduced) = (new Axes(input, output, reduced: false), new Axes(input, output, reduced: true));
        bool alongRows = kept.Rank == 0 || (reduced.Rank > 0 && reduced.InnerStride <= kept.InnerStride);
        int elements = 16 / input.DType.Size();
        Axes inner = alongRows ? reduced : kept, outer = alongRows ? kept : reduced;
        bool isVector = IsAligned(input.Pointer) && inner.IsMultipleOf(elements, alongRows ? 1 : StridedWalk.MaxRank, innerIsDense: true) && outer.IsMultipleOf(elements, StridedWalk.MaxRank, innerIsDense: false)
            && (alongRows || inner.Inner % elements == 0);
        long least = alongRows ? RunTermsAlongRows : RunTermsOfColumns, runTerms = Math.Max(1, (reduced.Count + (MostRuns * least) - 1) / (MostRuns * least)) * least;
        var arguments = new ReduceArguments
        {
            Input = input.Pointer, Output = TargetArgument.From(new GradientTarget(output, accumulate)), Outputs = kept.Count, Terms = reduced.Count,
            Runs = Math.Max(1, (reduced.Count + runTerms - 1) / runTerms), RunTerms = runTerms, IsMax = reduction == Reduction.Max ? 1 : 0, IsVector = isVector ? 1 : 0,
            RowThreads = reduced.Count <= 2048 ? 32 : 256, Scale = (float)scale, Kept = kept, Reduced = reduced,
        };
        using Tensor? partials = arguments.Runs > 1 ? Tensor.AllocateUntracked([checked((int)arguments.Runs), checked((int)kept.Count)], DType.Float32, Device) : null;
        arguments.Partials = partials?.Pointer ?? 0;
        int strip = StripThreads * (isVector ? elements : 1);
        if (alongRows) Launch(ReduceRowsKernel.With(input.DType), ((kept.Count * arguments.Runs * arguments.RowThreads) + 255) / 256, 256, in arguments);
        else Launch(ReduceColumnsKernel.With(input.DType), (kept.Count + strip - 1) / strip * arguments.Runs, 256, in arguments);
        if (arguments.Runs > 1) Launch(ReduceRunsKernel.With(input.DType), (kept.Count + StripThreads - 1) / StripThreads, 1024, in arguments);
    }

    public void Spread(Tensor source, double scale, GradientTarget destination)
    {
        if (destination.IsWanted) Pointwise(UnaryForwardRows, UnaryForwardStrided, destination.Tensor!.Shape, [source], destination, function: (int)UnaryFunction.Scale, constant: scale);
    }

    public void MarkMaximum(Tensor input, Tensor maximum, Tensor mark) => Pointwise(MaximaRows, MaximaStrided, mark.Shape, [input, maximum], new GradientTarget(mark, false));

    public void SelectMaximum(Tensor input, Tensor maximum, Tensor value, GradientTarget destination)
        => Pointwise(MaximaRows, MaximaStrided, input.Shape, [input, maximum, value], destination, function: 1);

    [StructLayout(LayoutKind.Sequential)]
    private struct ReduceArguments
    {
        public nint Input;
        public TargetArgument Output;
        public nint Partials;
        public long Outputs, Terms, Runs, RunTerms;
        public int IsMax, IsVector, RowThreads;
        public float Scale;
        public Axes Kept, Reduced;
    }

    /// <summary>The dimensions that a reduction keeps, or those that it reduces, merged where they lie behind each other.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Axes
    {
        public int Rank;
        private readonly int _padding;
        private Lengths _sizes, _input, _output;

        public Axes(Tensor input, Tensor output, bool reduced)
        {
            for (int i = 0; i < input.Shape.Rank; i++)
            {
                int size = input.Shape[i];
                if (size == 1 || (output.Shape[i] == 1) != reduced) continue;
                long a = input.Strides[i], b = reduced ? 0 : output.Strides[i];
                if (Rank > 0 && _input[Rank - 1] == a * size && _output[Rank - 1] == b * size) size = checked((int)(size * _sizes[Rank - 1]));
                else if (Rank++ == StridedWalk.MaxRank) throw new NotSupportedException($"a reduction of a view with more than {StridedWalk.MaxRank} dimensions that cannot be merged is not supported; call Contiguous()");
                (_sizes[Rank - 1], _input[Rank - 1], _output[Rank - 1]) = (size, a, b);
            }
        }

        public readonly long Count
        {
            get
            {
                long count = 1;
                for (int d = 0; d < Rank; d++) count *= _sizes[d];
                return count;
            }
        }

        public readonly long Inner => Rank == 0 ? 1 : _sizes[Rank - 1];

        public readonly long InnerStride => Rank == 0 ? 1 : _input[Rank - 1];

        /// <summary>Whether vectors can be read: the innermost dimension is dense, or not part of them, and each other one starts where a vector does.</summary>
        public readonly bool IsMultipleOf(int elements, int mostRank, bool innerIsDense)
        {
            if (Rank > mostRank || (innerIsDense && (Rank == 0 || _input[Rank - 1] != 1))) return false;
            for (int d = 0; d < Rank - (innerIsDense ? 1 : 0); d++)
                if (_input[d] % elements != 0) return false;
            return true;
        }
    }

    [InlineArray(StridedWalk.MaxRank)]
    private struct Lengths
    {
        private long _first;
    }
}
