using System.Text;
using Varlen.Checkpoints;
using Xunit;
using static Varlen.Tests.Checkpoints.SafetensorsBytes;

namespace Varlen.Tests.Checkpoints;

/// <summary>Headers that look odd and are legal, and what they cost.</summary>
public sealed class SafetensorsAcceptedTests
{
    [Theory]
    [InlineData("{}", 0, 0)]
    [InlineData("{}     ", 0, 0)]
    [InlineData("{ \"a\" : { \"shape\" : [ 2 , 1 ] , \"data_offsets\" : [ 0 , 8 ] , \"dtype\" : \"F32\" } }\n", 8, 1)]
    [InlineData("{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, 1)]
    [InlineData("{\"z\":{\"dtype\":\"F64\",\"shape\":[3,0,5],\"data_offsets\":[0,0]}}", 0, 1)]
    [InlineData("{\"\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1)]
    [InlineData("{\"a\":{\"dtype\":\"\\u00463\\u0032\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 1)]
    [InlineData("{\"a\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[0,2]}}", 2, 1)]
    [InlineData("{\"a\":{\"dtype\":\"F6_E3M2\",\"shape\":[2,2],\"data_offsets\":[0,3]}}", 3, 1)]
    [InlineData("{\"__metadata__\":{}}", 0, 0)]
    public void Legal_headers_are_accepted(string json, int data, int tensors)
    {
        byte[] file = Assemble(json, data);
        Assert.Equal(tensors, SafetensorsHeader.Parse(file, file.Length).Count);
    }

    [Fact]
    public void A_length_that_begins_like_a_pickle_is_a_length()
    {
        byte[] file = Assemble("{}".PadRight(0x280));
        Assert.Equal([0x80, 0x02], file[..2]);
        Assert.Equal(0, SafetensorsHeader.Parse(file, file.Length).Count);
    }

    [Fact]
    public void Tensors_may_be_listed_in_any_order_and_empty_ones_may_lie_on_any_boundary()
    {
        byte[] file = Assemble("{" + string.Join(",", Entry("end", "[0]", 12, 12), Entry("c", "[1]", 8, 12), Entry("middle", "[0]", 8, 8), Entry("start", "[0,7]", 0, 0), Entry("a", "[2]", 0, 8)) + "}", 12);
        SafetensorsHeader header = SafetensorsHeader.Parse(file, file.Length);
        Assert.Equal(["end", "c", "middle", "start", "a"], Enumerable.Range(0, header.Count).Select(header.NameOf));
        SafetensorsEntry c = header.Find("c")!;
        Assert.Equal((header.DataStart + 8, header.DataStart + 12), (c.Begin, c.End));
        Assert.Equal([0, 7], header.Find("start")!.Shape.ToArray());
        Assert.Null(header.Find("missing"));
    }

    [Fact]
    public void Names_and_metadata_are_unescaped()
    {
        byte[] file = Assemble("{\"__metadata__\":{\"\\u006bey\":\"a\\n\\ud83d\\ude00\\\"\",\"plain\":\"é\"}," + Entry("t\\u002Fw\\\\", "[]", 0, 4) + "}", 4);
        SafetensorsHeader header = SafetensorsHeader.Parse(file, file.Length);
        Assert.Equal("t/w\\", header.NameOf(0));
        Assert.NotNull(header.Find("t/w\\"));
        Assert.Equal("a\n\U0001F600\"", header.Metadata["key"]);
        Assert.Equal([new("key", "a\n\U0001F600\""), new("plain", "é")], header.Metadata);
        Assert.False(header.Metadata.ContainsKey("\\u006bey"));
        Assert.Contains("no key 'other'", Assert.Throws<KeyNotFoundException>(() => header.Metadata["other"]).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("F64", DType.Float64, 8)]
    [InlineData("F32", DType.Float32, 4)]
    [InlineData("F16", DType.Float16, 2)]
    [InlineData("BF16", DType.BFloat16, 2)]
    [InlineData("I64", DType.Int64, 8)]
    [InlineData("I32", DType.Int32, 4)]
    [InlineData("BOOL", DType.Bool, 1)]
    public void Known_element_types_map_to_ours(string code, DType dtype, int size)
    {
        byte[] file = Assemble("{" + Entry("a", "[3]", 0, 3 * size, code) + "}", 3 * size);
        SafetensorsEntry entry = SafetensorsHeader.Parse(file, file.Length)[0];
        Assert.True(entry.IsSupported);
        Assert.Equal((dtype, code, 3L * size), (entry.DType, entry.DTypeName, entry.ByteLength));
    }

    [Theory]
    [InlineData("I8", 8)]
    [InlineData("U8", 8)]
    [InlineData("I16", 16)]
    [InlineData("U16", 16)]
    [InlineData("U32", 32)]
    [InlineData("U64", 64)]
    [InlineData("F8_E4M3", 8)]
    [InlineData("F8_E5M2", 8)]
    [InlineData("F8_E8M0", 8)]
    [InlineData("F8_E4M3FNUZ", 8)]
    [InlineData("F8_E5M2FNUZ", 8)]
    [InlineData("F6_E2M3", 6)]
    [InlineData("F6_E3M2", 6)]
    [InlineData("F4", 4)]
    [InlineData("C64", 64)]
    public void Other_element_types_are_listed_and_their_values_refused_by_name(string code, int bits)
    {
        byte[] file = Assemble("{" + Entry("odd", "[8]", 0, bits, code) + "}", bits);
        SafetensorsEntry entry = SafetensorsHeader.Parse(file, file.Length)[0];
        Assert.False(entry.IsSupported);
        Assert.Equal((code, (long)bits), (entry.DTypeName, entry.ByteLength));
        var error = Assert.Throws<CheckpointFormatException>(() => entry.DType);
        Assert.Contains($"tensor 'odd' has element type {code} ", error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string> ExpensiveHeaders => ["tensors in order", "tensors in reverse", "escaped names", "long shapes", "metadata", "braces in a name", "one long value"];

    [Theory]
    [MemberData(nameof(ExpensiveHeaders))]
    public void Memory_is_bounded_by_the_header(string kind)
    {
        byte[] file = Expensive(kind, 6_000_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        SafetensorsHeader header = SafetensorsHeader.Parse(file, file.Length);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.InRange(header.Count + header.Metadata.Count, 1, int.MaxValue);
        // The header itself, which the caller holds, is the fourth part.
        Assert.InRange(allocated, 0, 3L * file.Length + (1 << 20));
    }

    private static byte[] Expensive(string kind, int bytes)
    {
        var json = new StringBuilder("{");
        string shape = $"[{string.Join(",", Enumerable.Repeat(0, SafetensorsLimits.Rank))}]";
        switch (kind)
        {
            case "metadata":
                json.Append("\"__metadata__\":{\"\":\"\"");
                for (int i = 0; json.Length < bytes && i < SafetensorsLimits.MetadataEntries - 2; i++) json.Append($",\"{i:x}\":\"\"");
                json.Append('}');
                break;
            case "braces in a name":
                json.Append(Entry(new('{', 65536), "[]", 0, 0, "U8").Replace("[]", "[0]", StringComparison.Ordinal)).Append(' ', bytes);
                break;
            case "one long value":
                json.Append("\"__metadata__\":{\"k\":\"").Insert(json.Length, "\\u0061", bytes / 6).Append("\"}");
                break;
            default:
                int count = bytes / (kind == "long shapes" ? 110 : 60);
                for (int i = 0; i < count; i++)
                {
                    int at = kind == "tensors in reverse" ? count - 1 - i : i;
                    string name = kind == "escaped names" ? $"\\u0061{i:x}" : $"{i:x}";
                    string entry = kind == "long shapes" ? Entry(name, shape, 0, 0, "U8") : Entry(name, "[]", at, at + 1, "U8");
                    json.Append(i == 0 ? "" : ",").Append(entry);
                }
                return Assemble(json.Append('}').ToString(), kind == "long shapes" ? 0 : count);
        }
        return Assemble(json.Append('}').ToString());
    }
}
