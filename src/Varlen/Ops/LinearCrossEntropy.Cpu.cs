using System.Numerics;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : ILinearCrossEntropyKernels
{
    // Enough rows for a fast product with a large weight; with few classes, as many as stay in the cache.
    private const long LogitsRows = 512, LogitsBytes = 2 << 20;

    public void LinearCrossEntropyForward(Tensor input, Tensor weight, Tensor? bias, Tensor targets, long ignoreIndex, Tensor? logitsGradient, Tensor loss)
    {
        using Tensor losses = Tensor.AllocateUntracked(targets.Shape, DType.Float64, input.Device);
        var kernel = new LinearCrossEntropyKernel
        {
            Backend = this, Input = Matrix.From(input), Weight = Matrix.From(weight), Bias = bias, Targets = new TargetReader(targets, ignoreIndex), Gradient = logitsGradient, Losses = losses,
        };
        Rows.Dispatch(input.DType, ref kernel);
        WriteSum(losses, 1, loss);
    }

    public void LinearCrossEntropyBackward(
        Tensor lossGradient, Tensor logitsGradient, Tensor? input, Tensor? weight, GradientTarget inputGradient, GradientTarget weightGradient, GradientTarget biasGradient)
    {
        double factor = lossGradient.Item();
        Matrix logits = Matrix.From(logitsGradient);
        if (biasGradient.IsWanted) ColumnSums(logitsGradient, biasGradient, factor);
        if (weightGradient.Tensor is { } dw) Multiply(logits.Transposed, Matrix.From(input!), Matrix.From(dw), weightGradient.Accumulate, null, factor, 1);
        if (inputGradient.Tensor is { } dx) Multiply(logits, Matrix.From(weight!), Matrix.From(dx), inputGradient.Accumulate, null, factor, 1);
    }

    private struct LinearCrossEntropyKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Matrix Input, Weight;
        public Tensor? Bias, Gradient;
        public Tensor Losses;
        public TargetReader Targets;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            long classes = Weight.Rows, block = Math.Max(LogitsRows, LogitsBytes / Math.Max(1, classes * sizeof(A)));
            block = Math.Clamp(Targets.Count, 1, block);
            bool inPlace = Gradient is not null && typeof(T) == typeof(A);
            using Tensor? logits = inPlace ? null : Tensor.AllocateUntracked([checked((int)block), (int)classes], DTypes.Of<A>(), Losses.Device);
            for (long first = 0; first < Targets.Count; first += block)
            {
                long count = Math.Min(block, Targets.Count - first);
                var rows = new Body<T, A>
                {
                    Classes = (int)classes, First = first, Targets = Targets, Losses = Losses.Data<double>(), Gradient = Gradient is null ? null : Gradient.Data<T>() + first * classes,
                };
                rows.Logits = inPlace ? (A*)rows.Gradient : logits!.Data<A>();
                var result = new Matrix((nint)rows.Logits, DTypes.Of<A>(), count, classes, Math.Max(1, classes));
                Backend.Multiply(Input.RowRange(first, count), Weight.Transposed, result, false, Bias, 1, 1);
                Backend.ForRows(count, classes, ref rows);
            }
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Classes;
            public long First;
            public A* Logits;
            public T* Gradient;
            public TargetReader Targets;
            public double* Losses;

            public readonly void Invoke(long first, long end)
            {
                for (long row = first; row < end; row++)
                {
                    int target = Targets.At(First + row);
                    A* x = Logits + row * Classes;
                    Losses[First + row] = 0;
                    if (target < 0)
                    {
                        if (Gradient != null) new Span<T>(Gradient + row * Classes, Classes).Clear();
                        continue;
                    }
                    A max = SoftmaxRow.Max(x, Classes), below = max - x[target];
                    A sum = Gradient == null ? SoftmaxRow.SumExp(x, max, Classes) : SoftmaxRow.StoreExp(x, max, Classes);
                    Losses[First + row] = double.CreateTruncating(A.Log(sum) + below);
                    if (Gradient == null) continue;
                    SoftmaxRow.Scale(x, A.One / sum, Classes);
                    x[target] -= A.One;
                    Rows.Write(x, Gradient + row * Classes, Classes, accumulate: false);
                }
            }
        }
    }
}
