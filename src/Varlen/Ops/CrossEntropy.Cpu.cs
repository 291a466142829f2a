using System.Numerics;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : ICrossEntropyKernels
{
    public void CrossEntropyForward(Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, Tensor loss)
    {
        using Tensor losses = Tensor.AllocateUntracked(targets.Shape, DType.Float64, logits.Device);
        var kernel = new CrossEntropyForwardKernel { Backend = this, Logits = logits, Targets = new TargetReader(targets, ignoreIndex), Statistics = statistics, Losses = losses };
        Rows.Dispatch(logits.DType, ref kernel);
        WriteSum(losses, scale, loss);
    }

    public void CrossEntropyBackward(
        Tensor lossGradient, Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, GradientTarget logitsGradient)
    {
        var kernel = new CrossEntropyBackwardKernel
        {
            Backend = this, Logits = logits, Targets = new TargetReader(targets, ignoreIndex), Statistics = statistics, Gradient = logitsGradient, Factor = lossGradient.Item() * scale,
        };
        Rows.Dispatch(logits.DType, ref kernel);
    }

    /// <summary>The sum in the order of rows: it depends on nothing else.</summary>
    private static void WriteSum(Tensor losses, double scale, Tensor loss)
    {
        double sum = 0;
        double* values = losses.Data<double>();
        for (long row = 0; row < losses.Count; row++) sum += values[row];
        sum *= scale;
        Rows.Write(&sum, (void*)loss.Pointer, loss.DType, 1, accumulate: false);
    }

    /// <summary>Class numbers of either width.</summary>
    private readonly struct TargetReader(Tensor targets, long ignoreIndex)
    {
        private readonly nint _data = targets.Pointer;
        private readonly bool _wide = targets.DType == DType.Int64;
        private readonly long _ignoreIndex = ignoreIndex;

        public long Count { get; } = targets.Count;

        /// <summary>The target of a row, or -1 when it is ignored.</summary>
        public int At(long row)
        {
            long target = _wide ? ((long*)_data)[row] : ((int*)_data)[row];
            return target == _ignoreIndex ? -1 : (int)target;
        }
    }

    private struct CrossEntropyForwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Logits, Statistics, Losses;
        public TargetReader Targets;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var rows = new Body<T, A> { Classes = Logits.Shape[-1], Logits = Logits.Data<T>(), Targets = Targets, Statistics = Statistics.Data<A>(), Losses = Losses.Data<double>() };
            Backend.ForRows(Targets.Count, rows.Classes, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Classes;
            public T* Logits;
            public TargetReader Targets;
            public A* Statistics;
            public double* Losses;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(Classes);
                for (long row = first; row < end; row++)
                {
                    int target = Targets.At(row);
                    Losses[row] = 0;
                    if (target < 0) continue;
                    A* x = Rows.Read(Logits + row * Classes, Classes, scratch);
                    A max = SoftmaxRow.Max(x, Classes), sum = SoftmaxRow.SumExp(x, max, Classes);
                    // Not as one log-sum-exp: beside a large maximum the logarithm's digits would be lost.
                    Statistics[2 * row] = max;
                    Statistics[2 * row + 1] = A.One / sum;
                    Losses[row] = double.CreateTruncating(A.Log(sum) + (max - x[target]));
                }
            }
        }
    }

    private struct CrossEntropyBackwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Logits, Statistics;
        public TargetReader Targets;
        public GradientTarget Gradient;
        public double Factor;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var rows = new Body<T, A>
            {
                Classes = Logits.Shape[-1], Logits = Logits.Data<T>(), Targets = Targets, Statistics = Statistics.Data<A>(), Gradient = Gradient, Factor = A.CreateTruncating(Factor),
            };
            Backend.ForRows(Targets.Count, rows.Classes, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Classes;
            public T* Logits;
            public TargetReader Targets;
            public A* Statistics;
            public GradientTarget Gradient;
            public A Factor;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(2L * Classes);
                DType type = Gradient.Tensor!.DType;
                bool direct = !Gradient.Accumulate && type == DTypes.Of<A>();
                for (long row = first; row < end; row++)
                {
                    byte* destination = (byte*)Gradient.Tensor.Pointer + row * Classes * type.Size();
                    A* y = direct ? (A*)destination : scratch + Classes;
                    int target = Targets.At(row);
                    if (target < 0)
                    {
                        if (Gradient.Accumulate) continue;
                        new Span<A>(y, Classes).Clear();
                    }
                    else
                    {
                        SoftmaxRow.ScaledExp(Rows.Read(Logits + row * Classes, Classes, scratch), Statistics[2 * row], Statistics[2 * row + 1] * Factor, y, Classes);
                        y[target] -= Factor;
                    }
                    Rows.Write(y, destination, type, Classes, Gradient.Accumulate);
                }
            }
        }
    }
}
