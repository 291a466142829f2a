using Varlen.Backends.Cpu.Attention;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed partial class CpuBackend
{
    // A multiple of the query blocks of every vector width.
    private const int AlignedQueries = AttentionShape.VectorsPerBlock * 16;

    /// <summary>
    /// Attention of new tokens after cached ones, with the bits that their rows have in attention over the whole sequence. The order of sums
    /// depends on a row's place in its block of queries, so blocks are made to start where they start there: rows of zeros go first.
    /// </summary>
    private void ForwardAligned(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse)
    {
        (SequenceLayout queries, SequenceLayout keys) = (call.Query!, call.Key!);
        var lengths = new int[queries.Count];
        for (int i = 0; i < lengths.Length; i++) lengths[i] = queries.Lengths[i] + Missing(i);
        using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
        int heads = query.Shape[1];
        Shape shape = [layout.TotalTokens, heads, query.Shape[2]];
        using Tensor aligned = Tensor.AllocateUntracked(shape, query.DType, query.Device), results = Tensor.AllocateUntracked(shape, query.DType, query.Device);
        using Tensor sums = Tensor.AllocateUntracked([heads, layout.TotalTokens], lse.DType, query.Device);
        Fill(aligned, 0);
        for (int i = 0; i < lengths.Length; i++) Move(query, aligned, i, intoAligned: true);
        Forward(call with { Query = layout }, aligned, key, value, null, results, sums);
        for (int i = 0; i < lengths.Length; i++)
        {
            Move(output, results, i, intoAligned: false);
            (int start, int length) = queries[i];
            using Tensor plain = lse.UntrackedView([heads, length], lse.Strides.ToArray(), start), there = sums.UntrackedView([heads, length], sums.Strides.ToArray(), layout.CuSeqlens[i] + Missing(i));
            Copy(there, plain, accumulate: false);
        }

        int Missing(int sequence)
        {
            // With the other alignment the first new token is the sequence's first.
            int before = call.Options.Alignment == AttentionAlignment.BottomRight ? keys.Lengths[sequence] - queries.Lengths[sequence] : 0;
            return before > 0 && queries.Lengths[sequence] > 0 ? before % AlignedQueries : 0;
        }

        void Move(Tensor rows, Tensor alignedRows, int sequence, bool intoAligned)
        {
            (int start, int length) = queries[sequence];
            using Tensor plain = Part(rows, start, length), there = Part(alignedRows, layout.CuSeqlens[sequence] + Missing(sequence), length);
            if (intoAligned) Copy(plain, there, accumulate: false);
            else Copy(there, plain, accumulate: false);
        }

        static Tensor Part(Tensor rows, int start, int length)
            => rows.UntrackedView([length, rows.Shape[1], rows.Shape[2]], rows.Strides.ToArray(), start * rows.Strides[0]);
    }
}
