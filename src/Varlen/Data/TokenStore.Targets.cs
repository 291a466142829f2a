using System.Numerics;

namespace Varlen.Data;

public sealed unsafe partial class TokenStore
{
    /// <summary>Whether all tokens are trained as targets; only of prompts and conversations some are not.</summary>
    public bool IsTrainedWhole => !_header.HasMarks;

    /// <summary>Copies ids of a document as targets: <see cref="PackedBatch.IgnoreIndex"/> in place of those that are not trained.</summary>
    /// <inheritdoc cref="CopyTokens"/>
    public void CopyTargets(int document, long start, Span<int> destination)
    {
        CopyTokens(document, start, destination);
        if (IsTrainedWhole) return;
        long first = Table[document] + start;
        for (int i = 0; i < destination.Length; i++)
            if ((Marks[(first + i) >> 6] >> (int)((first + i) & 63) & 1) == 0) destination[i] = PackedBatch.IgnoreIndex;
        GC.KeepAlive(this);
    }

    /// <summary>How many of a document's tokens are trained as targets.</summary>
    /// <param name="document">Index of the document.</param>
    /// <param name="start">First token, counted from the document's start.</param>
    /// <param name="count">Number of tokens.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such document, or the tokens lie outside of it.</exception>
    public long CountTrained(int document, long start, long count)
    {
        long length = Length(document);
        if (start < 0 || count < 0 || start > length - count)
            throw new ArgumentOutOfRangeException(nameof(start), start, $"{count} tokens from there lie outside of document {document}, which has {length}");
        if (IsTrainedWhole || count == 0) return count;
        long first = Table[document] + start, end = first + count, trained = 0;
        for (long word = first >> 6; word <= (end - 1) >> 6; word++)
            trained += BitOperations.PopCount(Marks[word] & TrainedMarks.Mask((int)Math.Max(0, first - (word << 6)), (int)Math.Min(64, end - (word << 6))));
        GC.KeepAlive(this);
        return trained;
    }

    private ulong* Marks => (ulong*)(_start + _header.MarksStart);
}
