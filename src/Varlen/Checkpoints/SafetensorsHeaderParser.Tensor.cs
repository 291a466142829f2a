using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>One tensor's object: <c>{"dtype": ..., "shape": [...], "data_offsets": [begin, end]}</c>, fields in any order.</summary>
internal ref partial struct SafetensorsHeaderParser
{
    [Flags]
    private enum Fields
    {
        None = 0,
        DType = 1,
        Shape = 2,
        Offsets = 4,
        All = DType | Shape | Offsets,
    }

    // For messages only: making it costs more than reading a tensor.
    private readonly string Current => $"tensor {Name(_names.Count - 1)}";

    private void ReadTensor()
    {
        int nameStart = (int)_reader.TokenStartIndex;
        if (_names.Count == SafetensorsLimits.Tensors)
            throw Fail("the header has too many tensors", nameStart, $"the limit is {SafetensorsLimits.Tensors}", "split the file");
        if (!AddKey(_names))
            throw Fail($"tensor {JsonText.Quote(_reader)} appears twice", nameStart, "readers would disagree on which counts", Rewrite);
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.StartObject)
            throw Fail($"{Current} is not an object", _reader.TokenStartIndex, "it must hold dtype, shape and data_offsets", Rewrite);

        var seen = Fields.None;
        int element = 0, shapeStart = 0, rank = 0;
        long elements = 0, offsetsStart = 0, begin = 0, end = 0;
        while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
        {
            Fields field = Field();
            if ((seen & field) != 0)
                throw Fail($"{Current} has {JsonText.Quote(_reader)} twice", _reader.TokenStartIndex, "readers would disagree on which counts", Rewrite);
            seen |= field;
            _reader.Read();
            switch (field)
            {
                case Fields.DType: element = ReadDType(); break;
                case Fields.Shape: (shapeStart, rank, elements) = ReadShape(); break;
                default: offsetsStart = _reader.TokenStartIndex; (begin, end) = ReadOffsets(); break;
            }
        }
        if (seen != Fields.All)
        {
            string missing = (seen & Fields.DType) == 0 ? "dtype" : (seen & Fields.Shape) == 0 ? "shape" : "data_offsets";
            throw Fail($"{Current} has no '{missing}'", _reader.TokenStartIndex, "dtype, shape and data_offsets are all required", Rewrite);
        }
        RequireSize(SafetensorsElement.All[element], elements, begin, end, offsetsStart);
        if (_names.Count > _records.Length) Array.Resize(ref _records, 2 * _records.Length);
        _records[_names.Count - 1] = new(begin, end, shapeStart, (byte)rank, (byte)element);
    }

    private readonly Fields Field()
    {
        RequireUnicode("a field name");
        if (_reader.ValueTextEquals("dtype"u8)) return Fields.DType;
        if (_reader.ValueTextEquals("shape"u8)) return Fields.Shape;
        if (_reader.ValueTextEquals("data_offsets"u8)) return Fields.Offsets;
        throw Fail($"{Current} has an unknown field {JsonText.Quote(_reader)}", _reader.TokenStartIndex, "the format knows dtype, shape and data_offsets", "keep other facts in __metadata__");
    }

    private readonly int ReadDType()
    {
        if (_reader.TokenType != JsonTokenType.String)
            throw Fail($"the dtype of {Current} is not a string", _reader.TokenStartIndex, "it must be a code such as \"F32\"", Rewrite);
        int element;
        // Six bytes of escape a character at most; anything longer is no code.
        Span<byte> code = stackalloc byte[6 * SafetensorsElement.LongestCode];
        if (!_reader.ValueIsEscaped) element = SafetensorsElement.IndexOf(_reader.ValueSpan);
        else if (_reader.ValueSpan.Length > code.Length || JsonText.HasLoneSurrogate(_reader.ValueSpan)) element = -1;
        else element = SafetensorsElement.IndexOf(code[.._reader.CopyString(code)]);
        if (element < 0)
            throw Fail($"{Current} has an unknown dtype {JsonText.Quote(_reader)}", _reader.TokenStartIndex, "the format does not define it, so its size is unknown", "convert the tensor to F32, F16 or BF16");
        return element;
    }

    private (int Start, int Rank, long Elements) ReadShape()
    {
        int start = (int)_reader.TokenStartIndex;
        if (_reader.TokenType != JsonTokenType.StartArray)
            throw Fail($"the shape of {Current} is not an array", start, "it must list the sizes of its dimensions", Rewrite);
        int rank = 0;
        long product = 1;
        bool empty = false;
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            if (++rank > SafetensorsLimits.Rank)
                throw Fail($"the shape of {Current} has too many dimensions", _reader.TokenStartIndex, $"the limit is {SafetensorsLimits.Rank}", "reshape it before writing");
            long size = ReadWholeNumber("shape");
            if (size == 0)
            {
                empty = true;
                continue;
            }
            // The sizes beside a zero must fit too: strides are made of them.
            ulong high = Math.BigMul((ulong)product, (ulong)size, out ulong low);
            if (high != 0 || low > long.MaxValue)
                throw Fail($"the shape of {Current} overflows", _reader.TokenStartIndex, "its element count does not fit 63 bits", Rewrite);
            product = (long)low;
        }
        return (start, rank, empty ? 0 : product);
    }

    private (long Begin, long End) ReadOffsets()
    {
        long start = _reader.TokenStartIndex;
        if (_reader.TokenType != JsonTokenType.StartArray) throw NotTwo(start);
        _reader.Read();
        if (_reader.TokenType == JsonTokenType.EndArray) throw NotTwo(start);
        long begin = ReadWholeNumber("data_offsets");
        _reader.Read();
        if (_reader.TokenType == JsonTokenType.EndArray) throw NotTwo(start);
        long end = ReadWholeNumber("data_offsets");
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.EndArray) throw NotTwo(start);
        return (begin, end);
    }

    private readonly CheckpointFormatException NotTwo(long at) =>
        Fail($"data_offsets of {Current} is not an array of two numbers", at, "it must be [begin, end]", Rewrite);

    private readonly long ReadWholeNumber(string field)
    {
        if (_reader.TokenType != JsonTokenType.Number) throw BadNumber(field, "something other than a number", "it lists whole numbers");
        ReadOnlySpan<byte> text = _reader.ValueSpan;
        if (text[0] == '-') throw BadNumber(field, "a negative number", "sizes and offsets count from 0");
        if (text.ContainsAnyExceptInRange((byte)'0', (byte)'9'))
            throw BadNumber(field, "a number with a fraction or an exponent", "sizes and offsets are written as plain whole numbers");
        // JSON has no leading zeros, so 19 digits, which fit 64 unsigned bits, are the longest that can be in range.
        ulong value = 0;
        if (text.Length <= 19)
            foreach (byte digit in text) value = 10 * value + (digit - (uint)'0');
        if (text.Length > 19 || value > long.MaxValue) throw BadNumber(field, "a number that is too large", "sizes and offsets fit 63 bits");
        return (long)value;
    }

    private readonly CheckpointFormatException BadNumber(string field, string what, string reason) =>
        Fail($"{field} of {Current} holds {what}", _reader.TokenStartIndex, reason, Rewrite);

    private readonly void RequireSize(SafetensorsElement element, long elements, long begin, long end, long at)
    {
        if (begin > end) throw Fail($"data_offsets of {Current} are reversed", at, $"{begin} is after {end}", Rewrite);
        if (end > _dataLength)
            throw Fail($"{Current} ends outside the file", at, $"it ends at byte {end} of the data, which has {_dataLength}", "the file is cut short: download or write it again");
        if (elements > long.MaxValue / element.Bits)
            throw Fail($"the size of {Current} overflows", at, $"{elements} elements of {element.Code} do not fit 63 bits", Rewrite);
        long bits = elements * element.Bits;
        if (bits % 8 != 0)
            throw Fail($"{Current} does not fill whole bytes", at, $"{elements} elements of {element.Code} are {bits} bits", "pad the tensor to whole bytes");
        if (bits / 8 != end - begin)
            throw Fail($"{Current} has the wrong number of bytes", at, $"{elements} elements of {element.Code} take {bits / 8}, and data_offsets span {end - begin}", Rewrite);
    }
}
