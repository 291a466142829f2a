using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cpu;

/// <summary>A function of one value that is recomputed, not saved, for its gradient.</summary>
internal interface IActivation
{
    static abstract Vector<A> Value<A>(Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>;

    static abstract Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>;
}

internal sealed unsafe partial class CpuBackend
{
    /// <summary>
    /// Gradients of an activation of input + bias: of the input, and summed over rows of the bias, in one pass. The input's may be
    /// written over the output's.
    /// </summary>
    private void ActivationBackward<TActivation>(Tensor outputGradient, Tensor input, Tensor? bias, GradientTarget inputGradient, GradientTarget biasGradient)
        where TActivation : struct, IActivation
    {
        if (biasGradient.IsWanted)
        {
            var kernel = new BiasedActivationKernel<TActivation>
            {
                Backend = this, OutputGradient = outputGradient, Input = input.Contiguous(), Bias = bias!, InputGradient = inputGradient, BiasGradient = biasGradient,
            };
            Rows.Dispatch(input.DType, ref kernel);
        }
        else if (inputGradient.IsWanted && bias is null) Map(default(ActivationGradient<TActivation>), input.Shape, outputGradient, input, null, inputGradient);
        else if (inputGradient.IsWanted) Map(default(ActivationGradientOfSum<TActivation>), input.Shape, outputGradient, input, bias, inputGradient);
    }

    private readonly struct ActivationOf<TActivation> : IElementwise where TActivation : struct, IActivation
    {
        public static int Inputs => 1;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TActivation.Value(a), default);
    }

    private readonly struct ActivationOfSum<TActivation> : IElementwise where TActivation : struct, IActivation
    {
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TActivation.Value(a + b), default);
    }

    private readonly struct ActivationGradient<TActivation> : IElementwise where TActivation : struct, IActivation
    {
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TActivation.Gradient(a, b), default);
    }

    private readonly struct ActivationGradientOfSum<TActivation> : IElementwise where TActivation : struct, IActivation
    {
        public static int Inputs => 3;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TActivation.Gradient(a, b + c), default);
    }

    private struct BiasedActivationKernel<TActivation> : ITypedKernel where TActivation : struct, IActivation
    {
        public CpuBackend Backend;
        public Tensor OutputGradient, Input, Bias;
        public GradientTarget InputGradient, BiasGradient;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            int features = Bias.Shape[0];
            if (features == 0) return;
            // The input's gradient is dense when it is its own buffer or the output's; a slice of a wider one goes through memory of its own.
            Tensor? target = InputGradient.Tensor;
            bool isDense = target is null || target.IsContiguous;
            Tensor? dense = isDense ? target : Tensor.Allocate(target!.Shape, target.DType, target.Device);
            var run = new Body<T, A>
            {
                Features = features, Dy = OutputGradient.Data<T>(), X = Input.Data<T>(), Bias = Bias.Data<T>(),
                Dx = dense is null ? null : (byte*)dense.Pointer, DxType = dense?.DType ?? DType.Float32, Accumulate = isDense && InputGradient.Accumulate,
            };
            Backend.ForRowsWithSums<Body<T, A>, A>(Input.Count / features, features, ref run, BiasGradient);
            if (!isDense) Backend.Copy(dense!, target!, InputGradient.Accumulate);
        }

        private struct Body<T, A> : IRowRun<A> where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public T* Dy, X, Bias;
            public byte* Dx;
            public DType DxType;
            public bool Accumulate;

            public readonly void Invoke(long first, long end, A* sums)
            {
                A* scratch = Scratch.Get<A>(4L * Features), g = scratch + 3L * Features;
                A* bias = Rows.Read(Bias, Features, scratch);
                for (long row = first; row < end; row++)
                {
                    A* dy = Rows.Read(Dy + row * Features, Features, scratch + Features);
                    A* x = Rows.Read(X + row * Features, Features, scratch + 2L * Features);
                    VectorLoop.Run(default(ActivationGradientOfSum<TActivation>), dy, x, bias, g, null, Features);
                    if (Dx != null) Rows.Write(g, Dx + row * Features * DxType.Size(), DxType, Features, Accumulate);
                    Rows.Write(g, sums, Features, accumulate: true);
                }
            }
        }
    }
}
