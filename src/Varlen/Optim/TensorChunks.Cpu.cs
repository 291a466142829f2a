using System.Numerics;
using Varlen.Optim;

namespace Varlen.Backends.Cpu;

/// <summary>A stretch of one of several tensors: what one worker takes at a time.</summary>
internal readonly record struct TensorChunk(int Tensor, long Start, int Length)
{
    private const int Elements = 16384;

    /// <summary>Cuts tensors into chunks of a fixed size, so that a result gathered chunk by chunk depends on nothing else.</summary>
    public static TensorChunk[] Cut(IEnumerable<Tensor> tensors)
    {
        List<TensorChunk> chunks = [];
        int index = 0;
        foreach (Tensor tensor in tensors)
        {
            for (long start = 0; start < tensor.Count; start += Elements) chunks.Add(new(index, start, (int)Math.Min(Elements, tensor.Count - start)));
            index++;
        }
        return [.. chunks];
    }
}

/// <summary>An optimiser's formula on a stretch of one parameter.</summary>
internal unsafe interface IUpdateRule
{
    /// <param name="p">Parameters, read and written.</param>
    /// <param name="g">Gradients, to be multiplied by the clip factor.</param>
    /// <param name="first">First value kept per parameter, read and written; null when there is none.</param>
    /// <param name="second">Second one.</param>
    /// <param name="length">Elements.</param>
    /// <param name="weightDecay">The parameter's weight decay.</param>
    void Apply<A>(A* p, A* g, A* first, A* second, int length, double weightDecay) where A : unmanaged, IBinaryFloatingPointIeee754<A>;
}

internal sealed unsafe partial class CpuBackend
{
    /// <summary>Runs a rule over all parameters as one job, and refreshes 16-bit copies while the new values are in the cache.</summary>
    private void UpdateAll<TRule>(IReadOnlyList<ParameterUpdate> updates, TRule rule) where TRule : struct, IUpdateRule
    {
        var items = new UpdateItems<TRule> { Updates = updates, Chunks = TensorChunk.Cut(updates.Select(update => update.Master)), Rule = rule };
        Team.For(items.Chunks.Length, ref items);
    }

    private struct UpdateItems<TRule> : IParallelItems where TRule : struct, IUpdateRule
    {
        private const int Block = 2048;

        public IReadOnlyList<ParameterUpdate> Updates;
        public TensorChunk[] Chunks;
        public TRule Rule;

        public readonly void Invoke(long item, int worker)
        {
            TensorChunk chunk = Chunks[item];
            ParameterUpdate update = Updates[chunk.Tensor];
            if (update.Master.DType == DType.Float64) Run<double>(update, chunk);
            else Run<float>(update, chunk);
        }

        private readonly void Run<A>(in ParameterUpdate update, TensorChunk chunk) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            long end = chunk.Start + chunk.Length;
            for (long at = chunk.Start; at < end; at += Block)
            {
                int length = (int)Math.Min(Block, end - at);
                A* master = update.Master.Data<A>() + at;
                Rule.Apply(master, update.Gradient.Data<A>() + at, State<A>(update, 0, at), State<A>(update, 1, at), length, update.WeightDecay);
                if (update.Copy is { } copy) Rows.Write(master, (byte*)copy.Pointer + at * copy.DType.Size(), copy.DType, length, accumulate: false);
            }
        }

        private static A* State<A>(in ParameterUpdate update, int index, long at) where A : unmanaged
            => index < update.State.Length ? update.State[index]!.Data<A>() + at : null;
    }
}
