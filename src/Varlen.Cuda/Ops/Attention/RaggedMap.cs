using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>How the copy engine sees a packed tensor: the twin of <c>TensorMap</c> in hopper.cuh, opaque here.</summary>
[InlineArray(16)]
internal struct TensorMap
{
    private ulong _first;
}

/// <summary>
/// Maps of packed tensors [tokens, heads, dim] in which the copy engine itself clips at a sequence's end: the rows of a sequence are counted against
/// the end of a dimension of <see cref="Rows"/> rows, and a further dimension of the same stride shifts that end to where the sequence's is.
/// So loads beyond it bring zeros, and stores beyond it leave the next sequence alone.
/// </summary>
internal static unsafe class RaggedMap
{
    private const int Float16Type = 6, BFloat16Type = 9, Swizzle128 = 3, Promote128 = 2;
    private const int PanelColumns = 64, Rank = 4;
    private const ulong AnyEnd = (1UL << 31) - 1;

    // The driver wants the map 64-byte aligned.
    [ThreadStatic] private static void* t_map;

    /// <summary>The least power of two that no sequence's length passes.</summary>
    public static int Rows(int longest) => (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(longest, 512));

    /// <param name="backend">The device.</param>
    /// <param name="tensor">16-bit, rows and heads 16-byte aligned.</param>
    /// <param name="rows">From <see cref="Rows"/>.</param>
    /// <param name="box">Rows that one copy moves.</param>
    public static TensorMap Of(CudaBackend backend, Tensor tensor, int rows, int box)
    {
        // A tensor without tokens has no address, and nothing is ever copied from it.
        if (tensor.Count == 0) return default;
        if (t_map is null) t_map = NativeMemory.AlignedAlloc((nuint)sizeof(TensorMap), 64);
        int size = tensor.DType.Size();
        // A dimension of size 1 may come with any stride, and the copy engine wants a multiple of 16 all the same.
        ulong token = Stride(0), head = Stride(1);
        ulong* sizes = stackalloc ulong[Rank] { (ulong)tensor.Shape[2], (ulong)rows, (ulong)tensor.Shape[1], AnyEnd };
        ulong* strides = stackalloc ulong[Rank - 1] { token, head, token };
        uint* boxes = stackalloc uint[Rank] { PanelColumns, (uint)box, 1, 1 };
        uint* steps = stackalloc uint[Rank] { 1, 1, 1, 1 };
        nint address = tensor.Pointer - (nint)((ulong)rows * token);
        backend.Check(
            Driver.TensorMapEncodeTiled(t_map, tensor.DType == DType.BFloat16 ? BFloat16Type : Float16Type, Rank, address, sizes, strides, boxes, steps, 0, Swizzle128, Promote128, 0),
            "cuTensorMapEncodeTiled");
        return *(TensorMap*)t_map;

        ulong Stride(int dimension) => (ulong)((tensor.Shape[dimension] == 1 ? tensor.Shape[2] : tensor.Strides[dimension]) * size);
    }
}
