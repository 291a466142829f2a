using System.Numerics;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IRmsNormKernels
{
    public void RmsNormForward(Tensor input, Tensor weight, double epsilon, Tensor output, Tensor rstd)
    {
        var kernel = new RmsNormForwardKernel { Backend = this, Input = input, Weight = weight, Epsilon = epsilon, Output = output, Rstd = rstd };
        Rows.Dispatch(input.DType, ref kernel);
    }

    public void RmsNormBackward(Tensor outputGradient, Tensor input, Tensor weight, Tensor rstd, GradientTarget inputGradient, GradientTarget weightGradient)
    {
        var kernel = new RmsNormBackwardKernel
        {
            Backend = this, OutputGradient = outputGradient, Input = input, Weight = weight, Rstd = rstd, InputGradient = inputGradient, WeightGradient = weightGradient,
        };
        Rows.Dispatch(input.DType, ref kernel);
    }

    private struct RmsNormForwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Input, Weight, Output, Rstd;
        public double Epsilon;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var rows = new Body<T, A>
            {
                Features = Input.Shape[-1], Epsilon = A.CreateTruncating(Epsilon),
                Input = Input.Data<T>(), Weight = Weight.Data<T>(), Output = Output.Data<T>(), Rstd = Rstd.Data<A>(),
            };
            Backend.ForRows(Rstd.Count, rows.Features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public A Epsilon;
            public T* Input, Weight, Output;
            public A* Rstd;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(3L * Features);
                A* w = Rows.Read(Weight, Features, scratch);
                A* y = scratch + 2L * Features;
                for (long row = first; row < end; row++)
                {
                    A* x = Rows.Read(Input + row * Features, Features, scratch + Features);
                    A r = A.One / A.Sqrt(RowMath.Dot(x, x, Features) / A.CreateTruncating(Features) + Epsilon);
                    Rstd[row] = r;
                    int i = 0;
                    for (; i <= Features - Vector<A>.Count; i += Vector<A>.Count) (Vector.Load(x + i) * r * Vector.Load(w + i)).Store(y + i);
                    for (; i < Features; i++) y[i] = x[i] * r * w[i];
                    Rows.Write(y, Output + row * Features, Features, accumulate: false);
                }
            }
        }
    }

    private struct RmsNormBackwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor OutputGradient, Input, Weight, Rstd;
        public GradientTarget InputGradient, WeightGradient;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            int features = Input.Shape[-1];
            // The parameter gradient first: the destination of the input's gradient may be the memory of the output's.
            if (WeightGradient.IsWanted)
            {
                var columns = new ColumnBody<T, A> { Features = features, Dy = OutputGradient.Data<T>(), X = Input.Data<T>(), Rstd = Rstd.Data<A>() };
                Backend.SumColumns<ColumnBody<T, A>, A>(Rstd.Count, features, columns, WeightGradient);
            }
            if (!InputGradient.IsWanted) return;
            var rows = new RowBody<T, A>
            {
                Features = features, Dy = OutputGradient.Data<T>(), X = Input.Data<T>(), W = Weight.Data<T>(), Rstd = Rstd.Data<A>(), Dx = InputGradient.Tensor!, Accumulate = InputGradient.Accumulate,
            };
            Backend.ForRows(Rstd.Count, features, ref rows);
        }

        private struct RowBody<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public T* Dy, X, W;
            public A* Rstd;
            public Tensor Dx;
            public bool Accumulate;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(4L * Features);
                A* w = Rows.Read(W, Features, scratch);
                A* g = scratch + 3L * Features;
                for (long row = first; row < end; row++)
                {
                    A* dy = Rows.Read(Dy + row * Features, Features, scratch + Features);
                    A* x = Rows.Read(X + row * Features, Features, scratch + 2L * Features);
                    A r = Rstd[row], dot = A.Zero;
                    for (int i = 0; i < Features; i++)
                    {
                        g[i] = dy[i] * w[i];
                        dot += g[i] * x[i];
                    }
                    A k = dot * r * r / A.CreateTruncating(Features);
                    for (int i = 0; i < Features; i++) g[i] = r * (g[i] - x[i] * k);
                    Rows.Write(g, (byte*)Dx.Pointer + row * Features * Dx.DType.Size(), Dx.DType, Features, Accumulate);
                }
            }
        }

        private struct ColumnBody<T, A> : IColumnTerm<A> where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public T* Dy, X;
            public A* Rstd;

            public readonly void Add(long row, int first, int length, A* sums)
            {
                A* scratch = Scratch.Get<A>(2L * length);
                A* dy = Rows.Read(Dy + row * Features + first, length, scratch);
                A* x = Rows.Read(X + row * Features + first, length, scratch + length);
                A r = Rstd[row];
                for (int i = 0; i < length; i++) sums[i] += dy[i] * x[i] * r;
            }
        }
    }
}
