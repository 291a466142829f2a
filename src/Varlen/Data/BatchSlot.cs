using System.Runtime.InteropServices;
using Varlen.Backends;
using Varlen.Ops;

namespace Varlen.Data;

/// <summary>
/// A batch of a fixed number of rows, into which one batch after the other is put. Rows behind its last one are padding that belongs to no sequence:
/// token 0 at position 0, no target, attention 0.
/// </summary>
internal sealed class BatchSlot : TokenBatch
{
    private readonly BatchLimits _limits;
    private readonly SlotAttention _attention;
    private readonly int[] _staged;
    private readonly Tensor _all, _covered;
    private TokenBatch? _batch;

    /// <param name="limits">Of the batches.</param>
    /// <param name="longest">Most rows of a sequence.</param>
    /// <param name="device">Where the step runs.</param>
    /// <param name="keepsAddresses">Whether what kernels read of a batch must stay where it is.</param>
    public BatchSlot(BatchLimits limits, int longest, Device device, bool keepsAddresses)
        : base(limits.Tokens, device, out Tensor all)
    {
        (_limits, _all, _staged) = (limits, all, new int[all.Shape[0]]);
        // Behind the three parts of ids.
        _covered = all.UntrackedView([], [], all.Count - 1).Keep();
        Attention = _attention = new SlotAttention(limits, longest, keepsAddresses ? _covered : null);
        Layout = SequenceLayout.FromLengths([]);
    }

    /// <summary>Puts a batch here that passes <see cref="Check"/>, in order with the device's work. It may be disposed when the step has been started.</summary>
    public void Fill(TokenBatch batch)
    {
        _batch = batch;
        if (batch.Tokens.Device == Device.Cpu) Send(batch);
        else Copy(batch);
        _attention.Set(batch);
        (Layout, TargetCount, LargestToken, LargestPosition) = (batch.Layout, batch.TargetCount, Math.Max(0, batch.LargestToken), Math.Max(0, batch.LargestPosition));
        RefillDropoutKeys();
    }

    /// <summary>Refuses a batch that does not go in here.</summary>
    /// <exception cref="ArgumentException">The batch is above the limits, or of another kind; the message says what.</exception>
    public void Check(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.Rows > _limits.Tokens) throw new ArgumentException($"the batch has {batch.Rows} rows, and the step was captured for at most {_limits.Tokens}; raise BatchLimits.Tokens or make smaller batches", nameof(batch));
        if (batch.Layout.Count > _limits.Sequences) throw new ArgumentException($"the batch has {batch.Layout.Count} sequences, and the step was captured for at most {_limits.Sequences}; raise BatchLimits.Sequences or make smaller batches", nameof(batch));
        _attention.Check(batch);
        if (batch.Tokens.Device != Device.Cpu && batch.Tokens.Device != Tokens.Device) throw new ArgumentException($"the batch is on {batch.Tokens.Device}, the step on {Tokens.Device}; make batches there or on the CPU", nameof(batch));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _covered.Dispose();
        _all.Dispose();
        base.Dispose(disposing);
    }

    private protected override (long[] Documents, int[] Positions) HostDropoutKeys()
    {
        (long[] documents, int[] positions) = HostDropoutKeys(_batch!);
        Array.Resize(ref documents, Rows);
        Array.Resize(ref positions, Rows);
        return (documents, positions);
    }

    // In one transfer.
    private unsafe void Send(TokenBatch batch)
    {
        Part(batch.Tokens, 0, 0);
        Part(batch.Targets, 1, PackedBatch.IgnoreIndex);
        Part(batch.Positions, 2, 0);
        _staged[^1] = batch.Rows;
        Tokens.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(_staged.AsSpan()), _all.Pointer);

        void Part(Tensor source, int index, int padding)
        {
            Span<int> part = _staged.AsSpan(index * Stride(Rows), Stride(Rows));
            new ReadOnlySpan<int>(source.Data<int>(), batch.Rows).CopyTo(part);
            part[batch.Rows..].Fill(padding);
        }
    }

    private void Copy(TokenBatch batch)
    {
        Backend backend = Tokens.Device.Backend;
        int rows = batch.Rows;
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
}
