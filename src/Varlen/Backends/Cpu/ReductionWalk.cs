namespace Varlen.Backends.Cpu;

/// <summary>
/// How a reduction goes through memory. Dimensions are kept or reduced; those that lie as one are merged. When reduced elements are
/// the nearest neighbours, each result is summed along them; otherwise strips of neighbouring results are summed together. Terms are
/// cut into runs of a fixed length, so that few results of many terms are parallel work too.
/// </summary>
internal readonly struct ReductionWalk
{
    public const int StripColumns = 256;
    private const int RunTermsAlongRows = 65536, RunTermsOfColumns = 256;
    private const long BlockElements = 16384;

    private readonly Axes _kept;
    private readonly Axes _reduced;
    private readonly long _runTerms;
    private readonly long _stripsPerRow;
    private readonly long _itemsPerBlock;

    /// <param name="input">What is reduced.</param>
    /// <param name="output">Of the same rank, with size 1 where the input is reduced.</param>
    public ReductionWalk(Tensor input, Tensor output)
    {
        _kept = new Axes(input, output, reduced: false);
        _reduced = new Axes(input, output, reduced: true);
        Outputs = _kept.Count;
        AlongRows = _kept.Rank == 0 || (_reduced.Rank > 0 && _reduced.InnerStride <= _kept.InnerStride);
        _runTerms = AlongRows ? RunTermsAlongRows : RunTermsOfColumns;
        Runs = Math.Max(1, (_reduced.Count + _runTerms - 1) / _runTerms);
        _stripsPerRow = (_kept.Inner + StripColumns - 1) / StripColumns;
        Strips = Outputs / _kept.Inner * _stripsPerRow;
        long elements = Math.Min(_reduced.Count, _runTerms) * (AlongRows ? 1 : Math.Min(_kept.Inner, StripColumns));
        _itemsPerBlock = Math.Max(1, BlockElements / Math.Max(1, elements));
        Workers = (int)Math.Clamp(Outputs * _reduced.Count / (2 * BlockElements), 1, 1024);
    }

    public long Outputs { get; }

    public bool AlongRows { get; }

    public long Runs { get; }

    public long Strips { get; }

    public int Workers { get; }

    public long TermStride => _reduced.InnerStride;

    public long OutputStride => _kept.InnerStride;

    private long ItemCount => Runs * (AlongRows ? Outputs : Strips);

    public long Blocks => (ItemCount + _itemsPerBlock - 1) / _itemsPerBlock;

    public (long First, long End) Items(long block) => (block * _itemsPerBlock, Math.Min(ItemCount, (block + 1) * _itemsPerBlock));

    /// <summary>The terms of a run.</summary>
    public (long First, long End) Terms(long run) => (run * _runTerms, Math.Min(_reduced.Count, (run + 1) * _runTerms));

    /// <summary>A strip's first result, and how many there are; they are neighbours in one row.</summary>
    public (long Output, int Columns) Strip(long strip)
    {
        (long row, long part) = Math.DivRem(strip, _stripsPerRow);
        long first = part * StripColumns;
        return (row * _kept.Inner + first, (int)Math.Min(StripColumns, _kept.Inner - first));
    }

    public long InputOffset(long output) => _kept.Offset(output, out _);

    public long OutputOffset(long output) => _kept.SecondOffset(output);

    /// <summary>Where a term lies, relative to its result's first one, and how many follow it in its row, itself included.</summary>
    public long TermOffset(long term, out long left) => _reduced.Offset(term, out left);

    /// <summary>The dimensions of one kind, merged: sizes and strides in input and output.</summary>
    private readonly struct Axes
    {
        private readonly long[] _sizes, _input, _output;

        public Axes(Tensor input, Tensor output, bool reduced)
        {
            List<long> sizes = [], first = [], second = [];
            for (int i = 0; i < input.Shape.Rank; i++)
            {
                int size = input.Shape[i];
                if (size == 1 || (output.Shape[i] == 1) != reduced) continue;
                long a = input.Strides[i], b = reduced ? 0 : output.Strides[i];
                if (sizes.Count > 0 && first[^1] == a * size && second[^1] == b * size)
                    (sizes[^1], first[^1], second[^1]) = (sizes[^1] * size, a, b);
                else
                {
                    sizes.Add(size);
                    first.Add(a);
                    second.Add(b);
                }
            }
            (_sizes, _input, _output) = ([.. sizes], [.. first], [.. second]);
            Count = 1;
            foreach (long size in _sizes) Count *= size;
        }

        public long Count { get; }

        public int Rank => _sizes.Length;

        public long Inner => _sizes.Length == 0 ? 1 : Math.Max(1, _sizes[^1]);

        public long InnerStride => _input.Length == 0 ? 1 : _input[^1];

        public long Offset(long index, out long left)
        {
            left = Inner - (index % Inner);
            return Offset(index, _input);
        }

        public long SecondOffset(long index) => Offset(index, _output);

        private long Offset(long index, long[] strides)
        {
            if (_sizes.Length == 1) return index * strides[0];
            long offset = 0;
            for (int i = _sizes.Length - 1; i >= 0; i--)
            {
                (index, long at) = Math.DivRem(index, _sizes[i]);
                offset += at * strides[i];
            }
            return offset;
        }
    }
}
