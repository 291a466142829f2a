using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed partial class CpuBackend : IUnaryKernels
{
    public void Unary(UnaryFunction function, double constant, Tensor input, Tensor output)
    {
        var call = new UnaryForwardCall { Backend = this, Constant = constant, Input = input, Output = output };
        Dispatch(function, ref call);
    }

    public void UnaryBackward(UnaryFunction function, double constant, Tensor outputGradient, Tensor saved, GradientTarget inputGradient)
    {
        if (!inputGradient.IsWanted) return;
        var call = new UnaryBackwardCall { Backend = this, Constant = constant, OutputGradient = outputGradient, Saved = saved, InputGradient = inputGradient };
        Dispatch(function, ref call);
    }

    private static void Dispatch<TCall>(UnaryFunction function, ref TCall call) where TCall : struct, IUnaryCall
    {
        switch (function)
        {
            case UnaryFunction.AddConstant: call.Run<ConstantAdded>(); break;
            case UnaryFunction.SubtractFrom: call.Run<SubtractedFrom>(); break;
            case UnaryFunction.Scale: call.Run<Scaled>(); break;
            case UnaryFunction.DivideBy: call.Run<DividedBy>(); break;
            case UnaryFunction.DivideInto: call.Run<DividedInto>(); break;
            case UnaryFunction.Exp: call.Run<ExpOf>(); break;
            case UnaryFunction.Log: call.Run<LogOf>(); break;
            case UnaryFunction.Sqrt: call.Run<SqrtOf>(); break;
            case UnaryFunction.Tanh: call.Run<TanhOf>(); break;
            case UnaryFunction.Sigmoid: call.Run<SigmoidOf>(); break;
            case UnaryFunction.Relu: call.Run<ReluOf>(); break;
            case UnaryFunction.Silu: call.Run<SiluOf>(); break;
        }
    }

    private interface IUnaryCall
    {
        void Run<TFunction>() where TFunction : struct, IUnary;
    }

    private struct UnaryForwardCall : IUnaryCall
    {
        public CpuBackend Backend;
        public double Constant;
        public Tensor Input, Output;

        public readonly void Run<TFunction>() where TFunction : struct, IUnary
            => Backend.Map(new UnaryForward<TFunction> { Constant = Constant }, Input, null, null, Output);
    }

    private struct UnaryBackwardCall : IUnaryCall
    {
        public CpuBackend Backend;
        public double Constant;
        public Tensor OutputGradient, Saved;
        public GradientTarget InputGradient;

        public readonly void Run<TFunction>() where TFunction : struct, IUnary
            => Backend.Map(new UnaryGradient<TFunction> { Constant = Constant }, OutputGradient.Shape, OutputGradient, Saved, null, InputGradient);
    }

    /// <summary>A function of x and a constant; the gradient sees the output instead of x where that is what was saved.</summary>
    private interface IUnary
    {
        static abstract Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged;
        static abstract Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged;
    }

    private readonly struct UnaryForward<TFunction> : IElementwise where TFunction : struct, IUnary
    {
        public double Constant { get; init; }
        public static int Inputs => 1;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TFunction.Value(a, new Vector<A>(A.CreateTruncating(Constant))), default);
    }

    private readonly struct UnaryGradient<TFunction> : IElementwise where TFunction : struct, IUnary
    {
        public double Constant { get; init; }
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TFunction.Gradient(a, b, new Vector<A>(A.CreateTruncating(Constant))), default);
    }
}
