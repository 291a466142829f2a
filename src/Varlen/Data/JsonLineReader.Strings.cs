using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Varlen.Data;

internal sealed partial class JsonLineReader
{
    private static readonly SearchValues<byte> Special = SearchValues.Create([(byte)'"', (byte)'\\', .. Enumerable.Range(0, 32).Select(value => (byte)value)]);

    private bool ReadString(Use use)
    {
        source.Advance(1);
        while (true)
        {
            ReadOnlySpan<byte> rest = source.Rest;
            int stop = rest.IndexOfAny(Special), usable = stop >= 0 ? stop : Utf8Text.Complete(rest);
            if (!Utf8.IsValid(rest[..usable])) return Fail("the text is not UTF-8", Utf8Text.FirstInvalid(rest));
            if (!Put(rest[..usable], use)) return false;
            source.Advance(usable);
            if (stop < 0)
            {
                if (!source.Fill()) return Fail("the file ends within a string");
            }
            else if (rest[stop] == '\\')
            {
                if (!ReadEscape(use)) return false;
            }
            else if (rest[stop] == '"')
            {
                source.Advance(1);
                return true;
            }
            else return Fail(rest[stop] == '\n' ? "the line ends within a string" : $"control character 0x{rest[stop]:X2} stands in a string");
        }
    }

    private bool ReadEscape(Use use)
    {
        Ensure(6);
        ReadOnlySpan<byte> rest = source.Rest;
        if (rest.Length < 2) return Fail("the file ends within a string");
        if (rest[1] == 'u') return ReadUnicode(use);
        byte value = rest[1] switch { (byte)'n' => (byte)'\n', (byte)'t' => (byte)'\t', (byte)'r' => (byte)'\r', (byte)'b' => (byte)'\b', (byte)'f' => (byte)'\f', (byte)'"' or (byte)'\\' or (byte)'/' => rest[1], _ => 0 };
        if (value == 0) return Fail("a backslash stands before something that it does not escape");
        source.Advance(2);
        return Put([value], use);
    }

    private bool ReadUnicode(Use use)
    {
        Ensure(12);
        if (!TryReadUnit(source.Rest, out char first)) return Fail("\\u stands before something other than four hexadecimal digits");
        int length = 6;
        if (!Rune.TryCreate(first, out Rune rune))
        {
            if (!TryReadUnit(source.Rest[6..], out char second) || !Rune.TryCreate(first, second, out rune)) return Fail("an escape spells half a surrogate pair, which is no Unicode text");
            length = 12;
        }
        Span<byte> bytes = stackalloc byte[4];
        if (!Put(bytes[..rune.EncodeToUtf8(bytes)], use)) return false;
        source.Advance(length);
        return true;
    }

    private static bool TryReadUnit(ReadOnlySpan<byte> text, out char unit)
    {
        unit = default;
        if (text.Length < 6 || !text.StartsWith("\\u"u8) || !ushort.TryParse(text[2..6], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort value)) return false;
        unit = (char)value;
        return true;
    }

    private bool Put(ReadOnlySpan<byte> utf8, Use use)
    {
        if (use == Use.Text) sink.Write(utf8);
        if (use == Use.Held)
        {
            if (utf8.Length > MostHeldBytes - _held.WrittenCount) return Fail($"the example has more than {MostHeldBytes >> 20} MiB");
            _held.Write(utf8);
        }
        if (use != Use.Key) return true;
        if ((_keyBytes += utf8.Length) > MostKeyBytes) return Fail($"the keys of the line take more than {MostKeyBytes} bytes");
        _key.Write(utf8);
        return true;
    }
}
