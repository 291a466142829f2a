using System.Numerics;
using Varlen.Autograd;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend
{
    public void NormBackward(
        Tensor outputGradient, Tensor? sumGradient, Tensor input, Tensor? weight, Tensor? mean, Tensor rstd,
        GradientTarget inputGradient, GradientTarget addendGradient, GradientTarget weightGradient, GradientTarget biasGradient)
    {
        var kernel = new NormBackwardKernel
        {
            Backend = this, OutputGradient = outputGradient, SumGradient = sumGradient, Input = input, Weight = weight, Mean = mean, Rstd = rstd,
            InputGradient = inputGradient, AddendGradient = addendGradient, WeightGradient = weightGradient, BiasGradient = biasGradient,
        };
        Rows.Dispatch(input.DType, ref kernel);
    }

    private struct NormBackwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor OutputGradient, Input, Rstd;
        public Tensor? SumGradient, Weight, Mean;
        public GradientTarget InputGradient, AddendGradient, WeightGradient, BiasGradient;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var rows = new Body<T, A>
            {
                Features = Input.Shape[-1], Dy = OutputGradient.Data<T>(), X = Input.Data<T>(), Rstd = Rstd.Data<A>(),
                DSum = OptionalData<T>(SumGradient), W = OptionalData<T>(Weight), Mean = OptionalData<A>(Mean),
                First = InputGradient, Second = AddendGradient, WantsWeight = WeightGradient.IsWanted, WantsBias = BiasGradient.IsWanted,
            };
            Backend.ForRowsWithSums<Body<T, A>, A>(Rstd.Count, rows.Features, ref rows, WeightGradient, BiasGradient);
        }

        private struct Body<T, A> : IRowRun<A> where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public T* Dy, DSum, X, W;
            public A* Mean, Rstd;
            public GradientTarget First, Second;
            public bool WantsWeight, WantsBias;

            public readonly void Invoke(long first, long end, A* sums)
            {
                A* scratch = Scratch.Get<A>(5L * Features), staged = scratch + 4L * Features;
                A* w = NormRow.Parameter(W, Features, A.One, scratch);
                A* dw = WantsWeight ? sums : null, db = WantsBias ? sums + Features : null;
                // Single- and double-precision rows go straight to where they belong.
                bool direct = First is { Tensor: { } target, Accumulate: false } && !Second.IsWanted && target.DType == DTypes.Of<A>();
                for (long row = first; row < end; row++)
                {
                    long at = row * Features;
                    A* dy = Rows.Read(Dy + at, Features, scratch + Features), x = Rows.Read(X + at, Features, scratch + 2L * Features);
                    A* passed = DSum == null ? null : Rows.Read(DSum + at, Features, scratch + 3L * Features);
                    A mean = Mean == null ? A.Zero : Mean[row];
                    A* dx = !First.IsWanted ? null : direct ? First.Tensor!.Data<A>() + at : staged;
                    NormRow.Gradients(dy, x, w, passed, mean, Rstd[row], Mean != null, dx, dw, db, Features);
                    if (!direct && First.IsWanted) Write(First, dx, at);
                    if (Second.IsWanted) Write(Second, dx, at);
                }
            }

            private readonly void Write(GradientTarget target, A* values, long at)
                => Rows.Write(values, (byte*)target.Tensor!.Pointer + at * target.Tensor.DType.Size(), target.Tensor.DType, Features, target.Accumulate);
        }
    }
}
