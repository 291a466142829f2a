using Varlen.Backends.Cuda.Capture;
using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private readonly Queue<(nint Pointer, long Bytes)> _freedInCapture = new();

    /// <summary>What measures or captures a step at present; null for all other work.</summary>
    public CudaRecorder? Recorder { get; set; }

    /// <summary>Whether launches, copies and fills become nodes of a graph, and do nothing yet.</summary>
    public bool IsCapturing { get; private set; }

    public override Recorder MakeRecorder() => new CudaRecorder(this);

    /// <summary>Begins a graph.</summary>
    public void BeginCapture()
    {
        EnsureCurrent();
        // Finalizers found more than a capture may give back.
        Storage.FreeOrphans();
        Check(Driver.StreamBeginCapture(Stream, CaptureMode.ThreadLocal), "cuStreamBeginCapture");
        IsCapturing = true;
    }

    /// <summary>The graph of what came since; 0 when a call spoiled it.</summary>
    public nint EndCapture()
    {
        IsCapturing = false;
        CudaResult result = Driver.StreamEndCapture(Stream, out nint graph);
        while (_freedInCapture.TryDequeue(out (nint Pointer, long Bytes) freed)) Pool.Free(freed.Pointer, freed.Bytes);
        if (result is >= CudaResult.CaptureUnsupported and <= CudaResult.CaptureWrongThread) return 0;
        Check(result, "cuStreamEndCapture");
        return graph;
    }

    /// <summary>Makes a graph ready to launch, and gives the number of its nodes. The graph itself is released.</summary>
    public int Instantiate(nint graph, out nint executable)
    {
        nuint nodes = 0;
        CudaResult counted = Driver.GraphGetNodes(graph, null, &nodes), made = Driver.GraphInstantiate(out executable, graph, 0);
        Driver.GraphDestroy(graph);
        Check(counted, "cuGraphGetNodes");
        Check(made, "cuGraphInstantiateWithFlags");
        return (int)nodes;
    }

    /// <summary>Starts a graph behind everything started before.</summary>
    public void Launch(nint executable, int nodes)
    {
        EnsureCurrent();
        RefuseInCapture("it starts another recorded step");
        NoteLaunch($"a recorded step of {nodes} launches, copies and fills");
        Check(Driver.GraphLaunch(executable, Stream), "cuGraphLaunch");
        if (IsSynchronous) Check(Driver.StreamSynchronize(Stream), "a recorded step");
    }

    /// <summary>Throws while a step is captured, before the driver is asked for what it would refuse, or what would be done at another time than asked.</summary>
    /// <param name="what">What the step does, as in "it waits".</param>
    public void RefuseInCapture(string what)
    {
        if (IsCapturing) throw NotRecordable(what);
    }

    /// <summary>The exception for what cannot be part of a recorded step.</summary>
    public NotSupportedException NotRecordable(string what)
    {
        string op = Op.Latest is { } latest ? $", in or behind {latest}" : "";
        string kernel = _launched > 0 ? $" (launched last: {_launches[(_launched - 1) % RememberedLaunches]})" : "";
        return new NotSupportedException($"{Name}: the step cannot be recorded: {what}{op}{kernel}; do it before or behind the step, or leave capture off");
    }

    /// <summary>Whether memory of the pool is not to be given back yet; it will be, behind the capture.</summary>
    public bool DefersFree(nint pointer, long bytes)
    {
        if (!IsCapturing) return false;
        _freedInCapture.Enqueue((pointer, bytes));
        return true;
    }
}
