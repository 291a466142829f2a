namespace Varlen.Autograd;

/// <summary>Computes the gradients of an op's inputs from those of its outputs.</summary>
internal delegate void BackwardFunction(BackwardPass pass);

/// <summary>
/// One recorded op. It owns a count on the storage of each saved value and on its inputs' slots, and gives them up as soon as its
/// backward has run, or when nothing can reach it any more.
/// </summary>
internal sealed class GradientNode
{
    [ThreadStatic] private static long t_sequence;

    private readonly Saved[] _saved;
    private readonly BackwardFunction _backward;
    private int _liveOutputs;

    public GradientNode(string name, ReadOnlySpan<Tensor> outputs, ReadOnlySpan<Tensor?> inputs, ReadOnlySpan<Saved> saved, BackwardFunction backward)
    {
        Name = name;
        Sequence = ++t_sequence;
        _backward = backward;
        _saved = new Saved[saved.Length];
        for (int i = 0; i < saved.Length; i++) _saved[i] = saved[i].Own();
        Inputs = new NodeInput[inputs.Length];
        for (int i = 0; i < inputs.Length; i++)
            if (inputs[i] is { Slot: { } slot } input) Inputs[i] = new NodeInput(slot.Retain(), input);
        Outputs = new GradientSlot[outputs.Length];
        _liveOutputs = outputs.Length;
        for (int i = 0; i < outputs.Length; i++) outputs[i].Slot = Outputs[i] = GradientSlot.Result(outputs[i], this, i);
    }

    public string Name { get; }

    /// <summary>Position in the thread's order of recording; the backward pass runs against it.</summary>
    public long Sequence { get; }

    public NodeInput[] Inputs { get; }

    public GradientSlot[] Outputs { get; }

    public bool IsReleased { get; private set; }

    public int SavedCount => _saved.Length;

    public Tensor Saved(int index) => _saved[index].Get(Name);

    public void Run(BackwardPass pass) => _backward(pass);

    /// <summary>Called when neither a tensor nor a later op can reach one of the outputs any more.</summary>
    public void OutputReleased()
    {
        if (--_liveOutputs == 0) Release();
    }

    public void Release()
    {
        if (IsReleased) return;
        // A chain of thousands of ops must not become a recursion as deep.
        var pending = t_pending ??= new Stack<GradientNode>();
        IsReleased = true;
        pending.Push(this);
        if (t_releasing) return;
        t_releasing = true;
        while (pending.TryPop(out GradientNode? node))
        {
            foreach (Saved saved in node._saved) saved.Dispose();
            foreach (NodeInput? input in node.Inputs) input?.Slot.Release();
        }
        t_releasing = false;
    }

    [ThreadStatic] private static Stack<GradientNode>? t_pending;
    [ThreadStatic] private static bool t_releasing;
}

/// <summary>A recorded input: its slot and the view of it that the op saw. Absent (null) when it takes no gradient.</summary>
internal sealed class NodeInput(GradientSlot slot, Tensor view)
{
    private readonly long[] _strides = view.Strides.ToArray();

    public GradientSlot Slot { get; } = slot;
    public Shape Shape { get; } = view.Shape;
    public ReadOnlySpan<long> Strides => _strides;
    public long Offset { get; } = view.Offset;

    public bool IsWhole => Offset == Slot.Offset && Shape.Count == Slot.Shape.Count && Strides.SequenceEqual(Shape.ContiguousStrides());
}
