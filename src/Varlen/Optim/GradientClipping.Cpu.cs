using System.Numerics;
using Varlen.Optim;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IGradientNormKernels
{
    public void GradientNorm(IReadOnlyList<Tensor> gradients, double? maxNorm, Tensor stepState)
    {
        TensorChunk[] chunks = TensorChunk.Cut(gradients);
        var items = new SquareItems { Gradients = gradients, Chunks = chunks, Sums = new double[chunks.Length] };
        Team.For(chunks.Length, ref items);
        double sum = 0;
        foreach (double partial in items.Sums) sum += partial;
        double norm = Math.Sqrt(sum);
        var state = (StepState.Values*)stepState.Pointer;
        state->GradientNorm = norm;
        state->Finite = double.IsFinite(norm) && double.IsFinite(state->LossSum) ? 1 : 0;
        state->ClipFactor = maxNorm is { } limit && state->Finite != 0 ? Math.Min(1, limit / (norm + 1e-6)) : 1;
    }

    private struct SquareItems : IParallelItems
    {
        public IReadOnlyList<Tensor> Gradients;
        public TensorChunk[] Chunks;
        public double[] Sums;

        public readonly void Invoke(long item, int worker)
        {
            TensorChunk chunk = Chunks[item];
            Tensor gradient = Gradients[chunk.Tensor];
            switch (gradient.DType)
            {
                case DType.Float64: Sums[item] = RowMath.Dot(gradient.Data<double>() + chunk.Start, gradient.Data<double>() + chunk.Start, chunk.Length); break;
                case DType.Float32: Sums[item] = Squares(gradient.Data<float>() + chunk.Start, chunk.Length); break;
                default: throw new NotSupportedException($"the gradient norm of {gradient.DType} is not taken; parameters' gradients are Float32 or Float64");
            }
        }

        private static double Squares(float* values, int length)
        {
            // Four independent chains hide the latency of an addition.
            Vector<double> s0 = Vector<double>.Zero, s1 = s0, s2 = s0, s3 = s0;
            int width = Vector<float>.Count, i = 0;
            for (; i <= length - 2 * width; i += 2 * width)
            {
                Vector.Widen(Vector.Load(values + i), out Vector<double> a, out Vector<double> b);
                Vector.Widen(Vector.Load(values + i + width), out Vector<double> c, out Vector<double> d);
                s0 += a * a;
                s1 += b * b;
                s2 += c * c;
                s3 += d * d;
            }
            double sum = Vector.Sum((s0 + s1) + (s2 + s3));
            for (; i < length; i++) sum += (double)values[i] * values[i];
            return sum;
        }
    }
}
