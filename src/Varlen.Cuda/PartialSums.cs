using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private static readonly KernelFamily AddPartialsKernel = new("partial_sums.cu", "add_partials");

    /// <summary>Chunks to cut rows into for a sum over them: enough to fill the device, and no more than there are groups of rows.</summary>
    /// <param name="rows">Rows.</param>
    /// <param name="leastRows">Fewest rows that are worth a chunk.</param>
    /// <param name="perMultiprocessor">Chunks for each multiprocessor.</param>
    private int RowChunks(long rows, int leastRows = 16, int perMultiprocessor = 4)
        => (int)Math.Clamp((rows + leastRows - 1) / leastRows, 1, (long)perMultiprocessor * MultiprocessorCount);

    /// <summary>target (+)= scale * the sum of partial sums, in their order.</summary>
    /// <param name="partials">Single precision [chunks, columns].</param>
    /// <param name="chunks">How many.</param>
    /// <param name="columns">Columns.</param>
    /// <param name="target">Dense [columns], of any type that kernels compute in; nothing happens when it is not wanted.</param>
    /// <param name="scale">Multiplies the sums.</param>
    /// <param name="factor">Address of a double on the device that multiplies them too; 0 for none.</param>
    private void AddPartials(nint partials, int chunks, long columns, GradientTarget target, double scale = 1, nint factor = 0)
    {
        if (!target.IsWanted || columns == 0) return;
        AddPartials(new PartialSumsArguments { Partials = partials, Chunks = chunks, Columns = columns, Factor = factor, Scale = scale, Split = columns, Target = TargetArgument.From(target) });
    }

    /// <summary>As above, for two sums that lie side by side, <c>[chunks, 2, columns]</c>: of a weight and a bias.</summary>
    private void AddPartialPairs(nint partials, int chunks, long columns, GradientTarget first, GradientTarget second)
    {
        if ((!first.IsWanted && !second.IsWanted) || columns == 0) return;
        AddPartials(new PartialSumsArguments { Partials = partials, Chunks = chunks, Columns = 2 * columns, Scale = 1, Split = columns, Target = TargetArgument.From(first), Second = TargetArgument.From(second) });
    }

    private void AddPartials(in PartialSumsArguments arguments) => Launch(AddPartialsKernel.With(), (arguments.Columns + 31) / 32, 1024, in arguments);

    [StructLayout(LayoutKind.Sequential)]
    private struct PartialSumsArguments
    {
        public nint Partials;
        public long Chunks, Columns;
        public nint Factor;
        public double Scale;
        public long Split;
        public TargetArgument Target, Second;
    }
}
