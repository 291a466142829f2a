using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Nn;

/// <summary>
/// A trainable tensor: a master in single precision (double in the reference precision) that the optimiser updates, and the value that
/// ops compute with, which is the master itself or a 16-bit copy of it. The gradient has the master's precision whatever ops compute in.
/// </summary>
/// <remarks>Owned and disposed by its module. One parameter may be registered in several places (weight tying); its gradients add up.</remarks>
public sealed class Parameter : IDisposable
{
    private bool _requiresGrad = true;

    /// <summary>Makes a parameter that owns <paramref name="initial"/>, which must be dense single or double precision.</summary>
    /// <exception cref="ArgumentException">The tensor has another element type, or gaps.</exception>
    public Parameter(Tensor initial)
    {
        ArgumentNullException.ThrowIfNull(initial);
        if (initial.DType is not (DType.Float32 or DType.Float64))
            throw new ArgumentException($"a parameter's master is Float32 or Float64, not {initial.DType}; pick the compute type with Module.To", nameof(initial));
        if (!initial.IsContiguous) throw new ArgumentException($"a parameter's tensor must be dense; {initial.Shape} has gaps", nameof(initial));
        Master = initial.Keep();
        Value = MakeValue(initial.DType);
    }

    /// <summary>The values that the optimiser updates and checkpoints hold.</summary>
    public Tensor Master { get; private set; }

    /// <summary>The values that ops read: of the compute type, in the autograd graph.</summary>
    public Tensor Value { get; private set; }

    /// <summary>Sizes.</summary>
    public Shape Shape => Master.Shape;

    /// <summary>Gradient gathered since the last <see cref="ZeroGrad"/>, in the master's precision; null when there is none.</summary>
    public Tensor? Grad => Value.Grad;

    /// <summary>Raised by every change of the master, so that holders of derived copies can tell.</summary>
    public int Version { get; private set; }

    /// <summary>Whether the parameter is trained. A frozen one takes no gradient and no update.</summary>
    public bool RequiresGrad
    {
        get => _requiresGrad;
        set
        {
            if (value == _requiresGrad) return;
            _requiresGrad = value;
            DType type = Value.DType;
            Value.Dispose();
            Value = MakeValue(type);
        }
    }

    /// <summary>Reads the parameter as ops do; null stays null, for optional parameters such as a bias.</summary>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(parameter))]
    public static implicit operator Tensor?(Parameter? parameter) => parameter?.Value;

    /// <summary>Forgets the gradient.</summary>
    public void ZeroGrad() => Value.ZeroGrad();

    /// <summary>Overwrites the master with other values, converted, and refreshes the compute copy.</summary>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public void Load(Tensor values)
    {
        Master.CopyFrom(values);
        MarkUpdated(copyIsFresh: false);
    }

    /// <summary>Overwrites the rows of the master from <paramref name="first"/> on, as <see cref="Load(Tensor)"/> all of it.</summary>
    internal void LoadRows(Tensor values, int first)
    {
        using Tensor rows = Rows(first, values.Shape[0]);
        rows.CopyFrom(values);
        MarkUpdated(copyIsFresh: false);
    }

    /// <summary>Rows of the master, as a view.</summary>
    internal Tensor Rows(int first, int count) => Master.Alias([count, .. Shape.Dimensions[1..]], Master.Strides.ToArray(), Master.Offset + first * Master.Strides[0]);

    /// <summary>Moves to a device and computes in a type from now on. The master keeps its values: a 16-bit type adds a copy, it rounds nothing away.</summary>
    internal void To(Device device, DType compute)
    {
        DType master = compute == DType.Float64 ? DType.Float64 : DType.Float32;
        if (device != Master.Device || master != Master.DType)
        {
            Tensor moved = Master.UntrackedCopy(master, device).Keep();
            Value.Dispose();
            Master.Dispose();
            Master = moved;
            Value = MakeValue(compute);
        }
        else if (compute != Value.DType)
        {
            Value.Dispose();
            Value = MakeValue(compute);
        }
    }

    /// <summary>Says that the master has changed.</summary>
    /// <param name="copyIsFresh">The writer has updated the compute copy in the same pass.</param>
    internal void MarkUpdated(bool copyIsFresh)
    {
        Version++;
        Master.Storage.MarkWritten();
        if (Value.DType == Master.DType) return;
        if (!copyIsFresh) ElementwiseCopy.Copy(Master, Value, accumulate: false);
        Value.Storage.MarkWritten();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Value.Dispose();
        Master.Dispose();
    }

    private Tensor MakeValue(DType compute)
    {
        Tensor value = compute == Master.DType ? Master.UntrackedAlias() : Master.UntrackedCopy(compute, Master.Device);
        if (_requiresGrad) value.Slot = GradientSlot.Leaf(value, Master.DType);
        return value.Keep();
    }
}
