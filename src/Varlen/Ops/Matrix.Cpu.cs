using System.Numerics;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IMatrixProductKernels
{
    // A product below this is not worth splitting: a batch of such is spread over the team instead.
    private const double SmallProduct = 1 << 23;

    public void Multiply(Matrix a, Matrix b, Matrix c, bool accumulate, Tensor? bias, double alpha, int batch)
    {
        // A transposed result is the product of the transposed factors in the other order.
        if (c.IsTransposed) (a, b, c) = (b.Transposed, a.Transposed, c.Transposed);
        var products = new Products { A = a, B = b, C = c, Accumulate = accumulate, Alpha = alpha, Bias = bias, Team = Team };
        if (batch > 1 && 2.0 * a.Rows * a.Columns * b.Columns < SmallProduct)
        {
            double work = 2.0 * batch * a.Rows * a.Columns * b.Columns;
            Team.For(batch, ref products, (int)Math.Clamp(work / (1 << 20), 1, 1024));
            return;
        }
        for (int i = 0; i < batch; i++) products.Invoke(i, 0);
    }

    public void ColumnSums(Tensor rows, GradientTarget target, double scale)
    {
        var kernel = new RowSumKernel { Backend = this, Values = rows, Target = target, Scale = scale };
        Rows.Dispatch(rows.DType, ref kernel);
    }

    private struct Products : IParallelItems
    {
        public Matrix A, B, C;
        public bool Accumulate;
        public double Alpha;
        public Tensor? Bias;
        public ThreadTeam Team;

        public readonly void Invoke(long item, int worker)
        {
            Matrix a = A.At(item), b = B.At(item), c = C.At(item);
            Gemm.Run(Team, new GemmArguments
            {
                M = c.Rows, N = c.Columns, K = a.Columns, TransposeA = a.IsTransposed, TransposeB = b.IsTransposed, Alpha = Alpha, Beta = Accumulate ? 1 : 0,
                A = (void*)a.Data, AType = a.DType, LdA = a.Stride, B = (void*)b.Data, BType = b.DType, LdB = b.Stride, C = (void*)c.Data, CType = c.DType, LdC = c.Stride,
                Bias = Bias is null ? null : (void*)Bias.Pointer, BiasType = Bias?.DType ?? c.DType,
            });
        }
    }

    private struct RowSumKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Values;
        public GradientTarget Target;
        public double Scale;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            int columns = Values.Shape[-1];
            var terms = new Terms<T, A> { Values = Values.Data<T>(), Columns = columns, Scale = A.CreateTruncating(Scale) };
            Backend.ForRowsWithSums<Terms<T, A>, A>(columns == 0 ? 0 : Values.Count / columns, columns, ref terms, Target);
        }

        private struct Terms<T, A> : IRowRun<A> where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public T* Values;
            public int Columns;
            public A Scale;

            public readonly void Invoke(long first, long end, A* sums)
            {
                A* scratch = Scratch.Get<A>(Columns);
                Vector<A> scale = Vector.Create(Scale);
                for (long row = first; row < end; row++)
                {
                    A* values = Rows.Read(Values + row * Columns, Columns, scratch);
                    int i = 0;
                    for (; i <= Columns - Vector<A>.Count; i += Vector<A>.Count) (Vector.Load(sums + i) + Vector.Load(values + i) * scale).Store(sums + i);
                    for (; i < Columns; i++) sums[i] += values[i] * Scale;
                }
            }
        }
    }
}
