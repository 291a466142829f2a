using Varlen.Ops;

namespace Varlen.Autograd;

/// <summary>
/// What an op's backward function sees: the gradients of its outputs, its saved values, and for each input either nothing or a
/// destination. It never allocates a gradient itself.
/// </summary>
internal sealed class BackwardPass : IDisposable
{
    private readonly List<(Tensor View, NodeInput Input)> _targets = [];
    private readonly List<(Tensor Temporary, Tensor Target)> _overlapping = [];
    private GradientNode _node = null!;

    public void Enter(GradientNode node) => _node = node;

    /// <summary>Gradient of an output, dense; null when no later op brought one.</summary>
    public Tensor? OutputGradient(int output = 0) => _node.Outputs[output].Complete();

    /// <summary>A value that the op saved.</summary>
    public Tensor Saved(int index) => _node.Saved(index);

    /// <summary>Whether an input's gradient is wanted.</summary>
    public bool Needs(int input) => _node.Inputs[input] is not null;

    /// <summary>Where to write an input's gradient. Ask once per input; each target returned must be written.</summary>
    public GradientTarget InputGradient(int input)
    {
        if (_node.Inputs[input] is not { } view) return default;
        bool overlaps = _targets.Exists(target => target.Input.Slot == view.Slot && Overlap(target.Input, view));
        GradientTarget target = view.Slot.Target(view.Shape, view.Strides, view.Offset);
        _targets.Add((target.Tensor!, view));
        if (!overlaps) return target;
        // The same value came in twice. A kernel may write its targets at the same time, so the second one is added afterwards.
        Tensor temporary = Tensor.Allocate(view.Shape, view.Slot.DType, view.Slot.Device);
        _overlapping.Add((temporary, target.Tensor!));
        return new GradientTarget(temporary, false);
    }

    /// <summary>
    /// Like <see cref="InputGradient"/>, but where possible the destination is the memory of an output's gradient: for kernels that
    /// read that gradient row by row before they write. Saves a buffer, and for residual streams a pass over memory.
    /// </summary>
    public GradientTarget InputGradientOver(int input, int output)
    {
        // A value that came in more than once gets several gradients, so none of them may be the memory that the others are read from.
        if (_node.Inputs[input] is { IsWhole: true } view && Array.TrueForAll(_node.Inputs, other => other == view || other?.Slot != view.Slot)
            && OutputGradient(output) is { } gradient && gradient.Storage.GradientOwners == 1 && view.Slot.TryAdopt(gradient))
        {
            Tensor alias = gradient.UntrackedAlias(view.Shape);
            _targets.Add((alias, view));
            return new GradientTarget(alias, false);
        }
        return InputGradient(input);
    }

    /// <summary>An input's gradient is this finished tensor: shared without a copy where possible, else copied or added.</summary>
    public void PassThrough(int input, Tensor gradient)
    {
        if (_node.Inputs[input] is not { } view) return;
        if (view.IsWhole && view.Slot.TryAdopt(gradient)) return;
        GradientTarget target = InputGradient(input);
        Tensor shaped = gradient.Shape == view.Shape ? gradient : gradient.Reshape(view.Shape.Dimensions);
        if (target.Accumulate) GradientStatistics.StandaloneAdds++;
        ElementwiseCopy.Copy(shaped, target.Tensor!, target.Accumulate);
    }

    /// <summary>Ends a node: adds what had to wait and lets go of the destinations.</summary>
    public void Leave()
    {
        foreach ((Tensor temporary, Tensor target) in _overlapping)
        {
            ElementwiseCopy.Copy(temporary, target, accumulate: true);
            GradientStatistics.StandaloneAdds++;
        }
        Dispose();
    }

    public void Dispose()
    {
        foreach ((Tensor view, _) in _targets) view.Dispose();
        _targets.Clear();
        _overlapping.Clear();
    }

    private static bool Overlap(NodeInput a, NodeInput b)
    {
        (long periodA, long startA, long lengthA) = Coverage.Describe(a.Shape.Dimensions, a.Strides, a.Offset - a.Slot.Offset, a.Slot.Shape.Count);
        (long periodB, long startB, long lengthB) = Coverage.Describe(b.Shape.Dimensions, b.Strides, b.Offset - b.Slot.Offset, b.Slot.Shape.Count);
        bool disjoint = periodA >= 0 && periodA == periodB && (startA + lengthA <= startB || startB + lengthB <= startA);
        return !disjoint;
    }
}
