using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Optim;

namespace Varlen.Backends.Cuda;

/// <summary>
/// Tables on the device of parameters cut into chunks: one launch goes over all of them. A table is sent once and kept while the tensors stay where
/// they are, which is the whole of a training run; those used last are kept, and those that a graph reads for as long as the graph.
/// </summary>
internal sealed unsafe class ParameterChunks(CudaBackend backend)
{
    private const int ChunkElements = 16384, Kept = 8;

    private readonly List<Table> _tables = [];

    /// <summary>The table for updates.</summary>
    public Table Of(string op, IReadOnlyList<ParameterUpdate> updates)
    {
        var entries = new Entry[updates.Count];
        for (int i = 0; i < entries.Length; i++)
        {
            ParameterUpdate update = updates[i];
            Require(op, update.Master);
            Require(op, update.Gradient);
            nint first = update.State.Length > 0 ? update.State[0]!.Pointer : 0, second = update.State.Length > 1 ? update.State[1]!.Pointer : 0, copy = update.Copy?.Pointer ?? 0;
            if (update.Copy is { } narrow && narrow.DType is not (DType.BFloat16 or DType.Float16)) throw new NotSupportedException($"{op}: a compute copy of {narrow.DType} is not refreshed on {backend.Name}");
            entries[i] = new Entry
            {
                Master = update.Master.Pointer, Gradient = update.Gradient.Pointer, First = first, Second = second, Copy = copy, Count = update.Master.Count, WeightDecay = update.WeightDecay,
                CopyType = (int)(update.Copy?.DType ?? DType.Float32), Aligned = ((update.Master.Pointer | update.Gradient.Pointer | first | second | copy) % 16) == 0 ? 1 : 0,
            };
        }
        return Of(entries);
    }

    /// <summary>The table for gradients alone.</summary>
    public Table Of(string op, IReadOnlyList<Tensor> gradients)
    {
        var entries = new Entry[gradients.Count];
        for (int i = 0; i < entries.Length; i++)
        {
            Require(op, gradients[i]);
            entries[i] = new Entry { Gradient = gradients[i].Pointer, Count = gradients[i].Count, Aligned = gradients[i].Pointer % 16 == 0 ? 1 : 0 };
        }
        return Of(entries);
    }

    private Table Of(Entry[] entries)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(entries.AsSpan());
        for (int i = 0; i < _tables.Count; i++)
        {
            Table known = _tables[i];
            if (!MemoryMarshal.AsBytes(known.Entries.AsSpan()).SequenceEqual(bytes)) continue;
            _tables.RemoveAt(i);
            _tables.Add(known);
            return Keep(known);
        }
        if (_tables.Count(table => !table.IsPinned) == Kept)
        {
            int oldest = _tables.FindIndex(table => !table.IsPinned);
            _tables[oldest].Dispose();
            _tables.RemoveAt(oldest);
        }
        var chunks = new List<Chunk>();
        for (int i = 0; i < entries.Length; i++)
            for (int number = 0; (long)number * ChunkElements < entries[i].Count; number++) chunks.Add(new Chunk(i, number));
        var table = new Table(entries, backend.Upload<Entry>(entries), backend.Upload<Chunk>(CollectionsMarshal.AsSpan(chunks)), chunks.Count);
        _tables.Add(table);
        return Keep(table);
    }

    // A graph reads it for as long as the graph lives, and must find it there when it is recorded.
    private Table Keep(Table table)
    {
        backend.Recorder?.Own(table.Pin());
        return table;
    }

    private void Require(string op, Tensor tensor)
    {
        if (tensor.DType != DType.Float32)
            throw new NotSupportedException($"{op}: masters and gradients on {backend.Name} are Float32, not {tensor.DType}; Float64 is the reference precision, which only the CPU has");
    }

    /// <summary>A table on the device.</summary>
    internal sealed class Table(Entry[] entries, DeviceArray parameters, DeviceArray chunks, int count) : IDisposable
    {
        public Entry[] Entries { get; } = entries;
        public nint Parameters { get; } = parameters.Pointer;
        public nint Chunks { get; } = chunks.Pointer;
        public int Count { get; } = count;
        private int _pins;

        /// <summary>Whether a graph reads it.</summary>
        public bool IsPinned => _pins > 0;

        /// <summary>Keeps it until the result is disposed.</summary>
        public IDisposable Pin()
        {
            _pins++;
            return new Unpin(this);
        }

        public void Dispose()
        {
            parameters.Dispose();
            chunks.Dispose();
        }

        private sealed class Unpin(Table table) : IDisposable
        {
            public void Dispose() => table._pins--;
        }
    }

    /// <summary>Twin of optimizer.cu's Parameter.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Entry
    {
        public nint Master, Gradient, First, Second, Copy;
        public long Count;
        public double WeightDecay;
        public int CopyType, Aligned;
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Chunk(int Parameter, int Number);
}
