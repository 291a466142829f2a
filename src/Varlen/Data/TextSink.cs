using System.Runtime.InteropServices;
using Varlen.Text;

namespace Varlen.Data;

/// <summary>Takes documents in pieces of any size and handles them in blocks that are cut between words.</summary>
internal abstract class TextSink
{
    private readonly byte[] _block = new byte[1 << 18];
    private int _count;
    private bool _empty;

    /// <summary>Whether what is handled is trained.</summary>
    protected bool Trained { get; private set; }

    public virtual void Begin() => (_count, _empty, Trained) = (0, true, true);

    public void Write(ReadOnlySpan<byte> utf8)
    {
        while (!utf8.IsEmpty)
        {
            int count = Math.Min(utf8.Length, _block.Length - _count);
            utf8[..count].CopyTo(_block.AsSpan(_count));
            utf8 = utf8[count..];
            _count += count;
            _empty = false;
            if (_count == _block.Length) Cut();
        }
    }

    /// <summary>Begins a part of the document: no token stands for text of both sides.</summary>
    public void Part(bool trained)
    {
        if (_count > 0) Handle(_block.AsSpan(0, _count));
        (_count, Trained) = (0, trained);
    }

    /// <summary>Writes a special token.</summary>
    public void Token(int id)
    {
        Part(Trained);
        _empty = false;
        HandleToken(id);
    }

    /// <summary>Ends a document; false when there was nothing in it.</summary>
    public bool End(RecordKind kind)
    {
        if (_empty) return false;
        Part(trained: true);
        Finish(kind);
        return true;
    }

    public virtual void Abandon() { }

    protected abstract int StablePrefix(ReadOnlySpan<byte> utf8);

    protected abstract void Handle(ReadOnlySpan<byte> utf8);

    protected virtual void HandleToken(int id) { }

    protected virtual void Finish(RecordKind kind) { }

    // A word that fills the whole block is cut at its end.
    private void Cut()
    {
        int length = StablePrefix(_block);
        if (length == 0) length = Utf8Text.Complete(_block);
        Handle(_block.AsSpan(0, length));
        _block.AsSpan(length).CopyTo(_block);
        _count -= length;
    }
}

/// <summary>Writes the ids of documents to a store.</summary>
internal sealed class TokenSink(Tokenizer tokenizer, TokenStoreWriter writer) : TextSink
{
    private readonly List<int> _ids = [];
    private readonly SortedDictionary<RecordKind, RecordCount> _counts = [];
    private long _tokens, _targets;
    private bool _first;

    /// <summary>What was written, by kind.</summary>
    public IReadOnlyList<RecordCount> Counts => [.. _counts.Values];

    public override void Begin()
    {
        base.Begin();
        _first = true;
    }

    public override void Abandon() => writer.AbandonDocument();

    protected override int StablePrefix(ReadOnlySpan<byte> utf8) => tokenizer.StablePrefix(utf8);

    protected override void Handle(ReadOnlySpan<byte> utf8)
    {
        _ids.Clear();
        if (_first) _ids.AddRange(tokenizer.PrefixTokens);
        _first = false;
        tokenizer.Encode(utf8, _ids);
        writer.Append(CollectionsMarshal.AsSpan(_ids), Trained);
    }

    // A conversation that begins with a token of its format has no other before it.
    protected override void HandleToken(int id)
    {
        _first = false;
        writer.Append([id], Trained);
    }

    protected override void Finish(RecordKind kind)
    {
        // A conversation ends as its format says.
        if (kind != RecordKind.Messages) writer.Append([tokenizer.EndOfText]);
        writer.EndDocument();
        RecordCount count = _counts.GetValueOrDefault(kind) ?? new(kind, 0, 0, 0);
        _counts[kind] = count with { Documents = count.Documents + 1, Tokens = count.Tokens + writer.Tokens - _tokens, TrainedTargets = count.TrainedTargets + writer.TrainedTargets - _targets };
        (_tokens, _targets) = (writer.Tokens, writer.TrainedTargets);
    }
}

/// <summary>Counts the words of documents.</summary>
internal sealed class WordSink(BytePairTrainer trainer) : TextSink
{
    protected override int StablePrefix(ReadOnlySpan<byte> utf8) => WordSplitter.StablePrefix(utf8);

    protected override void Handle(ReadOnlySpan<byte> utf8) => trainer.Add(utf8);
}
