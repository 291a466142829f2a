using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IEmbeddingKernels
{
    public void EmbeddingForward(Tensor weight, Tensor ids, Tensor? positionWeight, Tensor? positions, Tensor output)
    {
        var kernel = new EmbeddingForwardKernel { Backend = this, Weight = weight, Ids = ids, PositionWeight = positionWeight, Positions = positions, Output = output };
        Rows.Dispatch(weight.DType, ref kernel);
    }

    public void EmbeddingBackward(Tensor outputGradient, Tensor ids, int? paddingIndex, GradientTarget weightGradient)
    {
        var kernel = new EmbeddingBackwardKernel { Backend = this, OutputGradient = outputGradient, Ids = ids, PaddingIndex = paddingIndex, WeightGradient = weightGradient };
        Rows.Dispatch(outputGradient.DType, ref kernel);
    }

    /// <summary>Dense 32-bit indices: the tensor's own memory where they are that already.</summary>
    private static Tensor Narrow(Tensor indices) => indices.DType == DType.Int32 ? indices.UntrackedAlias() : indices.UntrackedCopy(DType.Int32, indices.Device);

    private struct EmbeddingForwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Weight, Ids, Output;
        public Tensor? PositionWeight, Positions;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            using Tensor ids = Narrow(Ids), positions = Narrow(Positions ?? Ids);
            var rows = new Body<T, A>
            {
                Features = Weight.Shape[1], Ids = ids.Data<int>(), Positions = positions.Data<int>(),
                Weight = Weight.Data<T>(), PositionWeight = PositionWeight is null ? null : PositionWeight.Data<T>(), Output = Output.Data<T>(),
            };
            Backend.ForRows(ids.Count, rows.Features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public int* Ids, Positions;
            public T* Weight, PositionWeight, Output;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(3L * Features), y = scratch + 2L * Features;
                for (long row = first; row < end; row++)
                {
                    T* token = Weight + (long)Ids[row] * Features, destination = Output + row * Features;
                    if (PositionWeight == null)
                    {
                        NativeMemory.Copy(token, destination, (nuint)Features * (nuint)sizeof(T));
                        continue;
                    }
                    A* a = Rows.Read(token, Features, scratch), b = Rows.Read(PositionWeight + (long)Positions[row] * Features, Features, scratch + Features);
                    VectorLoop.Run(default(BinaryForward<SumOf>), a, b, null, y, null, Features);
                    Rows.Write(y, destination, Features, accumulate: false);
                }
            }
        }
    }

    /// <summary>Tokens are sorted by id first; then each row of the table is the sum of its own tokens' rows, in their order.</summary>
    private struct EmbeddingBackwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor OutputGradient, Ids;
        public int? PaddingIndex;
        public GradientTarget WeightGradient;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            if (WeightGradient.Tensor is not { Count: > 0 } target) return;
            int vocabulary = target.Shape[0], features = target.Shape[1];
            using Tensor narrow = Narrow(Ids);
            var ids = new ReadOnlySpan<int>(narrow.Data<int>(), checked((int)narrow.Count));
            int[] ends = ArrayPool<int>.Shared.Rent(vocabulary + 1), tokens = ArrayPool<int>.Shared.Rent(ids.Length);
            SortById(ids, vocabulary, ends, tokens);
            fixed (int* e = ends, t = tokens)
            {
                var items = new Items<T, A>
                {
                    Vocabulary = vocabulary, Features = features, Ends = e, Tokens = t, Dy = OutputGradient.Data<T>(), Padding = PaddingIndex ?? -1,
                    Dw = (byte*)target.Pointer, DwType = target.DType, Accumulate = WeightGradient.Accumulate,
                };
                long work = (long)ids.Length * features + (items.Accumulate ? 0 : target.Count / 4);
                Backend.Team.For(items.Count, ref items, (int)Math.Clamp(work / (2 * BlockElements), 1, 1024));
            }
            ArrayPool<int>.Shared.Return(ends);
            ArrayPool<int>.Shared.Return(tokens);
        }

        /// <summary>A stable counting sort: the tokens of an id are <c>tokens[ends[id - 1]..ends[id]]</c> (from 0 for the first id).</summary>
        private static void SortById(ReadOnlySpan<int> ids, int vocabulary, int[] ends, int[] tokens)
        {
            Array.Clear(ends, 0, vocabulary + 1);
            foreach (int id in ids) ends[id + 1]++;
            for (int id = 0; id < vocabulary; id++) ends[id + 1] += ends[id];
            // Placing the tokens moves each id's start to its end.
            for (int token = 0; token < ids.Length; token++) tokens[ends[ids[token]]++] = token;
        }

        private struct Items<T, A> : IParallelItems where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            // Few rows, because frequent ids may be neighbours; and strips of columns, because one id alone may be a large part of the work.
            private const int RowsPerItem = 32, StripColumns = 512, RunTokens = 256;

            public int Vocabulary, Features, Padding;
            public int* Ends, Tokens;
            public T* Dy;
            public byte* Dw;
            public DType DwType;
            public bool Accumulate;

            private readonly int Strips => (Features + StripColumns - 1) / StripColumns;

            public readonly long Count => (Vocabulary + RowsPerItem - 1L) / RowsPerItem * Strips;

            public readonly void Invoke(long item, int worker)
            {
                (long block, long strip) = Math.DivRem(item, Strips);
                int column = (int)strip * StripColumns, length = Math.Min(StripColumns, Features - column), size = DwType.Size();
                int first = (int)block * RowsPerItem, end = Math.Min(Vocabulary, first + RowsPerItem);
                A* scratch = Scratch.Get<A>(3L * StripColumns);
                for (int id = first; id < end; id++)
                {
                    int from = id == 0 ? 0 : Ends[id - 1], to = id == Padding ? from : Ends[id];
                    byte* destination = Dw + ((long)id * Features + column) * size;
                    if (from < to) Rows.Write(SumRows(from, to, column, length, scratch), destination, DwType, length, Accumulate);
                    else if (!Accumulate) NativeMemory.Clear(destination, (nuint)length * (nuint)size);
                }
            }

            private readonly A* SumRows(int from, int to, int column, int length, A* scratch)
            {
                A* total = scratch + StripColumns, run = scratch + 2 * StripColumns;
                if (to - from == 1) return Row(from, column, length, scratch);
                NativeMemory.Clear(total, (nuint)length * (nuint)sizeof(A));
                for (int start = from; start < to; start += RunTokens)
                {
                    // Runs of a fixed length bound the rounding error of frequent ids.
                    NativeMemory.Clear(run, (nuint)length * (nuint)sizeof(A));
                    int runEnd = Math.Min(to, start + RunTokens);
                    for (int i = start; i < runEnd; i++) Rows.Write(Row(i, column, length, scratch), run, length, accumulate: true);
                    Rows.Write(run, total, length, accumulate: true);
                }
                return total;
            }

            private readonly A* Row(int i, int column, int length, A* scratch) => Rows.Read(Dy + (long)Tokens[i] * Features + column, length, scratch);
        }
    }
}
