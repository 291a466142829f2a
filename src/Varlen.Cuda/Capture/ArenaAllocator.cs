namespace Varlen.Backends.Cuda.Capture;

/// <summary>
/// Memory of a step that is recorded. First it comes from the pool while places in an arena are planned; then, while the step is captured, from those
/// places in a block that was reserved for them.
/// </summary>
/// <param name="backend">The device.</param>
internal sealed class ArenaAllocator(CudaBackend backend) : Allocator, IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<nint, long> _places = [];
    private ArenaPlan _plan = new();
    private nint _block;

    /// <summary>Bytes of the arena.</summary>
    public long Bytes { get; private set; }

    /// <summary>Blocks that are in use, and their bytes.</summary>
    public (int Count, long Bytes) Living
    {
        get
        {
            lock (_gate) return (_plan.Count, _plan.Bytes);
        }
    }

    /// <summary>Reserves what the step was seen to need. From now on everything comes from there.</summary>
    public void Reserve()
    {
        Bytes = _plan.Extent;
        _plan = new ArenaPlan();
        if (Bytes > 0) _block = backend.Pool.Allocate(Bytes);
    }

    public override nint Allocate(long bytes)
    {
        lock (_gate)
        {
            long place = _plan.Take(bytes);
            if (Bytes > 0 && _plan.Extent > Bytes)
            {
                _plan.Return(place);
                throw backend.NotRecordable($"the step takes more memory than in the run before, {_plan.Extent} bytes in place of {Bytes}");
            }
            nint pointer = Bytes > 0 ? _block + (nint)place : backend.Pool.Allocate(bytes);
            _places.Add(pointer, place);
            return pointer;
        }
    }

    public override void Free(nint pointer, long bytes)
    {
        lock (_gate)
        {
            _places.Remove(pointer, out long place);
            _plan.Return(place);
            // A block of the pool's, or one within the arena.
            if (_block == 0 || pointer < _block || pointer >= _block + (nint)Bytes) backend.Pool.Free(pointer, bytes);
        }
    }

    public void Dispose()
    {
        if (_block != 0) backend.Pool.Free(_block, Bytes);
        _block = 0;
    }
}
