using System.Runtime.InteropServices;
using Varlen.Text;

namespace Varlen.Data;

/// <summary>Takes documents in pieces of any size and handles them in blocks that are cut between words.</summary>
internal abstract class TextSink
{
    private readonly byte[] _block = new byte[1 << 18];
    private int _count;
    private bool _empty;

    public virtual void Begin() => (_count, _empty) = (0, true);

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

    /// <summary>Ends a document; false when there was nothing in it.</summary>
    public bool End()
    {
        if (_empty) return false;
        Handle(_block.AsSpan(0, _count));
        Finish();
        return true;
    }

    public virtual void Abandon() { }

    protected abstract int StablePrefix(ReadOnlySpan<byte> utf8);

    protected abstract void Handle(ReadOnlySpan<byte> utf8);

    protected virtual void Finish() { }

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

    public override void Abandon() => writer.AbandonDocument();

    protected override int StablePrefix(ReadOnlySpan<byte> utf8) => tokenizer.StablePrefix(utf8);

    protected override void Handle(ReadOnlySpan<byte> utf8)
    {
        _ids.Clear();
        tokenizer.Encode(utf8, _ids);
        writer.Append(CollectionsMarshal.AsSpan(_ids));
    }

    protected override void Finish()
    {
        writer.Append([tokenizer.EndOfText]);
        writer.EndDocument();
    }
}

/// <summary>Counts the words of documents.</summary>
internal sealed class WordSink(BytePairTrainer trainer) : TextSink
{
    protected override int StablePrefix(ReadOnlySpan<byte> utf8) => WordSplitter.StablePrefix(utf8);

    protected override void Handle(ReadOnlySpan<byte> utf8) => trainer.Add(utf8);
}
