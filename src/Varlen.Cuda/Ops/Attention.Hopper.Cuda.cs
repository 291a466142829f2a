using Varlen.Autograd;
using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private static readonly KernelOption HopperElement = new("ELEMENT", [DType.BFloat16, DType.Float16]);
    private static readonly KernelOption[] HopperElements = [HopperElement, KernelOption.Values("HEAD_DIM", 64, 128)];
    // Two families of one kernel, so that nothing is compiled that AttentionChoice never picks.
    private static readonly KernelFamily HopperForward64Kernel = new("hopper_forward.cu", "hopper_forward", HopperElement, KernelOption.Values("HEAD_DIM", 64), KernelOption.Values("GROUPS", 1, 3)),
        HopperForward128Kernel = new("hopper_forward.cu", "hopper_forward", HopperElement, KernelOption.Values("HEAD_DIM", 128), KernelOption.Values("GROUPS", 2)),
        HopperPrepareKernel = new("hopper_backward.cu", "hopper_backward_prepare", HopperElements),
        HopperBackwardKernel = new("hopper_backward.cu", "hopper_backward", HopperElements),
        HopperFinishKernel = new("hopper_backward.cu", "hopper_backward_finish", HopperElements);

    private void HopperForward(HopperLists lists, AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse)
    {
        int dim = query.Shape[2], queryRows = RaggedMap.Rows(lists.LongestQuery), keyRows = RaggedMap.Rows(lists.LongestKey);
        var arguments = new HopperForwardArguments
        {
            Query = RaggedMap.Of(this, query, queryRows, 64), Key = RaggedMap.Of(this, key, keyRows, HopperLists.Keys), Value = RaggedMap.Of(this, value, keyRows, HopperLists.Keys),
            Output = RaggedMap.Of(this, output, queryRows, 64), Lse = lse.Pointer, LseStride = lse.Strides[0], Heads = query.Shape[1], Group = query.Shape[1] / key.Shape[1],
            Left = call.Options.Window.Left, Right = call.Options.Window.Right, QueryRows = queryRows, KeyRows = keyRows, Scale = (float)call.Scale, ScaleLog2 = (float)(call.Scale * Math.Log2(Math.E)),
        };
        foreach ((int groups, nint list, int count) in lists.Forward)
        {
            if (count == 0) continue;
            arguments.List = list;
            // With a feeder, blocks stay on their multiprocessor, and have memory for the queries of two tiles.
            bool feeds = groups > 1;
            int stages = dim == 64 && feeds ? 4 : 2, bytes = 2 * dim * (((feeds ? 2 : 1) * 64 * groups) + (2 * stages * HopperLists.Keys));
            long units = (long)count * query.Shape[1];
            Launch((dim == 64 ? HopperForward64Kernel : HopperForward128Kernel).With(query.DType, dim, groups), feeds ? Math.Min(units, MultiprocessorCount) : units, 128 * (groups + (feeds ? 1 : 0)), in arguments, bytes);
        }
    }

    private void HopperBackward(HopperLists lists, AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse,
        Tensor outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        (nint tiles, int count, nint sequences, nint blockSequence, int blocks) = lists.Backward;
        int dim = query.Shape[2], heads = query.Shape[1], rows = AttentionChoice.BackwardQueries(dim), padded = blocks * rows;
        int queryRows = RaggedMap.Rows(lists.LongestQuery), keyRows = RaggedMap.Rows(lists.LongestKey);
        using Tensor rowLse = Tensor.AllocateUntracked([heads, padded], DType.Float32, Device), rowDelta = Tensor.AllocateUntracked([heads, padded], DType.Float32, Device);
        using Tensor ticket = Tensor.AllocateUntracked([1], DType.Int32, Device);
        using Tensor workspace = Tensor.AllocateUntracked([heads, padded, dim], DType.Float32, Device);
        var prepare = new HopperPrepareArguments
        {
            Output = output.Pointer, OutputGradient = outputGradient.Pointer, Lse = lse.Pointer, LseGradient = lseGradient?.Pointer ?? 0, RowLse = rowLse.Pointer, RowDelta = rowDelta.Pointer, Workspace = workspace.Pointer,
            Sequences = sequences, BlockSequence = blockSequence, OutputToken = output.Strides[0], OutputHead = output.Strides[1], GradientToken = outputGradient.Strides[0], GradientHead = outputGradient.Strides[1],
            LseStride = lse.Strides[0], LseGradientStride = lseGradient?.Strides[0] ?? 0, PaddedRows = padded, Ticket = ticket.Pointer, Heads = heads,
        };
        if (blocks > 0 || count > 0) Launch(HopperPrepareKernel.With(query.DType, dim), Math.Max(1, (long)blocks * heads), 256, in prepare);
        if (count > 0)
        {
            var arguments = new HopperBackwardArguments
            {
                Query = RaggedMap.Of(this, query, queryRows, rows), Key = RaggedMap.Of(this, key, keyRows, HopperLists.Keys), Value = RaggedMap.Of(this, value, keyRows, HopperLists.Keys),
                OutputGradient = RaggedMap.Of(this, outputGradient, queryRows, rows), Tiles = tiles, Ticket = ticket.Pointer, RowLse = rowLse.Pointer, RowDelta = rowDelta.Pointer, QueryGradient = workspace.Pointer,
                KeyGradient = new AttentionRows(keyGradient), ValueGradient = new AttentionRows(valueGradient), PaddedRows = padded, KeyHeads = key.Shape[1], Group = heads / key.Shape[1],
                Left = call.Options.Window.Left, Right = call.Options.Window.Right, QueryRows = queryRows, KeyRows = keyRows, Works = checked(count * key.Shape[1]), Scale = (float)call.Scale,
            };
            // Keys of two tiles and values, two stages of queries and gradients, two of scores, the queries' part of both warpgroups, two numbers a query and stage.
            int bytes = (3 * HopperLists.Keys * dim * 2) + (4 * rows * dim * 2) + (2 * rows * HopperLists.Keys * 2) + (2 * 64 * 64 * 4) + (4 * rows * 4);
            Launch(HopperBackwardKernel.With(query.DType, dim), Math.Min(arguments.Works, MultiprocessorCount), 384, in arguments, bytes);
        }
        if (blocks == 0 || !queryGradient.IsWanted) return;
        var finish = new HopperFinishArguments
        {
            Workspace = workspace.Pointer, QueryGradient = new AttentionRows(queryGradient), Sequences = sequences, BlockSequence = blockSequence, PaddedRows = padded, Heads = heads, Scale = (float)call.Scale,
        };
        Launch(HopperFinishKernel.With(query.DType, dim), (long)blocks * heads, 256, in finish);
    }

}
