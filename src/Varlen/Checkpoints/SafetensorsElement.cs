using System.Collections.Immutable;

namespace Varlen.Checkpoints;

/// <summary>One element type of the safetensors format: its code in the header, its width, and the <see cref="DType"/> that stores it.</summary>
internal sealed record SafetensorsElement(string Code, int Bits, DType? DType = null)
{
    /// <summary>Every code of the format; a record's position here is its compact form in a parsed header.</summary>
    public static readonly ImmutableArray<SafetensorsElement> All =
    [
        new("F32", 32, Varlen.DType.Float32), new("BF16", 16, Varlen.DType.BFloat16), new("F16", 16, Varlen.DType.Float16),
        new("F64", 64, Varlen.DType.Float64), new("I64", 64, Varlen.DType.Int64), new("I32", 32, Varlen.DType.Int32),
        new("BOOL", 8, Varlen.DType.Bool), new("I8", 8), new("U8", 8), new("I16", 16), new("U16", 16), new("U32", 32), new("U64", 64),
        new("F8_E4M3", 8), new("F8_E5M2", 8), new("F8_E8M0", 8), new("F8_E4M3FNUZ", 8), new("F8_E5M2FNUZ", 8),
        new("F6_E2M3", 6), new("F6_E3M2", 6), new("F4", 4), new("C64", 64),
    ];

    private static readonly byte[][] Codes = [.. All.Select(element => System.Text.Encoding.ASCII.GetBytes(element.Code))];

    public const int LongestCode = 11;

    /// <summary>Position in <see cref="All"/> of a code, or -1.</summary>
    public static int IndexOf(ReadOnlySpan<byte> code)
    {
        for (int i = 0; i < Codes.Length; i++)
            if (code.SequenceEqual(Codes[i])) return i;
        return -1;
    }

    /// <summary>The format's type for one of ours.</summary>
    public static SafetensorsElement Of(DType dtype) =>
        All.FirstOrDefault(element => element.DType == dtype)
        ?? throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "safetensors has no code for this element type");
}
