using System.Numerics;
using Varlen.Autograd;
using Varlen.Nn;
using Varlen.Ops;
using Varlen.Optim;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IDropoutKernels
{
    public void Dropout(Tensor input, double probability, StepState state, int layer, DropoutKeys keys, GradientTarget output)
    {
        var kernel = new DropoutKernel
        {
            Backend = this, Input = input, Probability = probability, State = *(StepState.Values*)state.Buffer.Pointer, Layer = layer, Keys = keys, Output = output,
        };
        if (output.IsWanted && input.Count > 0) Rows.Dispatch(input.DType, ref kernel);
    }

    private struct DropoutKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Input;
        public double Probability;
        public StepState.Values State;
        public int Layer;
        public DropoutKeys Keys;
        public GradientTarget Output;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            Tensor target = Output.Tensor!;
            var rows = new Body<T, A>
            {
                Features = Input.Shape[-1], Threshold = (uint)Math.Min(Math.Floor(Probability * 4294967296.0), uint.MaxValue), Scale = A.CreateTruncating(1 / (1 - Probability)),
                Step = (ulong)State.Step, Seed = State.Seed, Layer = (uint)Layer,
                Documents = Keys.Documents is { } documents ? documents.Data<ulong>() : null, Positions = Keys.Positions is { } positions ? positions.Data<uint>() : null,
                Input = Input.Data<T>(), Output = (byte*)target.Pointer, OutputType = target.DType, Accumulate = Output.Accumulate,
            };
            Backend.ForRows(Input.Count / rows.Features, rows.Features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public uint Threshold, Layer;
            public A Scale;
            public ulong Step, Seed;
            public ulong* Documents;
            public uint* Positions;
            public T* Input;
            public byte* Output;
            public DType OutputType;
            public bool Accumulate;

            public readonly void Invoke(long first, long end)
            {
                int blocks = (Features + 3) / 4;
                A* scratch = Scratch.Get<A>(2L * Features + 4L * blocks), y = scratch + Features;
                // Words of four bytes fit where values of at least four do.
                var words = (uint*)(y + Features);
                ulong document = 0;
                (uint key0, uint key1) = Key(document);
                for (long row = first; row < end; row++)
                {
                    if (Documents != null && Documents[row] != document) (key0, key1) = Key(document = Documents[row]);
                    Philox.Columns(0, Positions == null ? (uint)row : Positions[row], 0, 1, key0, key1, blocks, words);
                    A* x = Rows.Read(Input + row * Features, Features, scratch);
                    Select(x, words, y);
                    Rows.Write(y, Output + row * Features * OutputType.Size(), OutputType, Features, Accumulate);
                }
            }

            private readonly (uint Key0, uint Key1) Key(ulong document)
            {
                (uint key0, uint key1, _, _) = Philox.Block((uint)document, (uint)(document >> 32), (uint)Step, ((uint)(Step >> 32) << 16) | Layer, (uint)Seed, (uint)(Seed >> 32));
                return (key0, key1);
            }

            private readonly void Select(A* x, uint* words, A* y)
            {
                int i = 0;
                if (typeof(A) == typeof(float))
                {
                    var threshold = new Vector<uint>(Threshold);
                    for (; i <= Features - Vector<A>.Count; i += Vector<A>.Count)
                    {
                        Vector<A> dropped = Vector.As<uint, A>(Vector.LessThan(Vector.Load(words + i), threshold));
                        Vector.AndNot(Vector.Load(x + i) * Scale, dropped).Store(y + i);
                    }
                }
                for (; i < Features; i++) y[i] = words[i] < Threshold ? A.Zero : x[i] * Scale;
            }
        }
    }
}
