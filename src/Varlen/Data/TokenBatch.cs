using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Varlen.Nn;

namespace Varlen.Data;

/// <summary>
/// Sequences of one training or evaluation step as rows of a model's activations: the currency between data and model. What differs
/// between its kinds is where padding stands, if anywhere, and how rows attend to each other.
/// </summary>
/// <remarks>Owns its tensors, its layout and its strategy.</remarks>
public abstract class TokenBatch : IDisposable
{
    // Elements; parts of what is sent begin where the widest loads are aligned.
    private const int SendAlignment = 64;

    private readonly int[]? _slots;
    private DropoutKeys _dropoutKeys;

    // Rows without a slot are padding: token 0, position 0, no target. Nothing that counts reads them.
    private protected TokenBatch(
        IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, PaddedIndices? padding, AttentionStrategy attention, Device? device, ReadOnlySpan<int> firstPositions = default)
    {
        (Layout, Attention, _slots) = (layout, attention, padding?.Slots.ToArray());
        int rows = padding is null ? layout.TotalTokens : padding.Batch * padding.SequenceLength;
        int[] tokens = new int[rows], targets = new int[rows], positions = new int[rows];
        Array.Fill(targets, PackedBatch.IgnoreIndex);
        for (int i = 0; i < sequences.Count; i++)
        {
            (int start, int length) = layout[i];
            if (length == 0) continue;
            int row = RowOf(start);
            sequences[i].Tokens.Span.CopyTo(tokens.AsSpan(row));
            sequences[i].Targets.Span.CopyTo(targets.AsSpan(row));
            layout.PositionIds.Slice(start, length).CopyTo(positions.AsSpan(row));
            foreach (int id in tokens.AsSpan(row, length)) LargestToken = Math.Max(LargestToken, id);
            foreach (int id in targets.AsSpan(row, length))
            {
                LargestToken = Math.Max(LargestToken, id);
                if (id != PackedBatch.IgnoreIndex) TargetCount++;
            }
            foreach (ref int position in positions.AsSpan(row, length))
            {
                if (!firstPositions.IsEmpty) position += firstPositions[i];
                LargestPosition = Math.Max(LargestPosition, position);
            }
        }
        if (device is not null) layout.CuSeqlensOn(device);
        (Tokens, Targets, Positions) = Send(tokens, targets, positions, device ?? Device.Cpu);
    }

    // Rows without padding, whose ids were checked as they were read.
    private protected TokenBatch(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, SequenceLayout layout, AttentionStrategy attention, Device? device)
    {
        (Layout, Attention) = (layout, attention);
        (Tokens, Targets, Positions) = Send(tokens, targets, positions, device ?? Device.Cpu);
        if (tokens.IsEmpty) return;
        LargestToken = Math.Max(TensorPrimitives.Max(tokens), TensorPrimitives.Max(targets));
        LargestPosition = TensorPrimitives.Max(positions);
        TargetCount = tokens.Length - targets.Count(PackedBatch.IgnoreIndex);
    }

    // Rows that are filled later; what derives from TokenBatch sets the rest. All of them lie in one block, with room for one more number at its end.
    private protected TokenBatch(int rows, Device device, out Tensor all)
    {
        all = Tensor.AllocateUntracked([(3 * Stride(rows)) + SendAlignment], DType.Int32, device);
        (Tokens, Targets, Positions) = Parts(all, rows);
        (Layout, Attention) = (null!, null!);
    }

    // Rows that are filled later, each a sequence; targets are not read, and the tokens stand in for them. What derives from TokenBatch sets the rest.
    private protected TokenBatch(Tensor tokens, Tensor positions, SequenceLayout layout)
    {
        (Tokens, Targets, Positions, Layout) = (tokens, tokens, positions, layout);
        Attention = null!;
    }

    /// <summary>Token ids, Int32 <c>[rows]</c>.</summary>
    public Tensor Tokens { get; }

    /// <summary>The id that follows each token in its document, or <see cref="PackedBatch.IgnoreIndex"/>, as in padding; Int32 <c>[rows]</c>.</summary>
    public Tensor Targets { get; }

    /// <summary>Each token's position in its sequence, Int32 <c>[rows]</c>; 0 in padding.</summary>
    public Tensor Positions { get; }

    /// <summary>The sequences of real tokens, in the order of rows.</summary>
    public SequenceLayout Layout { get; private protected set; }

    /// <summary>How the rows attend to each other.</summary>
    public AttentionStrategy Attention { get; private protected init; }

    /// <summary>Targets that count.</summary>
    public long TargetCount { get; private protected set; }

    /// <summary>Rows that a model computes, padding included.</summary>
    public int Rows => Tokens.Shape[0];

    /// <summary>Rows that are tokens.</summary>
    public int RealTokens => Layout.TotalTokens;

    /// <summary>Largest id among tokens and targets, known on the host: -1 without tokens.</summary>
    public int LargestToken { get; private protected set; } = -1;

    /// <summary>Largest position, known on the host: -1 without tokens.</summary>
    public int LargestPosition { get; private protected set; } = -1;

    /// <summary>What dropout draws from in each row; the same for a token in every kind of batch.</summary>
    internal DropoutKeys DropoutKeys => _dropoutKeys.Documents is null ? _dropoutKeys = MakeDropoutKeys() : _dropoutKeys;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what a derived batch owns beyond the common parts.</summary>
    protected virtual void Dispose(bool disposing)
    {
        Tokens.Dispose();
        Targets.Dispose();
        Positions.Dispose();
        _dropoutKeys.Documents?.Dispose();
        _dropoutKeys.Positions?.Dispose();
        Attention.Dispose();
        Layout.Dispose();
    }

    /// <summary>The row of a sequence's last token.</summary>
    /// <exception cref="ArgumentException">The sequence is empty.</exception>
    internal int LastRow(int sequence)
    {
        (int start, int length) = Layout[sequence];
        return length > 0 ? RowOf(start + length - 1) : throw new ArgumentException($"sequence {sequence} of the batch is empty; nothing follows it", nameof(sequence));
    }

    /// <summary>Checks sequences and lays them out; nothing is on a device yet.</summary>
    private protected static SequenceLayout LayoutOf(IReadOnlyList<TokenSequence> sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var lengths = new int[sequences.Count];
        for (int i = 0; i < lengths.Length; i++)
        {
            CheckIds(sequences, i);
            lengths[i] = sequences[i].Tokens.Length;
        }
        return SequenceLayout.FromLengths(lengths);
    }

    // In one transfer: a step's numbers are few, and each transfer has its price.
    private static (Tensor Tokens, Tensor Targets, Tensor Positions) Send(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, Device device)
    {
        int rows = tokens.Length, stride = Stride(rows);
        int[] staged = ArrayPool<int>.Shared.Rent(checked(3 * stride));
        Span<int> values = staged.AsSpan(0, 3 * stride);
        values.Clear();
        tokens.CopyTo(values);
        targets.CopyTo(values[stride..]);
        positions.CopyTo(values[(2 * stride)..]);
        using Tensor all = Tensor.AllocateUntracked([values.Length], DType.Int32, device);
        device.Backend.CopyFromHost(MemoryMarshal.AsBytes(values), all.Pointer);
        ArrayPool<int>.Shared.Return(staged);
        return Parts(all, rows);
    }

    private static (Tensor Tokens, Tensor Targets, Tensor Positions) Parts(Tensor all, int rows)
    {
        return (Part(0), Part(1), Part(2));

        Tensor Part(int index) => all.UntrackedView([rows], [1], (long)index * Stride(rows)).Keep();
    }

    // Elements from one part to the next.
    private protected static int Stride(int rows) => checked((rows + SendAlignment - 1) / SendAlignment * SendAlignment);

    private int RowOf(int token) => _slots is null ? token : _slots[token];

    private static void CheckIds(IReadOnlyList<TokenSequence> sequences, int sequence)
    {
        ReadOnlySpan<int> tokens = sequences[sequence].Tokens.Span, targets = sequences[sequence].Targets.Span;
        if (targets.Length != tokens.Length)
            throw new ArgumentException($"sequence {sequence} has {tokens.Length} tokens and {targets.Length} targets; give each token one target", nameof(sequences));
        for (int i = 0; i < tokens.Length; i++)
        {
            if (tokens[i] < 0) throw new ArgumentException($"token {i} of sequence {sequence} is {tokens[i]}; ids count from 0", nameof(sequences));
            if (targets[i] < 0 && targets[i] != PackedBatch.IgnoreIndex)
                throw new ArgumentException($"target {i} of sequence {sequence} is {targets[i]}; ids count from 0, and {PackedBatch.IgnoreIndex} is a target that does not count", nameof(sequences));
        }
    }

    private protected static (long[] Documents, int[] Positions) HostDropoutKeys(TokenBatch batch) => batch.HostDropoutKeys();

    /// <summary>Brings keys that were made before up to date, where they are.</summary>
    private protected void RefillDropoutKeys()
    {
        if (_dropoutKeys.Documents is not { } documents || _dropoutKeys.Positions is not { } positions) return;
        (long[] keys, int[] places) = HostDropoutKeys();
        Tokens.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes<long>(keys), documents.Pointer);
        Tokens.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes<int>(places), positions.Pointer);
    }

    private DropoutKeys MakeDropoutKeys()
    {
        (long[] documents, int[] positions) = HostDropoutKeys();
        return new DropoutKeys(Tensor.From(documents, [Rows], Tokens.Device).Keep(), Tensor.From(positions, [Rows], Tokens.Device).Keep());
    }

    private protected virtual (long[] Documents, int[] Positions) HostDropoutKeys()
    {
        var documents = new long[Rows];
        var positions = new int[Rows];
        for (int sequence = 0; sequence < Layout.Count; sequence++)
        {
            (int start, int length) = Layout[sequence];
            for (int i = 0; i < length; i++) (documents[RowOf(start + i)], positions[RowOf(start + i)]) = ((long)Layout.DocumentKeys[sequence], i);
        }
        return (documents, positions);
    }
}
