using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IRotaryKernels
{
    public void Rotate(Tensor input, Tensor positions, Rotation rotation, GradientTarget output)
    {
        var kernel = new RotaryKernel { Backend = this, Input = input, Positions = positions, Rotation = rotation, Output = output };
        if (output.IsWanted && input.Count > 0) Rows.Dispatch(input.DType, ref kernel);
    }

    private struct RotaryKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Input, Positions;
        public Rotation Rotation;
        public GradientTarget Output;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var positions = new ReadOnlySpan<int>(Positions.Data<int>(), checked((int)Positions.Count));
            (RotaryTable<A> table, int[] rows) = RotaryTable<A>.For(positions, Rotation.Frequencies);
            Tensor target = Output.Tensor!;
            fixed (A* values = table.Values)
            fixed (int* row = rows)
            {
                var tokens = new Body<T, A>
                {
                    Heads = Input.Shape[1], Dim = Input.Shape[2], Rotation = Rotation, Table = values, TableRows = row,
                    Input = Input.Data<T>(), TokenStride = Input.Strides[0], HeadStride = Input.Strides[1],
                    Output = (byte*)target.Pointer, OutputType = target.DType, OutputTokenStride = target.Strides[0], OutputHeadStride = target.Strides[1], Accumulate = Output.Accumulate,
                };
                Backend.ForRows(Input.Shape[0], (long)tokens.Heads * tokens.Dim, ref tokens);
            }
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Heads, Dim;
            public Rotation Rotation;
            public A* Table;
            public int* TableRows;
            public T* Input;
            public byte* Output;
            public DType OutputType;
            public long TokenStride, HeadStride, OutputTokenStride, OutputHeadStride;
            public bool Accumulate;

            public readonly void Invoke(long first, long end)
            {
                int dimensions = Rotation.Dimensions, half = dimensions / 2;
                A* scratch = Scratch.Get<A>(2L * Dim + half), y = scratch + Dim, turned = y + Dim;
                for (long token = first; token < end; token++)
                {
                    A* cosines = Table + (long)TableRows[token] * dimensions, sines = cosines + half;
                    if (Rotation.Inverse)
                    {
                        for (int i = 0; i < half; i++) turned[i] = -sines[i];
                        sines = turned;
                    }
                    for (int head = 0; head < Heads; head++)
                    {
                        A* x = Rows.Read(Input + token * TokenStride + head * HeadStride, Dim, scratch);
                        if (Rotation.Interleaved) TurnNeighbours(x, cosines, sines, y, half);
                        else VectorTurn(x, cosines, sines, y, half);
                        NativeMemory.Copy(x + 2 * half, y + 2 * half, (nuint)(Dim - 2 * half) * (nuint)sizeof(A));
                        Rows.Write(y, Output + (token * OutputTokenStride + head * OutputHeadStride) * OutputType.Size(), OutputType, Dim, Accumulate);
                    }
                }
            }

            private static void VectorTurn(A* x, A* cosines, A* sines, A* y, int half)
            {
                int i = 0;
                for (; i <= half - Vector<A>.Count; i += Vector<A>.Count)
                {
                    Vector<A> a = Vector.Load(x + i), b = Vector.Load(x + half + i), c = Vector.Load(cosines + i), s = Vector.Load(sines + i);
                    (a * c - b * s).Store(y + i);
                    (b * c + a * s).Store(y + half + i);
                }
                for (; i < half; i++)
                {
                    y[i] = x[i] * cosines[i] - x[half + i] * sines[i];
                    y[half + i] = x[half + i] * cosines[i] + x[i] * sines[i];
                }
            }

            private static void TurnNeighbours(A* x, A* cosines, A* sines, A* y, int half)
            {
                for (int i = 0; i < half; i++)
                {
                    A a = x[2 * i], b = x[2 * i + 1];
                    y[2 * i] = a * cosines[i] - b * sines[i];
                    y[2 * i + 1] = b * cosines[i] + a * sines[i];
                }
            }
        }
    }
}
