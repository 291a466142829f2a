using System.Runtime.InteropServices;
using Varlen.Backends;
using Varlen.Nn;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>
/// A batch of a fixed number of rows, into which one batch after the other is put. Rows behind its last token are padding that belongs to no sequence:
/// token 0 at position 0, no target, attention 0.
/// </summary>
internal sealed class BatchSlot : TokenBatch
{
    private readonly BatchLimits _limits;
    private readonly LayoutSlot? _layouts;
    private readonly int[] _staged;
    private readonly Tensor _all, _covered;
    private readonly int _longest;

    /// <param name="limits">Of the batches.</param>
    /// <param name="longest">Most tokens of a sequence.</param>
    /// <param name="device">Where the step runs.</param>
    /// <param name="keepsAddresses">Whether what kernels read of a batch must stay where it is.</param>
    public BatchSlot(BatchLimits limits, int longest, Device device, bool keepsAddresses)
        : base(limits.Tokens, device, out Tensor all)
    {
        (_limits, _longest, _all, Attention) = (limits, longest, all, new SlotAttention(this));
        _staged = new int[all.Shape[0]];
        // Behind the three parts of ids.
        _covered = all.UntrackedView([], [], all.Count - 1).Keep();
        if (keepsAddresses) _layouts = new LayoutSlot(limits, longest, _covered);
        Layout = SequenceLayout.FromLengths([]);
    }

    /// <summary>Puts a batch here, in order with the device's work. The batch may be disposed right afterwards if the slot keeps addresses, else after the step.</summary>
    /// <param name="batch">Packed, on the host or on the slot's device.</param>
    public void Fill(TokenBatch batch)
    {
        (int rows, int stride) = (batch.Rows, Stride(Rows));
        if (batch.Tokens.Device == Device.Cpu) Send(batch, rows, stride);
        else Copy(batch, rows);
        Layout = _layouts is null ? batch.Layout : _layouts.Set(batch.Layout);
        (TargetCount, LargestToken, LargestPosition) = (batch.TargetCount, Math.Max(0, batch.LargestToken), Math.Max(0, batch.LargestPosition));
        RefillDropoutKeys();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _layouts?.Dispose();
        _covered.Dispose();
        _all.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Refuses a batch that does not go in here.</summary>
    /// <exception cref="ArgumentException">The batch is above the limits, or of another kind; the message says what.</exception>
    public void Check(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        const string parameter = nameof(batch);
        if (batch.Attention is not PackedAttention) throw new ArgumentException($"a captured step takes packed batches, not {batch.GetType().Name}; pack the sequences with PackedBatch.Create", parameter);
        if (batch.Rows > _limits.Tokens) throw new ArgumentException($"the batch has {batch.Rows} tokens, and the step was captured for at most {_limits.Tokens}; raise BatchLimits.Tokens or make smaller batches", parameter);
        if (batch.Layout.Count > _limits.Sequences) throw new ArgumentException($"the batch has {batch.Layout.Count} sequences, and the step was captured for at most {_limits.Sequences}; raise BatchLimits.Sequences or make smaller batches", parameter);
        if (batch.Layout.MaxLength > _longest) throw new ArgumentException($"the batch has a sequence of {batch.Layout.MaxLength} tokens, and the model takes at most {_longest}; cut sequences with TokenSequence.Cut", parameter);
        if (batch.Tokens.Device != Device.Cpu && batch.Tokens.Device != Tokens.Device) throw new ArgumentException($"the batch is on {batch.Tokens.Device}, the step on {Tokens.Device}; make batches there or on the CPU", parameter);
    }

    // In one transfer.
    private unsafe void Send(TokenBatch batch, int rows, int stride)
    {
        Span<int> staged = _staged;
        Part(batch.Tokens, 0, 0);
        Part(batch.Targets, 1, PackedBatch.IgnoreIndex);
        Part(batch.Positions, 2, 0);
        staged[^1] = rows;
        Tokens.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(staged), _all.Pointer);

        void Part(Tensor source, int index, int padding)
        {
            Span<int> part = _staged.AsSpan(index * stride, stride);
            new ReadOnlySpan<int>(source.Data<int>(), rows).CopyTo(part);
            part[rows..].Fill(padding);
        }
    }

    private void Copy(TokenBatch batch, int rows)
    {
        Backend backend = Tokens.Device.Backend;
        Part(batch.Tokens, Tokens, 0);
        Part(batch.Targets, Targets, PackedBatch.IgnoreIndex);
        Part(batch.Positions, Positions, 0);
        backend.CopyFromHost(MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in rows)), _covered.Pointer);

        void Part(Tensor source, Tensor destination, double padding)
        {
            backend.Copy(source.Pointer, destination.Pointer, (long)rows * sizeof(int));
            using Tensor rest = destination.UntrackedView([destination.Shape[0] - rows], [1], rows);
            ElementwiseCopy.Fill(rest, padding);
        }
    }

    private sealed class SlotAttention(BatchSlot slot) : AttentionStrategy
    {
        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
            => F.VarlenAttention(query, key, value, slot.Layout, slot.Layout, Options(layer) with { TailPolicy = TailPolicy.Padding });
    }
}
