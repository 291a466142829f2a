using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.MatrixProducts;

/// <summary>The plans of one device, made on first use and kept, with the library's handle and its workspace. One stream, so one workspace.</summary>
/// <remarks>
/// The library proposes algorithms for a shape, and its first proposal is not always its fastest. Where the device may be waited for, large products, and
/// those of few rows with large weights, are timed once for each key. When rows must not depend on how many there are, the algorithm is chosen for <see cref="ProductKey.FixedRows"/> rows and
/// must take any number of them and add up the depth in one piece; nothing is timed.
/// </remarks>
internal sealed unsafe class ProductPlans
{
    private const int WorkspaceBytes = 32 << 20, MostPlans = 1024, Candidates = 8, FixedCandidates = 32, Sweeps = 2, Repetitions = 3;
    // Below this many operations a product takes about as long as its launch.
    private const double WorthTiming = 1L << 30;
    // Few rows take as long as reading the other operand, and how fast that is depends on the algorithm, however few operations there are.
    private const long FewRows = 64, WorthReading = 1 << 20;

    private readonly CudaBackend _backend;
    private readonly Dictionary<ProductKey, ProductPlan?> _plans = [];
    private readonly nint _handle;
    private nint _workspace, _zeroAndOne;

    public ProductPlans(CudaBackend backend)
    {
        _backend = backend;
        CublasLt.Check(CublasLt.Create(out _handle), "cublasLtCreate");
    }

    /// <summary>Plans so far.</summary>
    public int Count => _plans.Count;

    /// <summary>Products that were timed.</summary>
    public int Timed { get; private set; }

    /// <summary>Starts a product, or gives false when the library has no algorithm for it.</summary>
    /// <param name="product">The product; none of its sizes is 0.</param>
    /// <param name="rowsAreColumns">Whether the caller's rows are the product's columns.</param>
    public bool TryStart(in Product product, bool rowsAreColumns)
    {
        ProductKey key = ProductKey.Of(product, _backend.Deterministic, rowsAreColumns);
        if (TryStart(product, key)) return true;
        // Another shape of the same bucket, or other strides, may need another algorithm or more workspace. Rows that must not depend on
        // their number go to a kernel of our own instead.
        return !_backend.Deterministic && TryStart(product, key.ExactlyOf(product));
    }

    private bool TryStart(in Product product, ProductKey key)
    {
        if (!_plans.TryGetValue(key, out ProductPlan? plan))
        {
            if (_plans.Count >= MostPlans) Clear();
            _plans.Add(key, plan = Make(key, product));
        }
        if (plan is null) return false;
        plan.Describe(product);
        return TryStart(plan, product, plan.Algorithm, plan.WorkspaceBytes);
    }

    private bool TryStart(ProductPlan plan, in Product product, in ProductAlgorithm algorithm, nuint workspaceBytes)
    {
        if (workspaceBytes > 0 && _workspace == 0) _workspace = _backend.Pool.Allocate(WorkspaceBytes);
        if (product.Factor != 0 && _zeroAndOne == 0) MakeConstants();
        BlasStatus status = plan.Start(_handle, product, algorithm, _workspace, workspaceBytes, _zeroAndOne, _backend.Stream);
        if (status is BlasStatus.NotSupported or BlasStatus.InvalidValue or BlasStatus.ArchitectureMismatch) return false;
        _backend.NoteLaunch(plan.Name);
        if (status != BlasStatus.Success)
        {
            // A fault of an earlier kernel comes out here, too.
            _backend.Check(Driver.StreamSynchronize(_backend.Stream), plan.Name);
            throw new CudaException($"{plan.Name} failed: {CublasLt.Describe(status)}");
        }
        return true;
    }

    private ProductPlan? Make(ProductKey key, in Product product)
    {
        var plan = new ProductPlan(key);
        bool found = key.Has(ProductTraits.FixedRows) ? ChooseForAnyRows(plan, key, product) : Choose(plan, key, product);
        if (found) return plan;
        plan.Dispose();
        return null;
    }

    private bool Choose(ProductPlan plan, ProductKey key, in Product product)
    {
        plan.Describe(product);
        Span<ProductCandidate> candidates = stackalloc ProductCandidate[Candidates];
        candidates = candidates[..Propose(plan, key, WorkspaceBytes, ReductionSchemes.Accumulator, candidates)];
        if (candidates.IsEmpty) return false;
        // Timing waits, which a capture may not: there, too, the choice is the library's.
        int best = _backend is { TunesMatrixProducts: true, IsCapturing: false } && IsWorthTiming(product) ? Fastest(plan, product, candidates) : 0;
        (plan.Algorithm, plan.WorkspaceBytes) = (candidates[best].Algorithm, candidates[best].WorkspaceBytes);
        return true;
    }

    private static bool IsWorthTiming(in Product product) => 2.0 * product.M * product.N * product.K * product.Batch >= WorthTiming
        || (Math.Min(product.M, product.N) <= FewRows && (product.M + product.N) * product.K * product.A.DType.Size() >= WorthReading);

    private bool ChooseForAnyRows(ProductPlan plan, ProductKey key, in Product product)
    {
        bool columns = key.Has(ProductTraits.RowsAreColumns);
        int batch = key.Has(ProductTraits.Batched) ? 8 : 1;
        plan.Describe(product.Resized(ProductKey.FixedRows, columns, batch));
        Span<ProductCandidate> candidates = stackalloc ProductCandidate[FixedCandidates];
        candidates = candidates[..Propose(plan, key, 0, ReductionSchemes.None, candidates)];
        foreach (ref ProductCandidate candidate in candidates)
        {
            if (candidate.WorkspaceBytes != 0 || Attribute(ref candidate, AlgorithmAttribute.DepthSplits) is not (0 or 1) || Attribute(ref candidate, AlgorithmAttribute.ReductionScheme) != 0) continue;
            bool takesAll = true;
            foreach (long rows in (ReadOnlySpan<long>)[1, 7, 100, 1 << 20])
            {
                if (!takesAll) break;
                plan.Describe(product.Resized(rows, columns, batch));
                takesAll = plan.Accepts(_handle, candidate.Algorithm, WorkspaceBytes);
            }
            if (!takesAll) continue;
            // For very many rows blocks of some algorithms draw their tiles from a counter, which takes a few bytes; sums stay in one piece.
            (plan.Algorithm, plan.WorkspaceBytes) = (candidate.Algorithm, WorkspaceBytes);
            return true;
        }
        return false;
    }

    private int Propose(ProductPlan plan, ProductKey key, ulong workspaceBytes, ReductionSchemes schemes, Span<ProductCandidate> candidates)
    {
        CublasLt.Check(CublasLt.PreferenceCreate(out nint preference), "cublasLtMatmulPreferenceCreate");
        try
        {
            CublasLt.Check(CublasLt.PreferenceSet(preference, PreferenceAttribute.WorkspaceBytes, &workspaceBytes, sizeof(ulong)), "cublasLtMatmulPreferenceSetAttribute");
            Set(PreferenceAttribute.ReductionSchemes, (uint)schemes);
            Set(PreferenceAttribute.AlignmentA, (uint)key.AlignmentB);
            Set(PreferenceAttribute.AlignmentB, (uint)key.AlignmentA);
            Set(PreferenceAttribute.AlignmentC, (uint)key.AlignmentC);
            Set(PreferenceAttribute.AlignmentD, (uint)key.AlignmentC);
            int found = plan.Propose(_handle, preference, candidates), usable = 0;
            for (int i = 0; i < found; i++)
                if (candidates[i].State == BlasStatus.Success) candidates[usable++] = candidates[i];
            return usable;
        }
        finally
        {
            CublasLt.PreferenceDestroy(preference);
        }

        void Set(PreferenceAttribute attribute, uint value) => CublasLt.Check(CublasLt.PreferenceSet(preference, attribute, &value, sizeof(uint)), "cublasLtMatmulPreferenceSetAttribute");
    }

    // Into scratch memory, since the result may be one that is added to.
    private int Fastest(ProductPlan plan, in Product product, ReadOnlySpan<ProductCandidate> candidates)
    {
        if (candidates.Length == 1) return 0;
        Matrix c = product.C;
        long bytes = ((c.Rows - 1) * c.Stride + c.Columns + (product.Batch - 1) * c.Step) * c.DType.Size();
        nint scratch;
        try
        {
            scratch = _backend.Pool.Allocate(bytes);
        }
        catch (OutOfDeviceMemoryException)
        {
            return 0;
        }
        try
        {
            // Products that add up read the scratch memory first.
            if (product.Accumulate) _backend.FillBytes(scratch, 0, bytes);
            Product trial = product with { C = c with { Data = scratch } };
            using var timer = new CudaTimer(_backend);
            Span<float> best = stackalloc float[candidates.Length];
            best.Fill(float.PositiveInfinity);
            for (int sweep = 0; sweep < Sweeps; sweep++)
            {
                for (int i = 0; i < candidates.Length; i++)
                {
                    // The first one loads the kernel.
                    if (!TryStart(plan, trial, candidates[i].Algorithm, candidates[i].WorkspaceBytes)) continue;
                    timer.Start();
                    for (int n = 0; n < Repetitions; n++) TryStart(plan, trial, candidates[i].Algorithm, candidates[i].WorkspaceBytes);
                    best[i] = Math.Min(best[i], timer.Stop());
                }
            }
            Timed++;
            int fastest = 0;
            for (int i = 1; i < best.Length; i++)
                if (best[i] < best[fastest]) fastest = i;
            return fastest;
        }
        finally
        {
            _backend.Pool.Free(scratch, bytes);
        }
    }

    private static int Attribute(ref ProductCandidate candidate, AlgorithmAttribute attribute)
    {
        int value = 0;
        ProductAlgorithm algorithm = candidate.Algorithm;
        return CublasLt.AlgorithmGet(&algorithm, attribute, &value, sizeof(int), out _) == BlasStatus.Success ? value : -1;
    }

    private void MakeConstants()
    {
        _zeroAndOne = _backend.Pool.Allocate(2 * sizeof(float));
        float* values = stackalloc float[] { 0, 1 };
        _backend.CopyFromHost((nint)values, _zeroAndOne, 2 * sizeof(float));
    }

    private void Clear()
    {
        foreach (ProductPlan? plan in _plans.Values) plan?.Dispose();
        _plans.Clear();
    }
}
