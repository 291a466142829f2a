using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Optim;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IAdamWKernels, ISgdKernels
{
    private static readonly KernelFamily
        AdamWBeginKernel = new("optimizer.cu", "adamw_begin"), AdamWUpdateKernel = new("optimizer.cu", "adamw_update"),
        SgdBeginKernel = new("optimizer.cu", "sgd_begin"), SgdUpdateKernel = new("optimizer.cu", "sgd_update");

    private ParameterChunks? _parameterChunks;

    private ParameterChunks ParameterTables => _parameterChunks ??= new ParameterChunks(this);

    public void AdamW(IReadOnlyList<ParameterUpdate> updates, AdamWOptions options, Tensor stepState, Tensor updateCount)
    {
        using Tensor numbers = Tensor.AllocateUntracked([2], DType.Float32, Device);
        var arguments = new UpdateArguments { State = stepState.Pointer, UpdateCount = updateCount.Pointer, Numbers = numbers.Pointer, Beta1 = options.Beta1, Beta2 = options.Beta2, Epsilon = options.Epsilon };
        UpdateAll(nameof(AdamW), AdamWBeginKernel, AdamWUpdateKernel, updates, arguments);
    }

    public void Sgd(IReadOnlyList<ParameterUpdate> updates, SgdOptions options, Tensor stepState, Tensor updateCount)
    {
        var arguments = new UpdateArguments { State = stepState.Pointer, UpdateCount = updateCount.Pointer, Momentum = options.Momentum, Nesterov = options.Nesterov ? 1 : 0 };
        UpdateAll(nameof(Sgd), SgdBeginKernel, SgdUpdateKernel, updates, arguments);
    }

    // The count goes up in a launch of its own: blocks of one launch cannot agree on when.
    private void UpdateAll(string op, KernelFamily begin, KernelFamily update, IReadOnlyList<ParameterUpdate> updates, UpdateArguments arguments)
    {
        ParameterChunks.Table table = ParameterTables.Of(op, updates);
        (arguments.Parameters, arguments.Chunks) = (table.Parameters, table.Chunks);
        Launch(begin.With(), 1, 32, in arguments);
        if (table.Count > 0) Launch(update.With(), table.Count, 256, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct UpdateArguments
    {
        public nint Parameters, Chunks, State, UpdateCount, Numbers;
        public double Beta1, Beta2, Epsilon, Momentum;
        public int Nesterov, Padding;
    }
}
