using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu;

/// <summary>Moves tiles of C between their storage format and single precision.</summary>
internal static unsafe class TileStore
{
    /// <summary>Reads a tile of C.</summary>
    internal static void Load(DType dtype, void* c, long ldc, int rows, int columns, float* tile, long stride)
    {
        switch (dtype)
        {
            case DType.BFloat16: Load<BFloat16, BFloat16Element>((BFloat16*)c, ldc, rows, columns, tile, stride); break;
            case DType.Float16: Load<Half, Float16Element>((Half*)c, ldc, rows, columns, tile, stride); break;
            default: Load<float, Float32Element>((float*)c, ldc, rows, columns, tile, stride); break;
        }
    }

    /// <summary>Writes a tile of C; nothing outside of it is touched.</summary>
    internal static void Store(DType dtype, float* tile, long stride, int rows, int columns, void* c, long ldc)
    {
        switch (dtype)
        {
            case DType.BFloat16: Store<BFloat16, BFloat16Element>(tile, stride, rows, columns, (BFloat16*)c, ldc); break;
            case DType.Float16: Store<Half, Float16Element>(tile, stride, rows, columns, (Half*)c, ldc); break;
            default: Store<float, Float32Element>(tile, stride, rows, columns, (float*)c, ldc); break;
        }
    }

    private static void Load<T, E>(T* c, long ldc, int rows, int columns, float* tile, long stride) where T : unmanaged where E : IElement<T>
    {
        for (int row = 0; row < rows; row++, c += ldc, tile += stride)
        {
            int column = 0;
            for (; column + 8 <= columns; column += 8) E.Load8(c + column).Store(tile + column);
            for (; column < columns; column++) tile[column] = E.Load(c + column);
        }
    }

    private static void Store<T, E>(float* tile, long stride, int rows, int columns, T* c, long ldc) where T : unmanaged where E : IElement<T>
    {
        for (int row = 0; row < rows; row++, c += ldc, tile += stride)
        {
            int column = 0;
            for (; column + 8 <= columns; column += 8) E.Store8(c + column, Vector256.Load(tile + column));
            for (; column < columns; column++) E.Store(c + column, tile[column]);
        }
    }
}
