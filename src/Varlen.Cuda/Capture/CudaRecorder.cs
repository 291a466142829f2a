using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Capture;

/// <summary>A step as a CUDA graph, with the memory that its kernels work in.</summary>
internal sealed class CudaRecorder(CudaBackend backend) : Recorder
{
    private readonly ArenaAllocator _arena = new(backend);
    private readonly List<IDisposable> _owned = [];
    private nint _executable;

    /// <summary>Nodes of the graph: launches, copies and fills.</summary>
    public int Nodes { get; private set; }

    /// <summary>Bytes of the step's memory.</summary>
    public long Bytes => _arena.Bytes;

    public override void Measure(Action step)
    {
        Run(step);
        RequireEmpty();
        _arena.Reserve();
    }

    public override void Record(Action step)
    {
        backend.BeginCapture();
        nint graph = 0;
        try
        {
            Run(step);
            RequireEmpty();
        }
        finally
        {
            // A capture that failed gives no graph.
            graph = backend.EndCapture();
        }
        if (graph == 0) throw backend.NotRecordable("the driver refused a call");
        Nodes = backend.Instantiate(graph, out _executable);
    }

    public override void Replay() => backend.Launch(_executable, Nodes);

    /// <summary>Keeps what the step reads for as long as the graph lives.</summary>
    public void Own(IDisposable thing) => _owned.Add(thing);

    public override void Dispose()
    {
        if (_executable != 0 && !backend.IsLost) Driver.GraphExecDestroy(_executable);
        _executable = 0;
        // In order with the stream: a replay that is under way still reads it.
        foreach (IDisposable thing in _owned) thing.Dispose();
        _owned.Clear();
        _arena.Dispose();
    }

    private void Run(Action step)
    {
        Allocator before = backend.Allocator;
        backend.Allocator = _arena;
        backend.Recorder = this;
        Op.Latest = null;
        try
        {
            step();
        }
        finally
        {
            backend.Allocator = before;
            backend.Recorder = null;
        }
    }

    private void RequireEmpty()
    {
        (int count, long bytes) = _arena.Living;
        if (count > 0) throw new NotSupportedException($"{backend.Name}: the step cannot be recorded: it leaves {count} tensors of {bytes} bytes behind; copy what is wanted of it into tensors that were made before");
    }
}
