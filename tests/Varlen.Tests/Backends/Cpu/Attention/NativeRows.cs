using Varlen.Backends.Cpu.Attention;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>
/// A [batch, token, head, feature] view into memory that is NaN everywhere else, so that whatever is read or written outside shows.
/// </summary>
internal sealed unsafe class NativeRows
{
    private readonly byte[] _memory;
    private readonly bool[] _owned;
    private readonly long _origin;

    public NativeRows(DType dtype, int tokens, int heads, int dim, Layout layout = Layout.Fused, int batch = 1)
    {
        (DType, Tokens, Heads, Dim) = (dtype, tokens, heads, dim);
        (TokenStride, HeadStride) = layout switch
        {
            Layout.Packed => ((long)heads * dim, dim),
            Layout.Fused => ((3L * heads * dim) + 5, dim),
            Layout.Padded => ((heads * (dim + 3L)) + 1, dim + 3),
            _ => (1, tokens),
        };
        BatchStride = (Math.Max(tokens, 1) * TokenStride) + (layout == Layout.PerHead ? (long)heads * tokens : 0);
        _origin = layout == Layout.Packed ? 0 : 64;
        long elements = _origin + (batch * BatchStride) + (heads * Math.Max(HeadStride, 1)) + dim + 64;
        _memory = GC.AllocateUninitializedArray<byte>((int)(elements * dtype.Size()), pinned: true);
        _memory.AsSpan().Fill(0xFF);
        _owned = new bool[elements];
        for (int b = 0; b < batch; b++)
            for (int t = 0; t < tokens; t++)
                for (int h = 0; h < heads; h++)
                    for (int f = 0; f < dim; f++) _owned[Index(t, h, f, b)] = true;
    }

    public enum Layout
    {
        /// <summary>Contiguous.</summary>
        Packed,
        /// <summary>A third of a fused projection, at an odd offset.</summary>
        Fused,
        /// <summary>Gaps between heads.</summary>
        Padded,
        /// <summary>[heads, tokens], as for the log-sum-exp.</summary>
        PerHead,
    }

    public DType DType { get; }
    public int Tokens { get; }
    public int Heads { get; }
    public int Dim { get; }
    public long TokenStride { get; }
    public long HeadStride { get; }
    public long BatchStride { get; }

    public double this[int token, int head, int feature = 0, int batch = 0]
    {
        get
        {
            fixed (byte* memory = _memory)
            {
                long i = Index(token, head, feature, batch);
                return DType switch
                {
                    DType.Float64 => ((double*)memory)[i],
                    DType.Float32 => ((float*)memory)[i],
                    DType.BFloat16 => ((BFloat16*)memory)[i],
                    _ => (double)((Half*)memory)[i],
                };
            }
        }
        set
        {
            fixed (byte* memory = _memory)
            {
                long i = Index(token, head, feature, batch);
                switch (DType)
                {
                    case DType.Float64: ((double*)memory)[i] = value; break;
                    case DType.Float32: ((float*)memory)[i] = (float)value; break;
                    case DType.BFloat16: ((BFloat16*)memory)[i] = (BFloat16)value; break;
                    default: ((Half*)memory)[i] = (Half)value; break;
                }
            }
        }
    }

    public AttentionOperand Operand(bool accumulate = false)
    {
        fixed (byte* memory = _memory)
            return new AttentionOperand
            {
                Data = memory + (_origin * DType.Size()), DType = DType,
                BatchStride = BatchStride, TokenStride = TokenStride, HeadStride = HeadStride, Accumulate = accumulate,
            };
    }

    public NativeRows FillRandom(Random random, double size = 1)
    {
        for (int t = 0; t < Tokens; t++)
            for (int h = 0; h < Heads; h++)
                for (int f = 0; f < Dim; f++) this[t, h, f] = size * ((2 * random.NextDouble()) - 1);
        return this;
    }

    /// <summary>The raw bits of one row.</summary>
    public byte[] Bits(int token, int head)
    {
        int size = DType.Size();
        return _memory.AsSpan((int)(Index(token, head, 0, 0) * size), Dim * size).ToArray();
    }

    /// <summary>Whether everything outside the view is as it was.</summary>
    public bool SurroundingsUntouched()
    {
        int size = DType.Size();
        for (int i = 0; i < _owned.Length; i++)
            for (int b = 0; b < size && !_owned[i]; b++)
                if (_memory[(i * size) + b] != 0xFF) return false;
        return true;
    }

    private long Index(int token, int head, int feature, int batch)
        => _origin + (batch * BatchStride) + (token * TokenStride) + (head * HeadStride) + feature;
}
