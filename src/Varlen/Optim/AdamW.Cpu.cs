using System.Numerics;
using Varlen.Optim;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IAdamWKernels
{
    public void AdamW(IReadOnlyList<ParameterUpdate> updates, AdamWOptions options, Tensor stepState, Tensor updateCount)
    {
        var step = *(StepState.Values*)stepState.Pointer;
        if (step.Finite == 0) return;
        long count = ++*updateCount.Data<long>();
        UpdateAll(updates, new AdamWRule
        {
            LearningRate = step.LearningRate, ClipFactor = step.ClipFactor, Beta1 = options.Beta1, Beta2 = options.Beta2, Epsilon = options.Epsilon,
            StepSize = step.LearningRate / (1 - Math.Pow(options.Beta1, count)), RootScale = 1 / Math.Sqrt(1 - Math.Pow(options.Beta2, count)),
        });
    }

    private struct AdamWRule : IUpdateRule
    {
        public double LearningRate, ClipFactor, Beta1, Beta2, Epsilon, StepSize, RootScale;

        public readonly void Apply<A>(A* p, A* g, A* m, A* v, int length, double weightDecay) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            A clip = A.CreateTruncating(ClipFactor), toMean = A.CreateTruncating(1 - Beta1), beta2 = A.CreateTruncating(Beta2), toSquare = A.CreateTruncating(1 - Beta2);
            A keep = A.CreateTruncating(1 - LearningRate * weightDecay), size = A.CreateTruncating(StepSize), scale = A.CreateTruncating(RootScale), epsilon = A.CreateTruncating(Epsilon);
            Vector<A> epsilons = Vector.Create(epsilon);
            int i = 0;
            for (; i <= length - Vector<A>.Count; i += Vector<A>.Count)
            {
                Vector<A> gradient = Vector.Load(g + i) * clip, mean = Vector.Load(m + i);
                mean += (gradient - mean) * toMean;
                Vector<A> square = Vector.Load(v + i) * beta2 + gradient * gradient * toSquare;
                mean.Store(m + i);
                square.Store(v + i);
                (Vector.Load(p + i) * keep - mean * size / (Vector.SquareRoot(square) * scale + epsilons)).Store(p + i);
            }
            for (; i < length; i++)
            {
                A gradient = g[i] * clip;
                m[i] += (gradient - m[i]) * toMean;
                v[i] = v[i] * beta2 + gradient * gradient * toSquare;
                p[i] = p[i] * keep - m[i] * size / (A.Sqrt(v[i]) * scale + epsilon);
            }
        }
    }
}
