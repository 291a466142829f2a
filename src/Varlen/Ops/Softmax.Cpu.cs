using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : ISoftmaxKernels
{
    public void SoftmaxForward(Tensor input, Tensor output, bool logarithm)
    {
        var kernel = new SoftmaxForwardKernel { Backend = this, Input = input, Output = output, Logarithm = logarithm };
        if (input.Count > 0) Rows.Dispatch(input.DType, ref kernel);
    }

    public void SoftmaxBackward(Tensor outputGradient, Tensor output, bool logarithm, GradientTarget inputGradient)
    {
        var kernel = new SoftmaxBackwardKernel { Backend = this, OutputGradient = outputGradient, Output = output, InputGradient = inputGradient, Logarithm = logarithm };
        if (inputGradient.IsWanted && output.Count > 0) Rows.Dispatch(output.DType, ref kernel);
    }

    private struct SoftmaxForwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Input, Output;
        public bool Logarithm;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            int features = Input.Shape[-1];
            var rows = new Body<T, A> { Features = features, Logarithm = Logarithm, Input = Input.Data<T>(), Output = Output.Data<T>() };
            Backend.ForRows(Input.Count / features, features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public bool Logarithm;
            public T* Input, Output;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(2L * Features);
                for (long row = first; row < end; row++)
                {
                    A* x = Rows.Read(Input + row * Features, Features, scratch);
                    A* y = typeof(T) == typeof(A) ? (A*)(Output + row * Features) : scratch + Features;
                    double maximum = double.CreateTruncating(RowReduction<MaxReduction>.Of(x, Features));
                    VectorLoop.Run(new ExpOfDifference { Subtracted = maximum }, x, null, null, y, null, Features);
                    double sum = double.CreateTruncating(RowReduction<SumReduction>.Of(y, Features));
                    if (Logarithm) VectorLoop.Run(new TwiceSubtracted { First = maximum, Second = Math.Log(sum) }, x, null, null, y, null, Features);
                    else VectorLoop.Run(new UnaryForward<Scaled> { Constant = 1 / sum }, y, null, null, y, null, Features);
                    Rows.Write(y, Output + row * Features, Features, accumulate: false);
                }
            }
        }
    }

    private struct SoftmaxBackwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor OutputGradient, Output;
        public GradientTarget InputGradient;
        public bool Logarithm;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            int features = Output.Shape[-1];
            var rows = new Body<T, A>
            {
                Features = features, Logarithm = Logarithm, Dy = OutputGradient.Data<T>(), Y = Output.Data<T>(), Dx = InputGradient.Tensor!, Accumulate = InputGradient.Accumulate,
            };
            Backend.ForRows(Output.Count / features, features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public bool Logarithm;
            public T* Dy, Y;
            public Tensor Dx;
            public bool Accumulate;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(3L * Features), dx = scratch + 2L * Features;
                for (long row = first; row < end; row++)
                {
                    A* dy = Rows.Read(Dy + row * Features, Features, scratch);
                    A* y = Rows.Read(Y + row * Features, Features, scratch + Features);
                    if (Logarithm)
                        VectorLoop.Run(new LogSoftmaxGradient { Sum = double.CreateTruncating(RowReduction<SumReduction>.Of(dy, Features)) }, dy, y, null, dx, null, Features);
                    else
                        VectorLoop.Run(new SoftmaxGradient { Dot = double.CreateTruncating(RowMath.Dot(dy, y, Features)) }, dy, y, null, dx, null, Features);
                    Rows.Write(dx, (byte*)Dx.Pointer + row * Features * Dx.DType.Size(), Dx.DType, Features, Accumulate);
                }
            }
        }
    }

    private readonly struct ExpOfDifference : IElementwise
    {
        public double Subtracted { get; init; }
        public static int Inputs => 1;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (VectorFunctions.ExpWithoutDenormals(a - new Vector<A>(A.CreateTruncating(Subtracted))), default);
    }

    private readonly struct TwiceSubtracted : IElementwise
    {
        public double First { get; init; }
        public double Second { get; init; }
        public static int Inputs => 1;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (a - new Vector<A>(A.CreateTruncating(First)) - new Vector<A>(A.CreateTruncating(Second)), default);
    }

    private readonly struct SoftmaxGradient : IElementwise
    {
        public double Dot { get; init; }
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = ((a - new Vector<A>(A.CreateTruncating(Dot))) * b, default);
    }

    private readonly struct LogSoftmaxGradient : IElementwise
    {
        public double Sum { get; init; }
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (a - VectorFunctions.ExpWithoutDenormals(b) * A.CreateTruncating(Sum), default);
    }
}
