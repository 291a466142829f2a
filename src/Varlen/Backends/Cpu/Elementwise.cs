using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cpu;

/// <summary>
/// A function of the values of up to three tensors at one place, with up to two results. Written on vectors only: what is left at a
/// row's end goes through the same code, so a value's bits do not depend on where in a tensor it lies.
/// </summary>
internal interface IElementwise
{
    /// <summary>How many of a, b and c are read.</summary>
    static abstract int Inputs { get; }

    /// <summary>How many of y and z are written.</summary>
    static abstract int Outputs { get; }

    void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>;
}

internal sealed unsafe partial class CpuBackend
{
    /// <summary>
    /// y, z = op(a, b, c) at every place of a shape. Inputs broadcast to it and share one element type; results have the shape, any
    /// strides and any floating-point type. A result may be the memory of an input that it replaces exactly.
    /// </summary>
    public void Map<TOp>(TOp op, Shape shape, Tensor a, Tensor? b, Tensor? c, GradientTarget y, GradientTarget z = default) where TOp : struct, IElementwise
    {
        var kernel = new MapKernel<TOp>
        {
            Op = op, Team = Team, A = a, B = b, C = c, Y = y, Z = z, Loop = new ElementwiseLoop(shape, a, b, c, y.Tensor, z.Tensor),
        };
        if (kernel.Loop.Total > 0) Rows.Dispatch(a.DType, ref kernel);
    }

    /// <inheritdoc cref="Map{TOp}(TOp, Shape, Tensor, Tensor?, Tensor?, GradientTarget, GradientTarget)"/>
    public void Map<TOp>(TOp op, Tensor a, Tensor? b, Tensor? c, Tensor y) where TOp : struct, IElementwise
        => Map(op, y.Shape, a, b, c, new GradientTarget(y, false));

    private struct MapKernel<TOp> : ITypedKernel where TOp : struct, IElementwise
    {
        public TOp Op;
        public ThreadTeam Team;
        public Tensor A;
        public Tensor? B, C;
        public GradientTarget Y, Z;
        public ElementwiseLoop Loop;

        public readonly void Run<T, TA>() where T : unmanaged where TA : unmanaged, IBinaryFloatingPointIeee754<TA>
        {
            var items = new MapItems<TOp, T, TA>
            {
                Op = Op, Loop = Loop, A = A.Data<T>(), B = Address(B), C = Address(C), Y = new(Y, Loop.InnerStride(3)), Z = new(Z, Loop.InnerStride(4)),
            };
            Team.For(Loop.Blocks, ref items, Loop.Workers);

            static T* Address(Tensor? tensor) => tensor is null ? null : tensor.Data<T>();
        }
    }

    /// <summary>One result's memory; null when it is not wanted.</summary>
    private readonly struct MapResult(GradientTarget target, long stride)
    {
        private readonly byte* _memory = target.Tensor is { } tensor ? (byte*)tensor.Pointer : null;
        private readonly DType _type = target.Tensor?.DType ?? DType.Float32;
        private readonly int _size = target.Tensor?.DType.Size() ?? 1;

        /// <summary>Where to compute elements: in place if they can stay as they are, else in scratch.</summary>
        public TA* Destination<T, TA>(long offset, TA* scratch) where TA : unmanaged
            => _memory != null && stride == 1 && !target.Accumulate && _type == DTypes.Of<TA>() ? (TA*)_memory + offset : scratch;

        /// <summary>Brings what was computed to its place.</summary>
        public void Finish<TA>(TA* values, long offset, long length) where TA : unmanaged, IBinaryFloatingPointIeee754<TA>
        {
            byte* destination = _memory + offset * _size;
            if (_memory == null || destination == values) return;
            if (stride == 1)
            {
                Rows.Write(values, destination, _type, length, target.Accumulate);
                return;
            }
            for (long i = 0; i < length; i++) Rows.Write(values + i, destination + i * stride * _size, _type, 1, target.Accumulate);
        }
    }

    private struct MapItems<TOp, T, TA> : IParallelItems
        where TOp : struct, IElementwise where T : unmanaged where TA : unmanaged, IBinaryFloatingPointIeee754<TA>
    {
        // Five scratch tiles stay in the first-level cache.
        private const int Tile = 1024;

        public TOp Op;
        public ElementwiseLoop Loop;
        public T* A, B, C;
        public MapResult Y, Z;

        public readonly void Invoke(long block, int worker)
        {
            TA* scratch = Scratch.Get<TA>(5 * Tile);
            long first = block * Loop.PiecesPerBlock, end = Math.Min(Loop.Pieces, first + Loop.PiecesPerBlock);
            for (long piece = first; piece < end; piece++)
            {
                long length = Loop.Piece(piece, out OperandOffsets at);
                for (long done = 0; done < length; done += Tile)
                {
                    int n = (int)Math.Min(Tile, length - done);
                    TA* a = Read(A + at[0], Loop.InnerStride(0), done, n, scratch);
                    TA* b = TOp.Inputs > 1 ? Read(B + at[1], Loop.InnerStride(1), done, n, scratch + Tile) : null;
                    TA* c = TOp.Inputs > 2 ? Read(C + at[2], Loop.InnerStride(2), done, n, scratch + 2 * Tile) : null;
                    long yOffset = at[3] + done * Loop.InnerStride(3), zOffset = at[4] + done * Loop.InnerStride(4);
                    TA* y = Y.Destination<T, TA>(yOffset, scratch + 3 * Tile);
                    TA* z = TOp.Outputs > 1 ? Z.Destination<T, TA>(zOffset, scratch + 4 * Tile) : null;
                    VectorLoop.Run(Op, a, b, c, y, z, n);
                    Y.Finish(y, yOffset, n);
                    if (TOp.Outputs > 1) Z.Finish(z, zOffset, n);
                }
            }
        }

        private static TA* Read(T* row, long stride, long first, int n, TA* scratch)
        {
            if (stride == 1) return Rows.Read(row + first, n, scratch);
            if (stride == 0)
            {
                // Later tiles of the row find the value in place.
                if (first == 0) new Span<TA>(scratch, n).Fill(Element.Convert<T, TA>(*row));
                return scratch;
            }
            for (int i = 0; i < n; i++) scratch[i] = Element.Convert<T, TA>(row[(first + i) * stride]);
            return scratch;
        }
    }
}

/// <summary>Applies an elementwise function to dense values.</summary>
internal static unsafe class VectorLoop
{
    /// <summary>y, z = op(a, b, c); pointers that the function does not use may be null, results may replace inputs.</summary>
    public static void Run<TOp, A>(TOp op, A* a, A* b, A* c, A* y, A* z, int n) where TOp : struct, IElementwise where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        int i = 0;
        for (; i <= n - Vector<A>.Count; i += Vector<A>.Count)
        {
            op.Invoke(Vector.Load(a + i), TOp.Inputs > 1 ? Vector.Load(b + i) : default, TOp.Inputs > 2 ? Vector.Load(c + i) : default, out Vector<A> u, out Vector<A> v);
            u.Store(y + i);
            if (TOp.Outputs > 1) v.Store(z + i);
        }
        if (i == n) return;
        int rest = n - i;
        op.Invoke(LoadPart(a + i, rest), TOp.Inputs > 1 ? LoadPart(b + i, rest) : default, TOp.Inputs > 2 ? LoadPart(c + i, rest) : default, out Vector<A> up, out Vector<A> vp);
        StorePart(up, y + i, rest);
        if (TOp.Outputs > 1) StorePart(vp, z + i, rest);
    }

    private static Vector<A> LoadPart<A>(A* source, int count) where A : unmanaged
    {
        Vector<A> vector = default;
        Unsafe.CopyBlockUnaligned(&vector, source, (uint)(count * sizeof(A)));
        return vector;
    }

    private static void StorePart<A>(Vector<A> vector, A* destination, int count) where A : unmanaged
        => Unsafe.CopyBlockUnaligned(destination, &vector, (uint)(count * sizeof(A)));
}
