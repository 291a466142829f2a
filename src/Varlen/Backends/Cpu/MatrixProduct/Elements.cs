using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu;

/// <summary>Conversion between a storage format and single precision: exact on load, to nearest with ties to even on store.</summary>
/// <typeparam name="T">The storage type.</typeparam>
internal unsafe interface IElement<T> where T : unmanaged
{
    static abstract float Load(T* source);
    static abstract Vector128<float> Load4(T* source);
    static abstract Vector256<float> Load8(T* source);
    static abstract Vector512<float> Load16(T* source);
    static abstract void Store(T* destination, float value);
    static abstract void Store8(T* destination, Vector256<float> value);
}

/// <summary>Single precision: nothing to convert.</summary>
internal readonly unsafe struct Float32Element : IElement<float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static float Load(float* source) => *source;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Vector128<float> Load4(float* source) => Vector128.Load(source);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Vector256<float> Load8(float* source) => Vector256.Load(source);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Vector512<float> Load16(float* source) => Vector512.Load(source);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static void Store(float* destination, float value) => *destination = value;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static void Store8(float* destination, Vector256<float> value) => value.Store(destination);
}

/// <summary>bfloat16: the upper half of a single.</summary>
internal readonly unsafe struct BFloat16Element : IElement<BFloat16>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static float Load(BFloat16* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load4(BFloat16* source)
        => (Vector128.WidenLower(Vector64.Load((ushort*)source).ToVector128Unsafe()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load8(BFloat16* source)
        => (Vector256.WidenLower(Vector128.Load((ushort*)source).ToVector256Unsafe()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load16(BFloat16* source)
        => (Vector512.WidenLower(Vector256.Load((ushort*)source).ToVector512Unsafe()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static void Store(BFloat16* destination, float value) => *destination = (BFloat16)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store8(BFloat16* destination, Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        // Rounding would carry a NaN with a full fraction into infinity.
        Vector256<uint> quiet = (bits >> 16) | Vector256.Create(0x40u);
        Vector256<uint> result = Vector256.ConditionalSelect(Vector256.Equals(value, value).AsUInt32(), rounded, quiet);
        Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)destination);
    }
}

/// <summary>IEEE half. .NET has no vector conversion for it, so it is done on the bits.</summary>
internal readonly unsafe struct Float16Element : IElement<Half>
{
    // Half has 5 exponent bits with bias 15, single 8 with bias 127; a fraction shifted by 13 lines up.
    private const uint ExponentShift = (127 - 15) << 23;
    private const uint HalfInfinity = 0x7C00 << 13;
    private const uint SmallestNormal = 0x0400 << 13;

    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static float Load(Half* source) => (float)*source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load4(Half* source)
    {
        Vector128<uint> bits = Vector128.WidenLower(Vector64.Load((ushort*)source).ToVector128Unsafe());
        Vector128<uint> magnitude = (bits & Vector128.Create(0x7FFFu)) << 13;
        Vector128<uint> shifted = magnitude + Vector128.Create(ExponentShift);
        shifted += Vector128.GreaterThanOrEqual(magnitude, Vector128.Create(HalfInfinity)) & Vector128.Create(ExponentShift);
        // A subnormal half is a normal single: put its fraction under a leading one, then take the one away.
        Vector128<uint> one = Vector128.Create(ExponentShift + SmallestNormal);
        Vector128<uint> small = ((magnitude + one).AsSingle() - one.AsSingle()).AsUInt32();
        Vector128<uint> value = Vector128.ConditionalSelect(Vector128.LessThan(magnitude, Vector128.Create(SmallestNormal)), small, shifted);
        return (value | ((bits & Vector128.Create(0x8000u)) << 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load8(Half* source) => Vector256.Create(Load4(source), Load4(source + 4));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load16(Half* source) => Vector512.Create(Load8(source), Load8(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static void Store(Half* destination, float value) => *destination = (Half)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store8(Half* destination, Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> sign = (bits >> 16) & Vector256.Create(0x8000u);
        Vector256<uint> magnitude = bits & Vector256.Create(0x7FFF_FFFFu);
        Vector256<uint> normal = (magnitude - Vector256.Create(ExponentShift) + Vector256.Create(0xFFFu)
            + ((magnitude >> 13) & Vector256<uint>.One)) >> 13;
        // Adding 0.5 leaves a single whose last bit is worth the smallest subnormal half: the adder does the rounding.
        Vector256<float> half = Vector256.Create(0.5f);
        Vector256<uint> small = (magnitude.AsSingle() + half).AsUInt32() - half.AsUInt32();
        Vector256<uint> result = Vector256.ConditionalSelect(
            Vector256.LessThan(magnitude, Vector256.Create(ExponentShift + SmallestNormal)), small, normal);
        // From 65520 on, the nearest half is infinity.
        result = Vector256.ConditionalSelect(
            Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(65520f).AsUInt32()), Vector256.Create(0x7C00u), result);
        result = Vector256.ConditionalSelect(
            Vector256.GreaterThan(magnitude, Vector256.Create(0x7F80_0000u)), Vector256.Create(0x7E00u), result) | sign;
        Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)destination);
    }
}
