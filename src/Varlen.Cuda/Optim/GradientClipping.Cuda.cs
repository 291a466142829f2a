using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Optim;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IGradientNormKernels
{
    private static readonly KernelFamily GradientSquaresKernel = new("optimizer.cu", "gradient_squares"), GradientNormKernel = new("optimizer.cu", "gradient_norm");

    public void GradientNorm(IReadOnlyList<Tensor> gradients, double? maxNorm, Tensor stepState)
    {
        ParameterChunks.Table table = ParameterTables.Of(nameof(GradientNorm), gradients);
        using Tensor sums = Tensor.AllocateUntracked([table.Count], DType.Float64, Device);
        var arguments = new GradientNormArguments
        {
            Parameters = table.Parameters, Chunks = table.Chunks, Sums = sums.Pointer, State = stepState.Pointer, ChunkCount = table.Count, MaxNorm = maxNorm ?? 0, Clips = maxNorm is null ? 0 : 1,
        };
        if (table.Count > 0) Launch(GradientSquaresKernel.With(), table.Count, 256, in arguments);
        Launch(GradientNormKernel.With(), 1, 1024, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct GradientNormArguments
    {
        public nint Parameters, Chunks, Sums, State;
        public long ChunkCount;
        public double MaxNorm;
        public int Clips, Padding;
    }
}
