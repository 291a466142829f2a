using Varlen.Autograd;

namespace Varlen;

public sealed partial class Tensor
{
    /// <summary>Where this value's gradient is gathered; shared with the tensor's views.</summary>
    internal GradientSlot? Slot { get; set; }

    /// <summary>How to rebuild the value instead of saving it for a backward pass, when that is cheap.</summary>
    internal Recipe? Recipe { get; set; }

    /// <summary>
    /// Whether a backward pass brings a gradient here. Can be switched on for a dense tensor that no recorded op made (a leaf).
    /// </summary>
    /// <exception cref="InvalidOperationException">Set on an op's result, on a view with gaps, or on a type that is not floating-point.</exception>
    public bool RequiresGrad
    {
        get => Slot is not null;
        set
        {
            if (value == RequiresGrad) return;
            if (!value)
            {
                if (!Slot!.IsLeaf) throw new InvalidOperationException("RequiresGrad: the tensor is an op's result; use Detach() to leave the graph");
                Slot.Release();
                Slot = null;
                return;
            }
            if (!DType.IsFloatingPoint()) throw new InvalidOperationException($"RequiresGrad: {DType} tensors have no gradient; only floating-point types do");
            if (!IsContiguous) throw new InvalidOperationException($"RequiresGrad: the tensor {Shape} is a view with gaps; call Clone() first");
            Slot = GradientSlot.Leaf(this, DType);
        }
    }

    /// <summary>
    /// The gradient that backward passes have added up since the last <see cref="ZeroGrad"/>, or null. Owned by this tensor; keep a
    /// <see cref="Clone"/> to hold its values. Leaves only: gradients of intermediate values are released on the way.
    /// </summary>
    public Tensor? Grad => Slot is { IsLeaf: true } slot ? slot.Gathered : null;

    /// <summary>Forgets the gradient. The next backward pass overwrites its memory, so nothing is filled with zeros.</summary>
    public void ZeroGrad()
    {
        if (Slot is { IsLeaf: true } slot) slot.Clear();
    }

    /// <summary>
    /// Adds the gradient of this tensor to every leaf it was computed from, and releases the graph on the way.
    /// </summary>
    /// <param name="gradient">Gradient of the outer loss with respect to this tensor; may be omitted (one) when it has a single element.</param>
    /// <exception cref="InvalidOperationException">The tensor is not in a graph, the graph has been used already, or a saved value was overwritten.</exception>
    /// <exception cref="ArgumentException">The gradient's shape differs, or it is missing for more than one element.</exception>
    public void Backward(Tensor? gradient = null) => BackwardEngine.Run(this, gradient);
}
