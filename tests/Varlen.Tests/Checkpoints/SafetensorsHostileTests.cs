using System.Text;
using Varlen.Checkpoints;
using Xunit;
using static Varlen.Tests.Checkpoints.SafetensorsBytes;

namespace Varlen.Tests.Checkpoints;

/// <summary>Files that break one rule each, and what the reader says about it.</summary>
public sealed class SafetensorsHostileTests
{
    private static readonly Dictionary<string, (Func<byte[]> File, string Fragment)> Cases = new()
    {
        // Other kinds of file.
        ["empty file"] = (() => [], "it is empty"),
        ["git-LFS pointer"] = (() => "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"u8.ToArray(), "git-LFS pointer"),
        ["HTML page"] = (() => "<!DOCTYPE html><html><body>404</body></html>"u8.ToArray(), "HTML or XML page (\"<!DOCTYPE html>\")"),
        ["HTML page after white space"] = (() => "\r\n  <html lang=en></html>"u8.ToArray(), "HTML or XML page (\"<html lang=en><\")"),
        ["XML error of a store"] = (() => "<?xml version='1.0'?><Error/>"u8.ToArray(), "HTML or XML page (\"<?xml version='"),
        ["zip archive"] = (() => [.. "PK"u8, 3, 4, .. new byte[60]], "zip archive"),
        ["bare pickle"] = (() => [0x80, 4, 0x95, .. new byte[61]], "Python pickle"),
        ["GGUF"] = (() => [.. "GGUF"u8, 3, .. new byte[59]], "GGUF file"),
        ["gzip"] = (() => [0x1F, 0x8B, 8, .. new byte[61]], "gzip-compressed"),
        ["NumPy array"] = (() => [0x93, .. "NUMPY"u8, .. new byte[58]], "NumPy array"),
        ["HDF5"] = (() => [0x89, .. "HDF\r\n"u8, .. new byte[58]], "HDF5 file"),
        ["JSON index"] = (() => """{"metadata":{},"weight_map":{}}"""u8.ToArray(), "index of a sharded checkpoint"),
        // The length field.
        ["one byte"] = (() => [7], "it has 1 bytes, and the length field alone takes 8"),
        ["seven bytes"] = (() => new byte[7], "it has 7 bytes"),
        ["length 0"] = (() => WithLength(0, "{}"), "header length is 0,"),
        ["length 1"] = (() => WithLength(1, "{}"), "header length is 1,"),
        ["length 2^63"] = (() => WithLength(1UL << 63, "{}"), "header length is 9223372036854775808, above"),
        ["length 2^64-1"] = (() => WithLength(ulong.MaxValue, "{}"), "header length is 18446744073709551615, above"),
        ["length above the cap"] = (() => WithLength(100_000_001, "{}"), "header length is 100000001, above the format's limit of 100000000"),
        ["length above the file"] = (() => WithLength(3, "{}"), "header length is 3, but only 2 bytes follow"),
        ["length only"] = (() => WithLength(2, ""), "header length is 2, but only 0 bytes follow"),
        ["does not start with a brace"] = (() => Assemble("[]"), "must start with '{' and starts with byte 0x5B"),
        ["starts with a space"] = (() => Assemble(" {}"), "must start with '{' and starts with byte 0x20"),
        // The JSON.
        ["cut JSON"] = (() => Assemble("{\"a\""), "the header is not valid JSON"),
        ["text after the object"] = (() => Assemble("{}{}"), "'{' is invalid after a single JSON value"),
        ["trailing NUL"] = (() => Assemble("{}\0"), "'0x00' is invalid after a single JSON value"),
        ["trailing comma"] = (() => Assemble("{" + Entry("a", "[]", 0, 4) + ",}", 4), "trailing comma"),
        ["comment"] = (() => Assemble("{/* hi */}"), "the header is not valid JSON"),
        ["invalid UTF-8"] = (() => Assemble([.. "{\""u8, 0xFF, .. "\":1}"u8], []), "byte 0xFF cannot stand there"),
        ["overlong UTF-8"] = (() => Assemble([.. "{\""u8, 0xC0, 0x80, .. "\":1}"u8], []), "byte 0xC0 cannot stand there"),
        ["control character in a name"] = (() => Assemble("{\"a\nb\":1}"), "'0x0A' is invalid within a JSON string"),
        ["half a surrogate pair in a name"] = (() => Assemble("{\"\\ud800\":1}"), "a tensor name holds half a surrogate pair"),
        ["half a surrogate pair in a field"] = (() => Assemble("{\"a\":{\"\\ud800shape\":[]}}"), "a field name holds half a surrogate pair"),
        ["surrogates in the wrong order"] = (() => Assemble("{\"\\udc00\\ud800\":1}"), "a tensor name holds half"),
        ["name too long"] = (() => Assemble("{" + Entry(new('n', 65537), "[]", 0, 4) + "}", 4), "a tensor name is 65537 bytes long"),
        // Names and fields.
        ["duplicate tensor"] = (() => Assemble("{" + Entry("w", "[]", 0, 4) + "," + Entry("w", "[]", 4, 8) + "}", 8), "tensor 'w' appears twice"),
        ["duplicate tensor after unescaping"] = (() => Assemble("{" + Entry("a", "[]", 0, 4) + "," + Entry("\\u0061", "[]", 4, 8) + "}", 8), "tensor '\\\\u0061' appears twice"),
        ["duplicate tensor with two spellings"] = (() => Assemble("{" + Entry("\\u00e9", "[]", 0, 4) + "," + Entry("é", "[]", 4, 8) + "}", 8), "tensor '\\u00E9' appears twice"),
        ["duplicate dtype"] = (() => Assemble("""{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}""", 4), "tensor 'a' has 'dtype' twice"),
        ["duplicate shape"] = (() => Assemble("""{"a":{"dtype":"F32","shape":[],"sh\u0061pe":[],"data_offsets":[0,4]}}""", 4), "tensor 'a' has 'sh\\\\u0061pe' twice"),
        ["duplicate offsets"] = (() => Assemble("""{"a":{"data_offsets":[0,4],"dtype":"F32","shape":[],"data_offsets":[0,4]}}""", 4), "tensor 'a' has 'data_offsets' twice"),
        ["unknown field"] = (() => Assemble("""{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"stride":[1]}}""", 4), "unknown field 'stride'"),
        ["no dtype"] = (() => Assemble("""{"a":{"shape":[],"data_offsets":[0,4]}}""", 4), "tensor 'a' has no 'dtype'"),
        ["no shape"] = (() => Assemble("""{"a":{"dtype":"F32","data_offsets":[0,4]}}""", 4), "tensor 'a' has no 'shape'"),
        ["no offsets"] = (() => Assemble("""{"a":{"dtype":"F32","shape":[]}}"""), "tensor 'a' has no 'data_offsets'"),
        ["tensor is a number"] = (() => Assemble("""{"a":5}"""), "tensor 'a' is not an object"),
        ["tensor is null"] = (() => Assemble("""{"b":null}"""), "tensor 'b' is not an object"),
        // Element types.
        ["unknown dtype"] = (() => Assemble("{" + Entry("a", "[]", 0, 4, "F31") + "}", 4), "unknown dtype 'F31'"),
        ["lower-case dtype"] = (() => Assemble("{" + Entry("a", "[]", 0, 4, "f32") + "}", 4), "unknown dtype 'f32'"),
        ["long dtype"] = (() => Assemble("{" + Entry("a", "[]", 0, 4, new('F', 5000)) + "}", 4), "unknown dtype 'FFFF"),
        ["dtype with half a surrogate pair"] = (() => Assemble("{" + Entry("a", "[]", 0, 4, "\\udbff") + "}", 4), "unknown dtype '\\\\udbff'"),
        ["dtype is a number"] = (() => Assemble("""{"a":{"dtype":32,"shape":[],"data_offsets":[0,4]}}""", 4), "dtype of tensor 'a' is not a string"),
        // Shapes.
        ["shape is a number"] = (() => Assemble("{" + Entry("a", "1", 0, 4) + "}", 4), "shape of tensor 'a' is not an array"),
        ["shape is nested"] = (() => Assemble("{" + Entry("a", "[[1]]", 0, 4) + "}", 4), "shape of tensor 'a' holds something other than a number"),
        ["shape of text"] = (() => Assemble("{" + Entry("a", "[\"1\"]", 0, 4) + "}", 4), "shape of tensor 'a' holds something other"),
        ["negative dimension"] = (() => Assemble("{" + Entry("a", "[-1]", 0, 4) + "}", 4), "shape of tensor 'a' holds a negative number"),
        ["negative zero"] = (() => Assemble("{" + Entry("z", "[-0]", 0, 0) + "}"), "shape of tensor 'z' holds a negative number"),
        ["fractional dimension"] = (() => Assemble("{" + Entry("a", "[1.0]", 0, 4) + "}", 4), "shape of tensor 'a' holds a number with a fraction"),
        ["exponent"] = (() => Assemble("{" + Entry("e", "[1e0]", 0, 4) + "}", 4), "shape of tensor 'e' holds a number with a fraction or an exponent"),
        ["leading zero"] = (() => Assemble("{" + Entry("a", "[01]", 0, 4) + "}", 4), "Invalid leading zero"),
        ["dimension of 2^63"] = (() => Assemble("{" + Entry("a", "[9223372036854775808]", 0, 4) + "}", 4), "shape of tensor 'a' holds a number that is too large"),
        ["dimension of 1000 digits"] = (() => Assemble("{" + Entry("h", $"[{new string('9', 1000)}]", 0, 4) + "}", 4), "shape of tensor 'h' holds a number that is too large"),
        ["product overflow"] = (() => Assemble("{" + Entry("a", "[4294967296,4294967296]", 0, 4) + "}", 4), "shape of tensor 'a' overflows"),
        ["product overflow to 0"] = (() => Assemble("{" + Entry("o", "[4294967296,4294967296,0]", 0, 0) + "}"), "shape of tensor 'o' overflows"),
        ["element count times width overflow"] = (() => Assemble("{" + Entry("a", "[4611686018427387904]", 0, 4) + "}", 4), "size of tensor 'a' overflows"),
        ["rank 1000"] = (() => Assemble("{" + Entry("a", $"[{string.Join(",", Enumerable.Repeat(1, 1000))}]", 0, 4) + "}", 4), "too many dimensions"),
        ["nesting 10 000 deep in a shape"] = (() => Assemble("{\"a\":{\"shape\":" + new string('[', 10_000)), "shape of tensor 'a' holds something other"),
        ["nesting 10 000 deep at the top"] = (() => Assemble(string.Concat(Enumerable.Repeat("{\"a\":", 10_000))), "tensor 'a' has an unknown field 'a'"),
        ["nesting 10 000 deep in metadata"] = (() => Assemble("{\"__metadata__\":" + string.Concat(Enumerable.Repeat("{\"a\":", 10_000))), "the metadata value of 'a' is not a string"),
        ["half a byte"] = (() => Assemble("{" + Entry("a", "[3]", 0, 2, "F4") + "}", 2), "3 elements of F4 are 12 bits"),
        ["three quarters of a byte"] = (() => Assemble("{" + Entry("a", "[1]", 0, 1, "F6_E2M3") + "}", 1), "1 elements of F6_E2M3 are 6 bits"),
        // Offsets.
        ["offsets reversed"] = (() => Assemble("{" + Entry("a", "[]", 4, 0) + "}", 4), "data_offsets of tensor 'a' are reversed"),
        ["offsets past the end"] = (() => Assemble("{" + Entry("a", "[2]", 0, 8) + "}", 4), "ends at byte 8 of the data, which has 4"),
        ["offset of 2^63-1"] = (() => Assemble("{" + Entry("a", "[0]", long.MaxValue, long.MaxValue) + "}"), "ends at byte 9223372036854775807 of the data"),
        ["negative offset"] = (() => Assemble("{" + Entry("a", "[]", -4, 0) + "}", 4), "data_offsets of tensor 'a' holds a negative number"),
        ["fractional offset"] = (() => Assemble("""{"a":{"dtype":"F32","shape":[],"data_offsets":[0.5,4]}}""", 4), "data_offsets of tensor 'a' holds a number with a fraction"),
        ["one offset"] = (() => Assemble("""{"b":{"dtype":"F32","shape":[],"data_offsets":[4]}}""", 4), "data_offsets of tensor 'b' is not an array of two"),
        ["no offset"] = (() => Assemble("""{"c":{"dtype":"F32","shape":[],"data_offsets":[]}}""", 4), "data_offsets of tensor 'c' is not an array of two"),
        ["three offsets"] = (() => Assemble("""{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}}""", 4), "data_offsets of tensor 'a' is not an array of two"),
        ["offsets are an object"] = (() => Assemble("""{"d":{"dtype":"F32","shape":[],"data_offsets":{}}}""", 4), "data_offsets of tensor 'd' is not an array of two"),
        ["too few bytes"] = (() => Assemble("{" + Entry("a", "[2]", 0, 4) + "}", 4), "2 elements of F32 take 8, and data_offsets span 4"),
        ["too many bytes"] = (() => Assemble("{" + Entry("a", "[2]", 0, 12) + "}", 12), "2 elements of F32 take 8, and data_offsets span 12"),
        ["overlap"] = (() => Assemble("{" + Entry("a", "[2]", 0, 8) + "," + Entry("b", "[2]", 4, 12) + "}", 12), "tensors 'a' and 'b' overlap"),
        ["same bytes twice"] = (() => Assemble("{" + Entry("a", "[2]", 0, 8) + "," + Entry("c", "[2]", 0, 8) + "}", 8), "tensors 'a' and 'c' overlap"),
        ["empty tensor inside another"] = (() => Assemble("{" + Entry("a", "[2]", 0, 8) + "," + Entry("e", "[0]", 4, 4) + "}", 8), "tensors 'a' and 'e' overlap"),
        ["hole at the start"] = (() => Assemble("{" + Entry("a", "[1]", 4, 8) + "}", 8), "4 bytes before tensor 'a' belong to no tensor"),
        ["hole in the middle"] = (() => Assemble("{" + Entry("a", "[1]", 0, 4) + "," + Entry("b", "[1]", 12, 16) + "}", 16), "8 bytes before tensor 'b' belong to no tensor"),
        ["trailing bytes"] = (() => Assemble("{" + Entry("a", "[1]", 0, 4) + "}", 7), "3 bytes after the last tensor"),
        ["data without tensors"] = (() => Assemble("{}", 5), "5 bytes after the last tensor"),
        ["100 000 overlapping tensors"] = (() => Assemble("{" + string.Join(",", Enumerable.Range(0, 100_000).Select(i => Entry($"t{i}", "[2]", 0, 8))) + "}", 8), "overlap"),
        ["more tensors than the limit"] = (ManyTensors, "the header has too many tensors"),
        // Metadata.
        ["metadata is a string"] = (() => Assemble("""{"__metadata__":"pt"}"""), "'__metadata__' is not an object"),
        ["metadata value is a number"] = (() => Assemble("""{"__metadata__":{"step":100}}"""), "the metadata value of 'step' is not a string"),
        ["metadata value is an object"] = (() => Assemble("""{"__metadata__":{"config":{"a":"b"}}}"""), "the metadata value of 'config' is not a string"),
        ["metadata value is null"] = (() => Assemble("""{"__metadata__":{"format":null}}"""), "the metadata value of 'format' is not a string"),
        ["metadata twice"] = (() => Assemble("""{"__metadata__":{},"__metadata__":{}}"""), "'__metadata__' appears twice"),
        ["metadata twice after unescaping"] = (() => Assemble("""{"__metadata__":{},"\u005f_metadata__":{}}"""), "'__metadata__' appears twice"),
        ["duplicate metadata key"] = (() => Assemble("""{"__metadata__":{"k":"1","\u006b":"2"}}"""), "metadata key '\\\\u006b' appears twice"),
        ["half a surrogate pair in a metadata value"] = (() => Assemble("""{"__metadata__":{"k":"\ud83d"}}"""), "a metadata value holds half a surrogate pair"),
        ["half a surrogate pair in a metadata key"] = (() => Assemble("""{"__metadata__":{"\ud83dx":""}}"""), "a metadata key holds half a surrogate pair"),
        ["more metadata than the limit"] = (() => Assemble("{\"__metadata__\":{" + string.Join(",", Enumerable.Range(0, SafetensorsLimits.MetadataEntries + 1).Select(i => $"\"{i:x}\":\"\"")) + "}}"), "the metadata has too many keys"),
        ["metadata is cut"] = (() => Assemble("{\"__metadata__\":{\"a\":\"b\",\"c"), "the header is not valid JSON"),
        ["metadata key too long"] = (() => Assemble("{\"__metadata__\":{\"" + new string('k', 70_000) + "\":\"\"}}"), "a metadata key is 70000 bytes long"),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Each_broken_rule_is_refused_with_its_own_message(string name)
    {
        (Func<byte[]> make, string fragment) = Cases[name];
        byte[] file = make();
        var error = Assert.Throws<CheckpointFormatException>(() => SafetensorsHeader.Parse(file, file.Length, "weights.safetensors"));
        Assert.Contains(fragment, error.Message, StringComparison.Ordinal);
        Assert.Contains("weights.safetensors, byte ", error.Message, StringComparison.Ordinal);
        Assert.Equal("weights.safetensors", error.Path);
        Assert.InRange(error.Offset, 0, file.Length);
        Assert.NotEmpty(error.Reason);
        Assert.NotEmpty(error.Fix);
        Assert.DoesNotContain(error.Message, char.IsControl);
    }

    [Fact]
    public void There_are_at_least_45_cases() => Assert.InRange(Cases.Count, 45, int.MaxValue);

    [Fact]
    public void The_offset_points_at_the_defect()
    {
        byte[] file = Assemble("{" + Entry("a", "[1]", 0, 4) + "," + Entry("b", "[-7]", 4, 8) + "}", 8);
        var error = Assert.Throws<CheckpointFormatException>(() => SafetensorsHeader.Parse(file, file.Length));
        Assert.Equal("-7", Encoding.UTF8.GetString(file, (int)error.Offset, 2));
    }

    [Fact]
    public void Messages_cannot_be_forged_by_names()
    {
        byte[] file = Assemble("{" + Entry("\\u001b[2J\\nerror: \u202E" + new string('x', 500), "[1]", 4, 0) + "}", 4);
        var error = Assert.Throws<CheckpointFormatException>(() => SafetensorsHeader.Parse(file, file.Length));
        Assert.DoesNotContain(error.Message, character => char.IsControl(character) || character == '\u202E');
        Assert.InRange(error.Message.Length, 1, 600);
    }

    private static byte[] ManyTensors()
    {
        var json = new StringBuilder("{");
        for (int i = 0; i <= SafetensorsLimits.Tensors; i++) json.Append(i == 0 ? "" : ",").Append(Entry($"{i:x}", "[0]", 0, 0, "U8"));
        return Assemble(json.Append('}').ToString());
    }
}
