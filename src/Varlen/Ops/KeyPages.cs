using Varlen.Ops;

namespace Varlen;

/// <summary>
/// Where the keys of each sequence lie in a cache: how many it has, and on which pages of equal size, in order. What vLLM and PyTorch's
/// <c>varlen_attn</c> call <c>seqused_k</c> and <c>block_table</c>. Sequences may share pages, as of a common beginning.
/// </summary>
/// <remarks>Immutable and safe to share between threads. One object serves all layers of a step, so that devices are sent it once.</remarks>
public sealed class KeyPages
{
    private readonly int[] _table;

    /// <summary>Takes lengths and a table, which are copied.</summary>
    /// <param name="lengths">Keys of each sequence; 0 is legal.</param>
    /// <param name="table">
    /// <c>[sequences, pages]</c>, row by row: the pages of each sequence in order. Entries behind a sequence's last page mean nothing.
    /// </param>
    /// <exception cref="ArgumentException">A length is negative, or the table has not as many entries for each sequence.</exception>
    public KeyPages(ReadOnlySpan<int> lengths, ReadOnlySpan<int> table)
    {
        Layout = SequenceLayout.FromLengths(lengths);
        if (lengths.IsEmpty ? !table.IsEmpty : table.Length % lengths.Length != 0)
            throw new ArgumentException($"the table has {table.Length} entries for {lengths.Length} sequences; give equally many pages for each, and any number behind its last one", nameof(table));
        _table = table.ToArray();
        Columns = lengths.IsEmpty ? 0 : table.Length / lengths.Length;
    }

    /// <summary>As <see cref="KeyPages(ReadOnlySpan{int}, ReadOnlySpan{int})"/>, from tensors. Waits for their devices.</summary>
    /// <param name="lengths">Int32 or Int64 <c>[sequences]</c>.</param>
    /// <param name="table">Int32 or Int64 <c>[sequences, pages]</c>.</param>
    /// <exception cref="ArgumentException">A tensor has another shape or type, or a value does not fit.</exception>
    public static KeyPages From(Tensor lengths, Tensor table)
    {
        const string op = nameof(KeyPages);
        int[] counts = Integers(lengths, nameof(lengths)), pages = Integers(table, nameof(table));
        Op.Check(lengths.Shape.Rank == 1, op, nameof(lengths), $"lengths is {lengths.Shape}; expected [sequences]");
        Op.Check(table.Shape.Rank == 2 && table.Shape[0] == counts.Length, op, nameof(table), $"table is {table.Shape}; expected [{counts.Length}, pages]");
        return new(counts, pages);

        static int[] Integers(Tensor tensor, string parameter)
        {
            ArgumentNullException.ThrowIfNull(tensor, parameter);
            Op.Check(tensor.DType is DType.Int32 or DType.Int64, op, parameter, $"{parameter} is {tensor.DType}; expected Int32 or Int64");
            // What does not fit 32 bits is no length and no page; it stays wrong.
            return Array.ConvertAll(tensor.ToArray<long>(), value => value is < -1 or > int.MaxValue ? -1 : (int)value);
        }
    }

    /// <summary>Page i is all that sequence i has: a cache of one slot for each.</summary>
    /// <param name="lengths">Keys of each sequence.</param>
    public static KeyPages Slots(ReadOnlySpan<int> lengths)
    {
        var table = new int[lengths.Length];
        for (int i = 0; i < table.Length; i++) table[i] = i;
        return new(lengths, table);
    }

    /// <summary>Number of sequences.</summary>
    public int Count => Layout.Count;

    /// <summary>Keys of each sequence.</summary>
    public ReadOnlySpan<int> Lengths => Layout.Lengths;

    /// <summary>Pages of a row of the table.</summary>
    public int Columns { get; }

    /// <summary>The pages of each sequence, <c>[sequences, pages]</c>.</summary>
    public ReadOnlySpan<int> Table => _table;

    /// <summary>The sequences' keys as if they were packed. The same object in every call, so that what is derived from it is made once.</summary>
    internal SequenceLayout Layout { get; }

    /// <summary>First key token of each sequence where each has one page, which needs no table; else null.</summary>
    internal int[]? Starts(int pageSize) => Columns == 1 ? Array.ConvertAll(_table, page => Math.Max(page, 0) * pageSize) : null;

    /// <summary>Checks every entry that is read.</summary>
    internal void Check(string op, int pages, int pageSize, string parameter)
    {
        for (int i = 0; i < Count; i++)
        {
            int length = Lengths[i];
            Op.Check(length <= (long)Columns * pageSize, op, parameter, $"sequence {i} has {length} keys, and its {Columns} pages of {pageSize} hold {(long)Columns * pageSize}");
            for (int j = 0; (long)j * pageSize < length; j++)
                Op.Check((uint)_table[i * Columns + j] < (uint)pages, op, parameter, $"page {j} of sequence {i} is {_table[i * Columns + j]}, and the cache has the pages 0 to {pages - 1}");
        }
    }
}
