namespace Varlen.Data;

/// <summary>Cuts documents into sequences of a plan. A document of n tokens has n - 1 links from a token to the next; sequences are runs of links.</summary>
internal sealed class SequenceCutting(TokenStore store, int context)
{
    private int _lastCut = -1;

    public int Context => context;

    public Part Training { get; } = new();

    public Part HeldOut { get; } = new();

    /// <summary>Tokens of sequences of which no target is trained.</summary>
    public long LeftOut { get; private set; }

    /// <summary>Documents longer than the context.</summary>
    public int CutDocuments { get; private set; }

    public long Links(int document) => Math.Max(0, store.Length(document) - 1);

    public void Train(int document, long from, long to) => Cut(Training, document, from, to);

    public void HoldOut(int document, long from, long to) => Cut(HeldOut, document, from, to);

    private void Cut(Part part, int document, long from, long to)
    {
        if (document != _lastCut && Links(document) > context) CutDocuments++;
        _lastCut = document;
        for (long start = from; start < to; start += context)
        {
            int length = (int)Math.Min(context, to - start);
            long targets = store.CountTrained(document, start + 1, length);
            if (targets == 0) LeftOut += length;
            else part.Add(new(document, start, length), targets);
        }
    }

    /// <summary>The sequences that are trained, or held out.</summary>
    public sealed class Part
    {
        public List<SequenceChunk> Chunks { get; } = [];

        public long Tokens { get; private set; }

        public long Targets { get; private set; }

        public void Add(SequenceChunk chunk, long targets)
        {
            Chunks.Add(chunk);
            (Tokens, Targets) = (Tokens + chunk.Length, Targets + targets);
        }
    }
}
