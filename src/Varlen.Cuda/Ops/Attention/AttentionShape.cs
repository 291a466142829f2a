namespace Varlen.Backends.Cuda.Attention;

/// <summary>Sizes of tiles for an element type and head dim; the twin of <c>Shape</c> in attention.cuh, which says why.</summary>
internal readonly record struct AttentionShape
{
    public static readonly int[] Buckets = [32, 64, 96, 128, 192, 256];

    public AttentionShape(DType dtype, int headDim)
    {
        Bucket = Buckets.First(bucket => bucket >= headDim);
        bool isSingle = dtype == DType.Float32;
        RowBytes = Bucket * dtype.Size();
        Warps = isSingle && Bucket > 128 ? 2 : 4;
        Slabs = !isSingle && Bucket <= 128 ? 2 : 1;
        Keys = !isSingle ? (Bucket <= 128 ? 64 : 32) : Bucket <= 64 ? 64 : Bucket <= 128 ? 32 : 16;
        ForwardKeys = !isSingle && Bucket > 96 ? 32 : Keys;
        Queries = !isSingle ? (Bucket <= 128 ? 64 : 32) : Bucket <= 128 ? 32 : 16;
        const int chunk = 16;
        int scratch = isSingle ? Warps * 16 * sizeof(float) : 0;
        ForwardBytes = (((Rows * Slabs) + (4 * ForwardKeys)) * RowBytes) + (scratch * ForwardKeys);
        QueryBytes = (((2 * Rows) + (4 * Keys)) * RowBytes) + (scratch * Keys);
        KeyBytes = (((2 * Rows) + (4 * Queries)) * RowBytes) + (2 * Queries * 2 * sizeof(float)) + (scratch * chunk);
    }

    /// <summary>The head dim that kernels are compiled for; features in between are 0.</summary>
    public int Bucket { get; }

    public int RowBytes { get; }

    /// <summary>Warps of a block.</summary>
    public int Warps { get; }

    public int Threads => 32 * Warps;

    /// <summary>Rows of a tile where a warp has one slab of 16.</summary>
    public int Rows => 16 * Warps;

    /// <summary>Slabs of a warp in the forward pass's long tiles.</summary>
    public int Slabs { get; }

    /// <summary>Keys of a step of a query tile of the backward pass.</summary>
    public int Keys { get; }

    /// <summary>Keys of a step of the forward pass.</summary>
    public int ForwardKeys { get; }

    /// <summary>Queries of a step of a key tile.</summary>
    public int Queries { get; }

    /// <summary>Shared memory of a block, for each kernel.</summary>
    public int ForwardBytes { get; }
    public int QueryBytes { get; }
    public int KeyBytes { get; }

    /// <summary>Whether one pass over the queries has room for the sums of keys and values.</summary>
    public bool SumsBoth => Bucket <= 128;
}
