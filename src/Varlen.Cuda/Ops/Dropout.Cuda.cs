using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Nn;
using Varlen.Ops;
using Varlen.Optim;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IDropoutKernels
{
    private static readonly KernelFamily DropoutKernel = new("dropout.cu", "dropout", KernelOption.FloatingPoint("ELEMENT"));

    public void Dropout(Tensor input, double probability, StepState state, int layer, DropoutKeys keys, GradientTarget output)
    {
        RequireComputeType("Dropout", input);
        if (!output.IsWanted || input.Count == 0) return;
        int features = input.Shape[-1], elements = 16 / input.DType.Size(), vectors = (features + elements - 1) / elements;
        long rows = input.Count / features;
        // A few vectors for each thread of a row, because each works its document's key out; neighbouring rows mostly share it.
        int rowThreads = (int)Math.Min(BitOperations.RoundUpToPowerOf2((uint)vectors), Math.Clamp(BitOperations.RoundUpToPowerOf2((uint)(vectors + 3) / 4), 8, 32)), blockRows = 256 / rowThreads;
        int threadRows = (int)Math.Clamp(rows / (8L * MultiprocessorCount * blockRows), 1, 8);
        Tensor target = output.Tensor!;
        var arguments = new DropoutArguments
        {
            Input = input.Pointer, Output = TargetArgument.From(output), State = state.Buffer.Pointer, Documents = keys.Documents?.Pointer ?? 0, Positions = keys.Positions?.Pointer ?? 0,
            Rows = rows, Features = features, Threshold = (uint)Math.Min(Math.Floor(probability * 4294967296.0), uint.MaxValue), Layer = (uint)layer, Scale = (float)(1 / (1 - probability)),
            RowThreads = rowThreads, ThreadRows = threadRows,
            IsVector = features % elements == 0 && IsAligned(input.Pointer) && IsAligned(target.Pointer) && (target.DType == input.DType || target.DType == DType.Float32) ? 1 : 0,
        };
        Launch(DropoutKernel.With(input.DType), (rows + ((long)blockRows * threadRows) - 1) / ((long)blockRows * threadRows), 256, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DropoutArguments
    {
        public nint Input;
        public TargetArgument Output;
        public nint State, Documents, Positions;
        public long Rows;
        public int Features;
        public uint Threshold, Layer;
        public float Scale;
        public int RowThreads, ThreadRows, IsVector;
    }
}
