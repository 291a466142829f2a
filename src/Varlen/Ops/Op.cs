using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Varlen.Autograd;

namespace Varlen.Ops;

/// <summary>What every op does: check its arguments, find its kernels, record itself.</summary>
internal static class Op
{
    /// <summary>The op that this thread began last, for messages of what lies below ops.</summary>
    [field: ThreadStatic]
    public static string? Latest { get; set; }

    /// <summary>The kernels of an op on its inputs' device. All inputs present must be on the same one.</summary>
    /// <exception cref="ArgumentException">The inputs are on different devices.</exception>
    /// <exception cref="NotSupportedException">The device has no kernels for the op.</exception>
    public static TKernels Require<TKernels>(string op, Tensor first, params ReadOnlySpan<Tensor?> others) where TKernels : class
    {
        Latest = op;
        foreach (Tensor? other in others)
            if (other is not null) SameDevice(op, first, other);
        return first.Device.Backend as TKernels ?? throw new NotSupportedException($"{op} has no {first.Device} kernels");
    }

    public static void SameDevice(string op, Tensor first, Tensor other)
    {
        if (first.Device != other.Device)
            throw new ArgumentException($"{op}: one tensor is on {first.Device}, another on {other.Device}; move one with To(device)");
    }

    /// <summary>Puts a computed result into the graph, if this thread records and any input takes a gradient.</summary>
    /// <param name="name">The op, for error messages.</param>
    /// <param name="output">The result: fresh dense memory.</param>
    /// <param name="inputs">The differentiable inputs, in the order that the backward function numbers them.</param>
    /// <param name="saved">Values that the backward function reads.</param>
    /// <param name="backward">Writes the inputs' gradients. It may not hold tensors: what it reads is saved.</param>
    public static Tensor Record(string name, Tensor output, ReadOnlySpan<Tensor?> inputs, ReadOnlySpan<Saved> saved, BackwardFunction backward)
    {
        RecordAll(name, [output], inputs, saved, backward);
        return output;
    }

    /// <summary>As <see cref="Record"/>, for an op of several results.</summary>
    public static void RecordAll(string name, ReadOnlySpan<Tensor> outputs, ReadOnlySpan<Tensor?> inputs, ReadOnlySpan<Saved> saved, BackwardFunction backward)
    {
        if (Records(inputs)) _ = new GradientNode(name, outputs, inputs, saved, backward);
    }

    /// <summary>Whether an op on these inputs will be recorded: what only a backward pass needs is worth computing only then.</summary>
    public static bool Records(params ReadOnlySpan<Tensor?> inputs)
    {
        if (!GradMode.IsEnabled) return false;
        foreach (Tensor? input in inputs)
            if (input is { RequiresGrad: true }) return true;
        return false;
    }

    /// <summary>Uninitialised dense memory like another tensor's.</summary>
    public static Tensor Like(Tensor tensor) => Tensor.Allocate(tensor.Shape, tensor.DType, tensor.Device);

    /// <summary>The element type of statistics and accumulators for a type: double for the reference precision, else single.</summary>
    public static DType Accumulator(DType dtype) => dtype == DType.Float64 ? DType.Float64 : DType.Float32;

    /// <summary>Checks that a tensor has rows of a floating-point type, and gives their length.</summary>
    public static int RequireRows(string op, Tensor input, string parameter = "input")
    {
        ArgumentNullException.ThrowIfNull(input, parameter);
        Check(input.Shape.Rank >= 1, op, parameter, $"a scalar has no features; pass [..., features]");
        Check(input.DType.IsFloatingPoint(), op, parameter, $"{input.DType} is not a floating-point type");
        return input.Shape[-1];
    }

    /// <summary>Checks a per-feature parameter, [features] of the input's type; null passes.</summary>
    public static void RequireVector(string op, Tensor? vector, int features, Tensor input, string parameter)
    {
        if (vector is null) return;
        Check(vector.Shape.Rank == 1 && vector.Shape[0] == features, op, parameter, $"shape {vector.Shape} does not fit input {input.Shape}; expected [{features}]");
        SameType(op, input, vector, parameter);
        Check(vector.IsContiguous, op, parameter, $"the vector has gaps; call Contiguous()");
    }

    /// <summary>One value per row in the accumulator's type: [rows].</summary>
    public static Tensor RowStatistic(Tensor input)
    {
        long rows = 1;
        foreach (int size in input.Shape.Dimensions[..^1]) rows *= size;
        return Tensor.Allocate([checked((int)rows)], Accumulator(input.DType), input.Device);
    }

    public static void RequireFloatingPoint(DType dtype, string parameter)
    {
        if (!dtype.IsFloatingPoint()) throw new ArgumentException($"{dtype} is not a floating-point type", parameter);
    }

    /// <summary>Refuses what an op cannot read, naming the op and the parameter. The message is formatted only on failure.</summary>
    public static void Check([DoesNotReturnIf(false)] bool condition, string op, string parameter, [InterpolatedStringHandlerArgument(nameof(condition))] CheckMessage message)
    {
        if (!condition) throw new ArgumentException($"{op}: {message.Text}", parameter);
    }

    public static void SameType(string op, Tensor first, Tensor? other, string parameter)
    {
        if (other is not null && other.DType != first.DType)
            throw new ArgumentException($"{op}: element type {other.DType} does not match {first.DType}; convert with To(dtype:)", parameter);
    }
}

/// <summary>Builds the message of a failed check; when the check holds, nothing is formatted.</summary>
[InterpolatedStringHandler]
internal ref struct CheckMessage
{
    private DefaultInterpolatedStringHandler _handler;
    private readonly bool _failed;

    public CheckMessage(int literalLength, int formattedCount, bool condition, out bool enabled)
    {
        enabled = _failed = !condition;
        if (enabled) _handler = new(literalLength, formattedCount, System.Globalization.CultureInfo.InvariantCulture);
    }

    public string Text => _failed ? _handler.ToStringAndClear() : "";
    public void AppendLiteral(string text) => _handler.AppendLiteral(text);
    public void AppendFormatted<T>(T value) => _handler.AppendFormatted(value);
}
