namespace Varlen
{
    /// <summary>
    /// A mask that confines each query to the keys of its own sequence, and optionally to a causal or local part of them. The meanings are
    /// those of the xFormers masks of the same names; it is never materialised by attention itself.
    /// </summary>
    /// <remarks>Immutable. Disposing it disposes the layouts that it made.</remarks>
    public sealed class BlockDiagonalMask : IDisposable
    {
        private BlockDiagonalMask(SequenceLayout query, SequenceLayout key, AttentionWindow window, AttentionAlignment alignment)
        {
            QueryLayout = query;
            KeyLayout = key;
            Window = window;
            Alignment = alignment;
        }

        /// <summary>Where the sequences lie in the queries.</summary>
        public SequenceLayout QueryLayout { get; }

        /// <summary>Where they lie in the keys.</summary>
        public SequenceLayout KeyLayout { get; }

        /// <summary>Visible keys within a sequence.</summary>
        public AttentionWindow Window { get; }

        /// <summary>How sequences of unequal length line up.</summary>
        public AttentionAlignment Alignment { get; }

        /// <summary>Every query sees every key of its sequence.</summary>
        /// <param name="queryLengths">Length of each query sequence.</param>
        /// <param name="keyLengths">Length of each key sequence; as the queries when empty.</param>
        /// <exception cref="ArgumentException">A length is negative, or the counts differ.</exception>
        public static BlockDiagonalMask FromSeqlens(ReadOnlySpan<int> queryLengths, ReadOnlySpan<int> keyLengths = default)
        {
            if (!keyLengths.IsEmpty && keyLengths.Length != queryLengths.Length)
                throw new ArgumentException($"{keyLengths.Length} key lengths for {queryLengths.Length} query lengths", nameof(keyLengths));
            SequenceLayout query = SequenceLayout.FromLengths(queryLengths);
            return new(query, keyLengths.IsEmpty ? query : SequenceLayout.FromLengths(keyLengths), AttentionWindow.Full, AttentionAlignment.TopLeft);
        }

        /// <summary>Query i sees keys 0..i of its sequence.</summary>
        public BlockDiagonalMask MakeCausal() => With(AttentionWindow.Causal, AttentionAlignment.TopLeft);

        /// <summary>The last query sees all keys, the one before all but the last, and so on.</summary>
        public BlockDiagonalMask MakeCausalFromBottomRight() => With(AttentionWindow.Causal, AttentionAlignment.BottomRight);

        /// <summary>Causal, and at most <paramref name="windowSize"/> keys, the query's own counted.</summary>
        /// <exception cref="ArgumentOutOfRangeException">The size is below 1.</exception>
        public BlockDiagonalMask MakeLocalAttention(int windowSize) => With(Local(windowSize), AttentionAlignment.TopLeft);

        /// <summary>As <see cref="MakeLocalAttention"/>, aligned at the sequences' ends.</summary>
        /// <exception cref="ArgumentOutOfRangeException">The size is below 1.</exception>
        public BlockDiagonalMask MakeLocalAttentionFromBottomRight(int windowSize) => With(Local(windowSize), AttentionAlignment.BottomRight);

        /// <summary>The part of each query sequence in a packed tensor, as views.</summary>
        /// <param name="packed"><c>[queryTokens, ...]</c>.</param>
        /// <exception cref="ArgumentException">The tensor has another number of tokens.</exception>
        public Tensor[] Split(Tensor packed) => new JaggedTensor(packed, QueryLayout).Unbind();

        /// <summary>The mask as a dense additive one, <c>[queryTokens, keyTokens]</c> Float32: 0 where visible, -infinity elsewhere. For debugging and the O(N^2) comparison.</summary>
        /// <param name="device">Device; the CPU when null.</param>
        public Tensor Materialize(Device? device = null)
        {
            int rows = QueryLayout.TotalTokens, columns = KeyLayout.TotalTokens;
            var values = new float[checked((long)rows * columns)];
            Array.Fill(values, float.NegativeInfinity);
            for (int s = 0; s < QueryLayout.Count; s++)
            {
                int keys = KeyLayout.Lengths[s], shift = Alignment == AttentionAlignment.BottomRight ? keys - QueryLayout.Lengths[s] : 0;
                for (int i = 0; i < QueryLayout.Lengths[s]; i++)
                {
                    (int first, int end) = Window.Range(i, shift, keys);
                    values.AsSpan(checked((int)((QueryLayout.CuSeqlens[s] + (long)i) * columns)) + KeyLayout.CuSeqlens[s] + first, end - first).Clear();
                }
            }
            return Tensor.From(values, [rows, columns], device);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            QueryLayout.Dispose();
            KeyLayout.Dispose();
        }

        private BlockDiagonalMask With(AttentionWindow window, AttentionAlignment alignment) => new(QueryLayout, KeyLayout, window, alignment);

        private static AttentionWindow Local(int windowSize)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(windowSize, 1);
            return new AttentionWindow(windowSize - 1, 0);
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>Attention under a block-diagonal mask: the job of xFormers' memory-efficient attention.</summary>
        /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
        /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
        /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
        /// <param name="mask">Which keys each query sees.</param>
        /// <param name="scale">Factor of the scores; <c>1 / sqrt(headDim)</c> when null.</param>
        /// <param name="dropout">Dropout of attention links; off when null.</param>
        /// <exception cref="ArgumentException">Shapes, types, devices or metadata do not fit; nothing has been computed.</exception>
        public static Tensor MemoryEfficientAttention(Tensor query, Tensor key, Tensor value, BlockDiagonalMask mask, double? scale = null, AttentionDropout? dropout = null)
        {
            ArgumentNullException.ThrowIfNull(mask);
            return VarlenAttention(query, key, value, mask.QueryLayout, mask.KeyLayout, new AttentionOptions { Window = mask.Window, Alignment = mask.Alignment, Scale = scale, Dropout = dropout });
        }
    }
}
