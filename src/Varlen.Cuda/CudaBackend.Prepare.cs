using Varlen.Backends.Cuda.Compilation;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    // Compiled when a call asks for them: score options that few models have.
    private const string RareFlag = "FEATURES", HeadDimOption = "HEAD_DIM";

    /// <summary>Compiles, on all processors at once, what a model launches and is not on the disk yet; without this each kernel is compiled when it is first launched.</summary>
    /// <param name="type">What the model computes in.</param>
    /// <param name="headDim">Features of its attention heads.</param>
    public void PrepareModel(DType type, int headDim)
    {
        EnsureCurrent();
        Kernels.Prepare(KernelSources.Families().SelectMany(family => family.All().Where(key => family.Options.Select((option, i) => (option, Code: key.Code(i))).All(Fits))));

        bool Fits((KernelOption Option, ushort Code) value) => value.Option.Name switch
        {
            RareFlag => value.Code == 0,
            HeadDimOption => value.Code == value.Option.Domain.Where(size => size.Code >= headDim).Select(size => (int)size.Code).DefaultIfEmpty(0).Min(),
            _ => !value.Option.Domain[0].IsType || value.Code == (ushort)type,
        };
    }
}
