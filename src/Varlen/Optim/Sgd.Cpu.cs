using System.Numerics;
using Varlen.Optim;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : ISgdKernels
{
    public void Sgd(IReadOnlyList<ParameterUpdate> updates, SgdOptions options, Tensor stepState, Tensor updateCount)
    {
        var step = *(StepState.Values*)stepState.Pointer;
        if (step.Finite == 0) return;
        ++*updateCount.Data<long>();
        UpdateAll(updates, new SgdRule { LearningRate = step.LearningRate, ClipFactor = step.ClipFactor, Momentum = options.Momentum, Nesterov = options.Nesterov });
    }

    private struct SgdRule : IUpdateRule
    {
        public double LearningRate, ClipFactor, Momentum;
        public bool Nesterov;

        public readonly void Apply<A>(A* p, A* g, A* b, A* second, int length, double weightDecay) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            A rate = A.CreateTruncating(LearningRate), clip = A.CreateTruncating(ClipFactor), momentum = A.CreateTruncating(Momentum), decay = A.CreateTruncating(weightDecay);
            int i = 0;
            for (; i <= length - Vector<A>.Count; i += Vector<A>.Count)
            {
                Vector<A> value = Vector.Load(p + i), direction = Vector.Load(g + i) * clip + value * decay;
                if (b != null)
                {
                    Vector<A> gathered = Vector.Load(b + i) * momentum + direction;
                    gathered.Store(b + i);
                    direction = Nesterov ? direction + gathered * momentum : gathered;
                }
                (value - direction * rate).Store(p + i);
            }
            for (; i < length; i++)
            {
                A direction = g[i] * clip + p[i] * decay;
                if (b != null)
                {
                    b[i] = b[i] * momentum + direction;
                    direction = Nesterov ? direction + b[i] * momentum : b[i];
                }
                p[i] -= direction * rate;
            }
        }
    }
}
