namespace Varlen;

/// <summary>Element type of a tensor.</summary>
public enum DType
{
    /// <summary>IEEE double; the reference precision, on the CPU only.</summary>
    Float64,
    /// <summary>IEEE single.</summary>
    Float32,
    /// <summary>Brain float: storage and matrix inputs; accumulation is single precision.</summary>
    BFloat16,
    /// <summary>IEEE half: storage and matrix inputs; accumulation is single precision.</summary>
    Float16,
    /// <summary>32-bit signed integer: offsets, positions.</summary>
    Int32,
    /// <summary>64-bit signed integer: token ids.</summary>
    Int64,
    /// <summary>One byte, 0 or 1: masks.</summary>
    Bool,
}

/// <summary>Facts about element types.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType dtype) => dtype switch
    {
        DType.Float64 or DType.Int64 => 8,
        DType.Float32 or DType.Int32 => 4,
        DType.BFloat16 or DType.Float16 => 2,
        DType.Bool => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "not an element type"),
    };

    /// <summary>Whether the type is one of the four floating-point types.</summary>
    public static bool IsFloatingPoint(this DType dtype) => dtype is DType.Float64 or DType.Float32 or DType.BFloat16 or DType.Float16;

    /// <summary>The element type that stores a .NET type.</summary>
    /// <exception cref="NotSupportedException">No element type stores <typeparamref name="T"/>.</exception>
    public static DType Of<T>() where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return DType.Float64;
        if (typeof(T) == typeof(float)) return DType.Float32;
        if (typeof(T) == typeof(BFloat16)) return DType.BFloat16;
        if (typeof(T) == typeof(Half)) return DType.Float16;
        if (typeof(T) == typeof(int)) return DType.Int32;
        if (typeof(T) == typeof(long)) return DType.Int64;
        if (typeof(T) == typeof(bool)) return DType.Bool;
        throw new NotSupportedException($"no element type stores {typeof(T)}; use double, float, BFloat16, Half, int, long or bool");
    }
}
