using Varlen.Checkpoints;

namespace Varlen;

/// <summary>One tensor of a <see cref="SafetensorsFile"/>: its name, element type, shape and place. Immutable.</summary>
public sealed class SafetensorsEntry
{
    private readonly SafetensorsElement _element;
    private readonly long[] _shape;
    private readonly string _path;

    internal SafetensorsEntry(string path, string name, SafetensorsElement element, long[] shape, long begin, long end)
    {
        (_path, Name, _element, _shape, Begin, End) = (path, name, element, shape, begin, end);
    }

    /// <summary>The tensor's name.</summary>
    public string Name { get; }

    /// <summary>The element type's code in the file, such as <c>F32</c> or <c>F8_E4M3</c>.</summary>
    public string DTypeName => _element.Code;

    /// <summary>Whether the element type is one that Varlen computes with: F64, F32, F16, BF16, I64, I32 or BOOL.</summary>
    public bool IsSupported => _element.DType is not null;

    /// <summary>The element type.</summary>
    /// <exception cref="CheckpointFormatException">The type is legal in the format but not one that Varlen computes with.</exception>
    public DType DType => _element.DType ?? throw new CheckpointFormatException(
        $"tensor {JsonText.Quote(Name)} has element type {DTypeName}", _path, Begin,
        "Varlen reads F64, F32, F16, BF16, I64, I32 and BOOL", "convert that tensor to one of them, or leave it out");

    /// <summary>The shape; empty for a scalar. A zero makes the tensor empty.</summary>
    public ReadOnlySpan<long> Shape => _shape;

    /// <summary>First byte in the file.</summary>
    public long Begin { get; }

    /// <summary>One past the last byte in the file.</summary>
    public long End { get; }

    /// <summary>Bytes of the tensor.</summary>
    public long ByteLength => End - Begin;

    /// <inheritdoc/>
    public override string ToString() => $"{JsonText.Quote(Name)} {DTypeName} [{string.Join(", ", _shape)}]";
}
