using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>An attention call in terms of raw memory, alive for one kernel.</summary>
internal readonly unsafe ref struct CpuAttentionCall : IDisposable
{
    private readonly Allocator _allocator;
    private readonly AttentionSequence* _sequences;
    private readonly long _bytes;
    private readonly int* _pages;
    private readonly long _pageBytes;
    private readonly bool _dense;
    // Double precision holds the slopes of every type exactly.
    private readonly Tensor? _slopes;

    public CpuAttentionCall(CpuBackend backend, AttentionCall call, Tensor query, Tensor key, Tensor? mask)
    {
        _allocator = backend.Allocator;
        _dense = call.IsDense;
        int count = call.Query?.Count ?? query.Shape[0];
        _bytes = Math.Max(1L, count) * sizeof(AttentionSequence);
        _sequences = (AttentionSequence*)_allocator.Allocate(_bytes);
        if (call.Table is { } table)
        {
            _pageBytes = Math.Max(1L, table.Table.Length) * sizeof(int);
            _pages = (int*)_allocator.Allocate(_pageBytes);
            table.Table.CopyTo(new Span<int>(_pages, table.Table.Length));
        }
        for (int i = 0; i < count; i++)
            _sequences[i] = call is { Query: { } queries, Key: { } keys }
                ? new AttentionSequence
                {
                    QueryToken = queries.CuSeqlens[i], QueryLength = queries.Lengths[i], KeyToken = call.KeyStarts?[i] ?? keys.CuSeqlens[i], KeyLength = keys.Lengths[i],
                    DocumentKey = queries.DocumentKeys[i],
                    Pages = _pages == null ? null : _pages + ((long)i * call.Table!.Columns), PageSize = call.PageSize,
                }
                : new AttentionSequence { Batch = i, QueryLength = query.Shape[2], KeyLength = key.Shape[2], DocumentKey = (ulong)i };
        AttentionOptions options = call.Options;
        Problem = new AttentionProblem
        {
            QueryHeads = query.Shape[1], KeyHeads = key.Shape[1], HeadDim = query.Shape[-1],
            Sequences = _sequences, SequenceCount = count,
            Window = options.Window, Alignment = options.Alignment, Scale = call.Scale, Softcap = options.Softcap ?? 0,
            AlibiSlopes = (_slopes = options.AlibiSlopes?.UntrackedCopy(DType.Float64, Device.Cpu)) is { } slopes ? slopes.Data<double>() : null,
            Mask = mask is null ? default : Broadcast(mask),
        };
        if (options.Dropout is { Probability: > 0 } dropout)
        {
            Optim.StepState.Values state = *(Optim.StepState.Values*)dropout.State.Buffer.Pointer;
            (Problem.Dropout, Problem.DropoutSeed, Problem.DropoutStep, Problem.DropoutLayer) = (dropout.Probability, state.Seed, state.Step, dropout.Layer);
        }
    }

    public readonly AttentionProblem Problem;

    public AttentionOperand Operand(Tensor? tensor) => tensor is null ? default : new AttentionOperand
    {
        Data = (void*)tensor.Pointer, DType = tensor.DType,
        BatchStride = _dense ? tensor.Strides[0] : 0, TokenStride = tensor.Strides[_dense ? 2 : 0], HeadStride = tensor.Strides[1],
    };

    public AttentionOperand Operand(GradientTarget target)
    {
        AttentionOperand operand = Operand(target.Tensor);
        operand.Accumulate = target.Accumulate;
        return operand;
    }

    /// <summary>A log-sum-exp, [heads, tokens] packed or [batch, heads, tokens] dense.</summary>
    public AttentionOperand Statistic(Tensor? tensor) => tensor is null ? default : new AttentionOperand
    {
        Data = (void*)tensor.Pointer, DType = tensor.DType,
        BatchStride = _dense ? tensor.Strides[0] : 0, TokenStride = tensor.Strides[^1], HeadStride = tensor.Strides[^2],
    };

    public void Dispose()
    {
        _slopes?.Dispose();
        _allocator.Free((nint)_sequences, _bytes);
        if (_pages != null) _allocator.Free((nint)_pages, _pageBytes);
    }

    private static AttentionMask Broadcast(Tensor mask)
    {
        Span<long> strides = stackalloc long[4];
        for (int i = 1; i <= mask.Shape.Rank; i++) strides[4 - i] = mask.Shape[-i] == 1 ? 0 : mask.Strides[^i];
        return new AttentionMask { Data = (void*)mask.Pointer, DType = mask.DType, BatchStride = strides[0], HeadStride = strides[1], QueryStride = strides[2], KeyStride = strides[3] };
    }
}
