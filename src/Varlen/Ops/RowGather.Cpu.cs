using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IRowGatherKernels
{
    public void GatherRows(Tensor source, ReadOnlySpan<int> indices, Tensor destination, double fill, bool accumulate)
    {
        if (indices.Length == 0 || destination.Count == 0) return;
        long features = destination.Count / indices.Length;
        using Tensor rows = destination.UntrackedView([indices.Length, checked((int)features)], [features, 1], 0);
        if (!accumulate && indices.Contains(-1)) Fill(rows, fill);
        // Runs of consecutive rows move as one block: a padded batch has one run per sequence.
        for (int i = 0; i < indices.Length;)
        {
            int run = 1;
            while (i + run < indices.Length && indices[i + run] == indices[i] + run && indices[i] >= 0) run++;
            if (indices[i] >= 0)
            {
                Shape block = [run, (int)features];
                using Tensor from = source.UntrackedView(block, [features, 1], indices[i] * features), to = rows.UntrackedView(block, [features, 1], i * features);
                Copy(from, to, accumulate);
            }
            i += run;
        }
    }
}
