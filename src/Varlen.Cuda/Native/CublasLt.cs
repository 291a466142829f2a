using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Native;

/// <summary>cuBLASLt, as far as it is called. Matrices are column-major there.</summary>
internal static unsafe partial class CublasLt
{
    private const string Library = "cublasLt";

    [LibraryImport(Library, EntryPoint = "cublasLtGetVersion")] public static partial nuint Version();
    [LibraryImport(Library, EntryPoint = "cublasLtCreate")] public static partial BlasStatus Create(out nint handle);
    [LibraryImport(Library, EntryPoint = "cublasLtGetStatusString")] private static partial byte* GetStatusString(BlasStatus status);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescCreate")] public static partial BlasStatus OperationCreate(out nint operation, ComputeType compute, BlasType scale);
    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescDestroy")] public static partial BlasStatus OperationDestroy(nint operation);
    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescSetAttribute")] public static partial BlasStatus OperationSet(nint operation, OperationAttribute attribute, void* value, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cublasLtMatrixLayoutCreate")] public static partial BlasStatus LayoutCreate(out nint layout, BlasType type, ulong rows, ulong columns, long stride);
    [LibraryImport(Library, EntryPoint = "cublasLtMatrixLayoutDestroy")] public static partial BlasStatus LayoutDestroy(nint layout);
    [LibraryImport(Library, EntryPoint = "cublasLtMatrixLayoutSetAttribute")] public static partial BlasStatus LayoutSet(nint layout, LayoutAttribute attribute, void* value, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceCreate")] public static partial BlasStatus PreferenceCreate(out nint preference);
    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceDestroy")] public static partial BlasStatus PreferenceDestroy(nint preference);
    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceSetAttribute")] public static partial BlasStatus PreferenceSet(nint preference, PreferenceAttribute attribute, void* value, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulAlgoGetHeuristic")]
    public static partial BlasStatus Candidates(nint handle, nint operation, nint a, nint b, nint c, nint d, nint preference, int wanted, ProductCandidate* results, out int found);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulAlgoConfigGetAttribute")]
    public static partial BlasStatus AlgorithmGet(ProductAlgorithm* algorithm, AlgorithmAttribute attribute, void* value, nuint bytes, out nuint written);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulAlgoCheck")]
    public static partial BlasStatus AlgorithmCheck(nint handle, nint operation, nint a, nint b, nint c, nint d, ProductAlgorithm* algorithm, out ProductCandidate result);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmul")]
    public static partial BlasStatus Multiply(
        nint handle, nint operation, void* alpha, nint a, nint layoutA, nint b, nint layoutB, void* beta, nint c, nint layoutC, nint d, nint layoutD, ProductAlgorithm* algorithm,
        nint workspace, nuint workspaceBytes, nint stream);

    public static void Check(BlasStatus status, string call)
    {
        if (status != BlasStatus.Success) throw new CudaException($"{call} failed: {Describe(status)}");
    }

    public static string Describe(BlasStatus status) => $"{Marshal.PtrToStringUTF8((nint)GetStatusString(status)) ?? "status"} ({(int)status})";
}

internal enum BlasStatus
{
    Success = 0,
    NotInitialized = 1,
    AllocationFailed = 3,
    InvalidValue = 7,
    ArchitectureMismatch = 8,
    ExecutionFailed = 13,
    InternalError = 14,
    NotSupported = 15,
}

internal enum BlasType
{
    Float32 = 0,
    Float16 = 2,
    BFloat16 = 14,
}

internal enum ComputeType
{
    /// <summary>Single precision: fused multiply-adds for Float32 inputs, tensor cores for 16-bit ones.</summary>
    Float32 = 68,
}

internal enum OperationAttribute
{
    PointerMode = 2,
    TransposeA = 3,
    TransposeB = 4,
    Epilogue = 7,
    BiasPointer = 8,
}

internal enum LayoutAttribute
{
    Rows = 2,
    Columns = 3,
    Stride = 4,
    BatchCount = 5,
    BatchStep = 6,
}

internal enum PreferenceAttribute
{
    WorkspaceBytes = 1,
    ReductionSchemes = 3,
    AlignmentA = 5,
    AlignmentB = 6,
    AlignmentC = 7,
    AlignmentD = 8,
}

internal enum AlgorithmAttribute
{
    Id = 0,
    Tile = 1,
    DepthSplits = 2,
    ReductionScheme = 3,
}

/// <summary>What is done to the result before it is stored.</summary>
internal enum Epilogue
{
    None = 1,
    Bias = 4,
}

/// <summary>How sums are put together that were cut along the depth; a mask, in which none is always allowed.</summary>
internal enum ReductionSchemes
{
    None = 0,
    /// <summary>In the accumulator's precision; other schemes round parts to the result's type.</summary>
    Accumulator = 2,
}

/// <summary>One way to compute a product: opaque.</summary>
[InlineArray(8)]
internal struct ProductAlgorithm
{
    private ulong _first;
}

/// <summary>An algorithm that the library proposes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProductCandidate
{
    public ProductAlgorithm Algorithm;
    public nuint WorkspaceBytes;
    public BlasStatus State;
    public float Waves;
    public Reserved4 Reserved;

    [InlineArray(4)]
    public struct Reserved4
    {
        private int _first;
    }
}
