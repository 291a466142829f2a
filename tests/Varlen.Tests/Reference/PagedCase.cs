using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Reference;

/// <summary>New tokens over cached keys on shuffled pages, where all that no sequence fills is NaN.</summary>
internal sealed class PagedCase
{
    public required (int Queries, int Keys)[] Lengths { get; init; }
    public int PageSize { get; init; } = 16;
    public int QueryHeads { get; init; } = 2;
    public int KeyHeads { get; init; } = 1;
    public int Dim { get; init; } = 16;
    public DType DType { get; init; } = DType.Float32;
    public AttentionWindow Window { get; init; } = AttentionWindow.Causal;
    public AttentionAlignment Alignment { get; init; } = AttentionAlignment.BottomRight;
    public double? Softcap { get; init; }
    public bool HasSlopes { get; init; }
    /// <summary>Pages that all sequences have in common at their beginning.</summary>
    public int Shared { get; init; }
    public int Seed { get; init; } = Numeric.FreshSeed();

    public override string ToString() => $"seed {Seed}, {DType}, pages of {PageSize}, heads {QueryHeads}/{KeyHeads}, dim {Dim}, lengths {string.Join(' ', Lengths)}, window {Window}, {Alignment}, softcap {Softcap}, slopes {HasSlopes}";

    /// <summary>Results of one call on the device over pages.</summary>
    public (Tensor Output, Tensor Lse) Paged(Device device, DType dtype)
    {
        (Tensor query, Tensor keys, Tensor values, KeyPages pages) = Make(dtype, device);
        using SequenceLayout layout = SequenceLayout.FromLengths([.. Lengths.Select(l => l.Queries)]);
        return F.VarlenAttentionWithLse(query, keys, values, layout, pages, Options(device));
    }

    public string Explain(Device device)
    {
        (Tensor query, Tensor keys, Tensor values, KeyPages pages) = Make(DType, device);
        using SequenceLayout layout = SequenceLayout.FromLengths([.. Lengths.Select(l => l.Queries)]);
        return F.ExplainVarlenAttention(query, keys, values, layout, pages, Options(device));
    }

    /// <summary>The same numbers, packed, on the CPU: the rows of queries after as many others as the sequence has keys before them.</summary>
    public (Tensor Output, Tensor Lse) Packed(DType dtype)
    {
        (Tensor query, Tensor keys, Tensor values, KeyPages pages) = Make(dtype, Device.Cpu);
        Tensor key = Tensor.Zeros([Lengths.Sum(l => l.Keys), KeyHeads, Dim], dtype), value = Tensor.Zeros(key.Shape, dtype);
        int at = 0;
        for (int i = 0; i < Lengths.Length; i++)
            for (int j = 0; j < Lengths[i].Keys; j++, at++)
            {
                int page = pages.Table[i * pages.Columns + j / PageSize];
                key.Narrow(0, at, 1).CopyFrom(keys.Narrow(0, page, 1).View(PageSize, KeyHeads, Dim).Narrow(0, j % PageSize, 1));
                value.Narrow(0, at, 1).CopyFrom(values.Narrow(0, page, 1).View(PageSize, KeyHeads, Dim).Narrow(0, j % PageSize, 1));
            }
        using SequenceLayout queries = SequenceLayout.FromLengths([.. Lengths.Select(l => l.Queries)]), all = SequenceLayout.FromLengths([.. Lengths.Select(l => l.Keys)]);
        return F.VarlenAttentionWithLse(query, key, value, queries, all, Options(Device.Cpu));
    }

    private AttentionOptions Options(Device device) => new()
    {
        Window = Window, Alignment = Alignment, Softcap = Softcap,
        AlibiSlopes = HasSlopes ? Tensor.From([.. Enumerable.Range(0, QueryHeads).Select(h => 0.05f * (h + 1))], [QueryHeads], device) : null,
    };

    private (Tensor Query, Tensor Keys, Tensor Values, KeyPages Pages) Make(DType dtype, Device device)
    {
        var random = new Random(Seed);
        int columns = Math.Max(2, Lengths.Max(l => (l.Keys + PageSize - 1) / PageSize)), count = Lengths.Sum(l => (l.Keys + PageSize - 1) / PageSize) + 3;
        int[] order = [.. Enumerable.Range(0, count)], table = [.. Enumerable.Repeat(-1, columns * Lengths.Length)];
        random.Shuffle(order);
        // Drawn in the type under test, so that every type computes on the same numbers.
        Tensor keys = Tensor.Full([count, PageSize, KeyHeads, Dim], double.NaN, DType), values = Tensor.Full(keys.Shape, double.NaN, DType);
        for (int i = 0, next = 0; i < Lengths.Length; i++)
            for (int first = 0, column = 0; first < Lengths[i].Keys; first += PageSize, column++)
            {
                int filled = Math.Min(PageSize, Lengths[i].Keys - first);
                int page = table[i * columns + column] = column < Shared ? order[^(1 + column)] : order[next++];
                ulong seed = (ulong)(Seed + 7919L * (1 + page));
                keys.Narrow(0, page, 1).Narrow(1, 0, filled).CopyFrom(Tensor.Randn([1, filled, KeyHeads, Dim], seed, DType));
                values.Narrow(0, page, 1).Narrow(1, 0, filled).CopyFrom(Tensor.Randn([1, filled, KeyHeads, Dim], seed + 1, DType));
            }
        Tensor query = Tensor.Randn([Lengths.Sum(l => l.Queries), QueryHeads, Dim], (ulong)Seed, DType);
        return (To(query), To(keys), To(values), new KeyPages([.. Lengths.Select(l => l.Keys)], table));

        Tensor To(Tensor tensor) => tensor.To(dtype: dtype).To(device);
    }
}
