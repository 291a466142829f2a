using System.Globalization;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>A compile option of a kernel: its name in the source, and all the values it can take.</summary>
internal sealed record KernelOption(string Name, IReadOnlyList<OptionValue> Domain)
{
    /// <summary>The types that kernels compute on: bf16, f16, f32.</summary>
    public static KernelOption FloatingPoint(string name) => new(name, [DType.BFloat16, DType.Float16, DType.Float32]);

    /// <summary>0 or 1.</summary>
    public static KernelOption Flag(string name) => new(name, [false, true]);

    /// <summary>Some numbers.</summary>
    public static KernelOption Values(string name, params ReadOnlySpan<int> values)
    {
        var domain = new OptionValue[values.Length];
        for (int i = 0; i < domain.Length; i++) domain[i] = values[i];
        return new(name, domain);
    }
}

/// <summary>A value of a compile option: an element type, a flag or a number below 2^16.</summary>
internal readonly record struct OptionValue(ushort Code, bool IsType)
{
    public static implicit operator OptionValue(DType type) => new((ushort)type, true);
    public static implicit operator OptionValue(bool flag) => new(flag ? (ushort)1 : (ushort)0, false);
    public static implicit operator OptionValue(int value) => new(checked((ushort)value), false);

    /// <summary>As the source reads it.</summary>
    public override string ToString() => !IsType ? Code.ToString(CultureInfo.InvariantCulture) : (DType)Code switch
    {
        DType.Float64 => "f64",
        DType.Float32 => "f32",
        DType.BFloat16 => "bf16",
        DType.Float16 => "f16",
        DType.Int32 => "i32",
        DType.Int64 => "i64",
        DType.Bool => "u8",
        _ => throw new ArgumentOutOfRangeException(nameof(Code), Code, "no element type"),
    };
}
