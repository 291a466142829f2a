using System.Runtime.InteropServices;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Keys of a sequence that a block takes; the twin of <c>DecodePart</c> in attention_decode.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DecodePart
{
    public long QueryStart, KeyStart;
    public int Queries, Keys;
    public int First, End;
    public int Row;
    public int Index, Parts;
    public int Unused;
}

/// <summary>The twin of <c>DecodeArguments</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DecodeArguments
{
    public AttentionProblem Problem;
    public nint List, Pages;
    public int PageSize, Columns;
    public int Tiles;
    public int RowParts;
    public AttentionOperand Query, Key, Value, Output;
    public AttentionStatistic Lse;
    public nint PartOutput, PartStatistics, Divided, Lengths;
}

/// <summary>
/// Sequences with few queries over a cache, cut into parts of their keys so that a single one fills the device. Whether a sequence is among
/// them, and how it is cut, depends on its own lengths and the window only.
/// </summary>
internal sealed class DecodeParts : IDisposable
{
    /// <summary>Most queries of such a sequence.</summary>
    public const int MostQueries = 16;

    // The twins of kLeastKeys, kMostParts and kPartStep. Long enough that starting a block and adding up parts cost little beside it, short enough that one sequence fills the device.
    private const int LeastKeys = 256, MostParts = 64, Step = 64;

    private readonly SentMemory _memory;

    public DecodeParts(CudaBackend backend, AttentionCall call, IEnumerable<AttentionSpan> sequences)
    {
        _memory = new SentMemory(backend);
        var parts = new List<DecodePart>();
        var divided = new List<int>();
        foreach (AttentionSpan s in sequences)
        {
            Sequences++;
            MaxQueries = Math.Max(MaxQueries, s.Queries);
            int shift = call.Options.Alignment == AttentionAlignment.BottomRight ? s.Keys - s.Queries : 0;
            int first = call.Options.Window.Range(0, shift, s.Keys).First / Step * Step, end = Math.Max(first, call.Options.Window.Range(s.Queries - 1, shift, s.Keys).End);
            int size = Math.Max(LeastKeys, ((end - first + MostParts - 1) / MostParts + Step - 1) / Step * Step), count = Math.Max(1, (end - first + size - 1) / size);
            if (count > 1) divided.Add(parts.Count);
            for (int i = 0; i < count; i++)
                parts.Add(new DecodePart
                {
                    QueryStart = s.QueryStart, KeyStart = s.KeyStart, Queries = s.Queries, Keys = s.Keys, First = first + i * size, End = Math.Min(end, first + (i + 1) * size), Row = s.Index, Index = i, Parts = count,
                });
        }
        (Count, DividedCount) = (parts.Count, divided.Count);
        (List, Divided) = (_memory.Send<DecodePart>(CollectionsMarshal.AsSpan(parts)), _memory.Send<int>(CollectionsMarshal.AsSpan(divided)));
    }

    public nint List { get; }

    /// <summary>The first parts of the sequences that have several, and how many there are.</summary>
    public nint Divided { get; }
    public int DividedCount { get; }

    /// <summary>Parts of all sequences.</summary>
    public int Count { get; }

    public int Sequences { get; }

    public int MaxQueries { get; }

    public static bool Takes(AttentionSpan span) => span.Queries is > 0 and <= MostQueries;

    /// <summary>Parts of a sequence with one query and at most so many keys.</summary>
    public static int Most(int keys) => Math.Clamp((keys + LeastKeys - 1) / LeastKeys, 1, MostParts);

    /// <summary>Warps of a block, and its shared memory; the twin of <c>DecodeShape</c>.</summary>
    public static (int Warps, int Bytes) Shape(DType dtype, int bucket)
    {
        int row = bucket * dtype.Size(), warps = row > 512 ? 2 : 4, keys = row <= 128 ? 32 : 16;
        return (warps, (16 * row) + (warps * ((4 * keys * row) + (dtype == DType.Float32 ? 16 * keys * sizeof(float) : 0))));
    }

    public void Dispose() => _memory.Dispose();
}
