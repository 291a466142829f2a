using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IRowGatherKernels
{
    public void GatherRows(Tensor source, Tensor indices, Tensor destination, double fill, bool accumulate)
    {
        if (destination.Count > 0) GatherRows(source, new ReadOnlySpan<int>(indices.Data<int>(), checked((int)indices.Count)), destination, fill, accumulate);
    }

    private void GatherRows(Tensor source, ReadOnlySpan<int> indices, Tensor destination, double fill, bool accumulate)
    {
        long features = destination.Count / indices.Length, sourceStride = RowGather.Stride(source, features), stride = RowGather.Stride(destination, features);
        using Tensor rows = destination.UntrackedView([indices.Length, checked((int)features)], [stride, 1], 0);
        if (!accumulate && indices.Contains(-1)) Fill(rows, fill);
        // Runs of consecutive rows move as one block: a padded batch has one run per sequence.
        for (int i = 0; i < indices.Length;)
        {
            int run = 1;
            while (i + run < indices.Length && indices[i + run] == indices[i] + run && indices[i] >= 0) run++;
            if (indices[i] >= 0)
            {
                Shape block = [run, (int)features];
                using Tensor from = source.UntrackedView(block, [sourceStride, 1], indices[i] * sourceStride), to = rows.UntrackedView(block, [stride, 1], i * stride);
                Copy(from, to, accumulate);
            }
            i += run;
        }
    }
}
