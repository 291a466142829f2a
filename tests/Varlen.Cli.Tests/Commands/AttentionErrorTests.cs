using Varlen.Cli.Tests.AttentionFiles;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>Everything that varlen attention refuses: with which code, and that the message names the thing.</summary>
public sealed class AttentionErrorTests
{
    [Theory]
    [InlineData("--causal does not go with --window", "--causal", "--window", "-1,0")]
    [InlineData("--dtype float64 does not go with --device cuda", "--dtype", "float64", "--device", "cuda")]
    [InlineData("--scale cannot be '0'", "--scale", "0")]
    [InlineData("--scale cannot be '-1'", "--scale", "-1")]
    [InlineData("--scale cannot be 'NaN'", "--scale", "NaN")]
    [InlineData("--scale cannot be 'Infinity'", "--scale", "Infinity")]
    [InlineData("--scale cannot be '1,5'", "--scale", "1,5")]
    [InlineData("--softcap cannot be '-2'", "--softcap", "-2")]
    [InlineData("--window cannot be '3'", "--window", "3")]
    [InlineData("--window cannot be '1,2,3'", "--window", "1,2,3")]
    [InlineData("--window cannot be '1,x'", "--window", "1,x")]
    [InlineData("--window cannot be '99999999999,0'", "--window", "99999999999,0")]
    [InlineData("--alignment does not know 'bottomright'", "--alignment", "bottomright")]
    [InlineData("--device cannot be 'gpu'", "--device", "gpu")]
    [InlineData("--device cannot be 'cuda:-1'", "--device", "cuda:-1")]
    [InlineData("--dtype does not know 'float23'", "--dtype", "float23")]
    [InlineData("--tail does not know 'pad'", "--tail", "pad")]
    [InlineData("--threads cannot be '0'", "--threads", "0")]
    [InlineData("unexpected argument 'extra'", "extra")]
    [InlineData("unknown option --causel", "--causel")]
    public void Wrong_usage_exits_with_2(string what, params string[] flags)
    {
        using var folder = new TemporaryFolder();
        // The input does not exist: usage comes first.
        Cli.Run(["attention", folder.File("none"), folder.File("out"), .. flags]).AssertFails(2, what);
    }

    [Fact]
    public void Input_as_output_is_refused()
    {
        using var folder = new TemporaryFolder();
        string path = Valid().Write(folder);
        byte[] before = File.ReadAllBytes(path);
        Cli.RunIn(folder.Path, "attention", "in.safetensors", path).AssertFails(2, "IN and OUT are the same file");
        Assert.Equal(before, File.ReadAllBytes(path));
    }

    [Theory]
    [InlineData("cuda")]
    [InlineData("cuda:3")]
    public void Missing_device_exits_with_69(string device)
    {
        using var folder = new TemporaryFolder();
        Cli.Run("attention", Valid().Write(folder), folder.File("out"), "--device", device).AssertFails(69, $"device {(device == "cuda" ? "cuda:0" : device)} is not available", "CUDA", "--device cpu");
    }

    [Fact]
    public void Unreadable_input_exits_with_66()
    {
        using var folder = new TemporaryFolder();
        Cli.Run("attention", folder.File("none"), folder.File("out")).AssertFails(66, "cannot read the input", folder.File("none"));
        Cli.Run("attention", folder.Path, folder.File("out")).AssertFails(66, "cannot read the input", folder.Path);
    }

    [Fact]
    public void Foreign_file_exits_with_65()
    {
        using var folder = new TemporaryFolder();
        Cli.Run("attention", folder.Write("text", "this is no tensor file"), folder.File("out")).AssertFails(65, "not a safetensors file", folder.File("text"));
        Cli.Run("attention", folder.Write("empty", ""), folder.File("out")).AssertFails(65, "not a safetensors file", "it is empty");
    }

    [Fact]
    public void Unwritable_output_exits_with_73()
    {
        using var folder = new TemporaryFolder();
        string path = Valid().Write(folder);
        Cli.Run("attention", path, folder.File("no/such/folder/out")).AssertFails(73, "cannot write the output", "no/such/folder");
        Cli.Run("attention", path, folder.Path).AssertFails(73, "cannot write the output", "it is a folder");
        if (OperatingSystem.IsLinux()) Cli.Run("attention", path, "/dev/full").AssertFails(73, "cannot write the output", "/dev/full");
    }

    public static TheoryData<string, string, string> BadFiles => new()
    {
        { "no query", "there is no tensor query", "cu_seq_q" },
        { "no offsets", "there is no tensor cu_seq_q", "query" },
        { "rank", "query has shape [5, 2]", "[Tq, Hq, D]" },
        { "head dim of key", "key has shape [5, 1, 3]", "[Tk, Hkv, D]" },
        { "shape of value", "value has shape [4, 1, 2]", "[5, 1, 2]" },
        { "integer query", "query holds I64", "floating-point" },
        { "mixed types", "key holds F32 and query holds F64", "--dtype" },
        { "head dim", "head dim 257 is not supported", "256" },
        { "no features", "head dim 0 is not supported", "256" },
        { "no heads", "query has no heads", "at least one" },
        { "heads", "3 query heads cannot share 2 key heads", "multiple" },
        { "no key heads", "2 query heads cannot share 0 key heads", "multiple" },
        { "float offsets", "cu_seq_q holds F32", "I32 or I64" },
        { "rank of offsets", "cu_seq_q has shape [3, 1]", "[N + 1]" },
        { "empty offsets", "cu_seq_q has shape [0]", "[N + 1]" },
        { "first offset", "cu_seq_q is no list of offsets", "cu_seq_q[0] = 1" },
        { "decreasing", "cu_seq_q is no list of offsets", "cu_seq_q[2] = 2 follows 3" },
        { "huge offset", "cu_seq_q is no list of offsets", "cu_seq_q[2] = 3000000000" },
        { "negative offset", "cu_seq_k is no list of offsets", "cu_seq_k[1] = -1 follows 0" },
        { "beyond the tokens", "cu_seq_q[2] = 6, but query has 5 tokens", "behind the last token" },
        { "tail", "cu_seq_k[2] = 4, but key has 5 tokens", "--tail padding" },
        { "sequences", "cu_seq_k has 1 sequences, and cu_seq_q has 2", "equally long" },
        { "gradient", "grad_out has shape [5, 2, 3]", "[5, 2, 2]" },
        { "lse gradient", "grad_lse has shape [5, 2]", "[Hq, Tq]" },
        { "slopes", "alibi_slopes has shape [1]", "[Hq]" },
        { "cached lengths", "seqused_k has shape [3]", "[N] for the sequences of cu_seq_q" },
        { "too many keys", "seqused_k[1] = 4", "sequence 1 has 2 keys" },
        { "lengths of floats", "seqused_k holds F64", "I32 or I64" },
        { "a table alone", "key has shape", "block_table" },
        { "pages without lengths", "there is no tensor seqused_k", "how many keys" },
        { "a page that is not there", "lengths and pages do not fit", "page 0 of sequence 1 is 7" },
        { "too few pages", "lengths and pages do not fit", "sequence 0 has 5 keys" },
        { "gradients of a cache", "cached keys have no gradients", "inference" },
    };

    [Theory]
    [MemberData(nameof(BadFiles))]
    public void Bad_tensor_or_offset_exits_with_65_and_is_named(string name, string what, string contains)
    {
        using var folder = new TemporaryFolder();
        string path = Broken(name).Write(folder);
        Cli.Run("attention", path, folder.File("out")).AssertFails(65, what, contains, path);
        Assert.False(File.Exists(folder.File("out")));
    }

    [Fact]
    public void Unknown_tensors_are_warned_of_and_ignored()
    {
        using var folder = new TemporaryFolder();
        string path = Valid().Set("grad_ouput", new double[3], DType.Float32, 3).Write(folder);
        CliResult result = Cli.Run("attention", path, folder.File("out"));
        Assert.Equal(0, result.ExitCode);
        Assert.StartsWith("warning: tensor grad_ouput", result.Error, StringComparison.Ordinal);
    }

    private static AttentionFile Valid() => AttentionFile.Random([3, 2], [3, 2], heads: 2, keyHeads: 1, features: 2);

    private static AttentionFile Broken(string name)
    {
        AttentionFile file = Valid();
        return name switch
        {
            "no query" => file.Remove("query"),
            "no offsets" => file.Remove("cu_seq_q"),
            "rank" => file.Set("query", new double[10], DType.Float64, 5, 2),
            "head dim of key" => file.Set("key", new double[15], DType.Float64, 5, 1, 3),
            "shape of value" => file.Set("value", new double[8], DType.Float64, 4, 1, 2),
            "integer query" => file.Set("query", new double[20], DType.Int64, 5, 2, 2),
            "mixed types" => file.Set("key", new double[10], DType.Float32, 5, 1, 2),
            "head dim" => AttentionFile.Random([1], [1], 1, 1, 257),
            "no features" => AttentionFile.Random([1], [1], 1, 1, 0),
            "no heads" => file.Set("query", [], DType.Float64, 5, 0, 2),
            "heads" => AttentionFile.Random([1], [1], 3, 2, 2),
            "no key heads" => file.Set("key", [], DType.Float64, 5, 0, 2).Set("value", [], DType.Float64, 5, 0, 2),
            "float offsets" => file.SetOffsets("cu_seq_q", [0, 3, 5], DType.Float32),
            "rank of offsets" => file.Set("cu_seq_q", [0, 3, 5], DType.Int32, 3, 1),
            "empty offsets" => file.SetOffsets("cu_seq_q", []),
            "first offset" => file.SetOffsets("cu_seq_q", [1, 3, 5]),
            "decreasing" => file.SetOffsets("cu_seq_q", [0, 3, 2, 5]),
            "huge offset" => file.Set("cu_seq_q", [0, 3, 3e9], DType.Int64, 3),
            "negative offset" => file.SetOffsets("cu_seq_k", [0, -1, 5]),
            "beyond the tokens" => file.SetOffsets("cu_seq_q", [0, 3, 6]),
            "tail" => file.SetOffsets("cu_seq_k", [0, 3, 4]),
            "sequences" => file.SetOffsets("cu_seq_k", [0, 5]),
            "gradient" => file.Set("grad_out", new double[30], DType.Float64, 5, 2, 3),
            "lse gradient" => file.Set("grad_lse", new double[10], DType.Float64, 5, 2),
            "slopes" => file.Set("alibi_slopes", new double[1], DType.Float32, 1),
            "cached lengths" => file.SetOffsets("seqused_k", [3, 2, 1]),
            "too many keys" => file.SetOffsets("seqused_k", [1, 4]),
            "lengths of floats" => file.Set("seqused_k", new double[2], DType.Float64, 2),
            "a table alone" => file.Remove("cu_seq_k").Set("block_table", new double[2], DType.Int32, 2, 1),
            "pages without lengths" => Paged().Remove("seqused_k"),
            "a page that is not there" => Paged().Set("block_table", [0, 7], DType.Int32, 2, 1),
            "too few pages" => Paged().SetOffsets("seqused_k", [5, 1]),
            "gradients of a cache" => Paged().Set("grad_lse", new double[10], DType.Float64, 2, 5),
            _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no such case"),
        };

        AttentionFile Paged() => file.Remove("cu_seq_k").Set("key", new double[12], DType.Float64, 2, 3, 1, 2).Set("value", new double[12], DType.Float64, 2, 3, 1, 2)
            .SetOffsets("seqused_k", [3, 2]).Set("block_table", [1, 0], DType.Int32, 2, 1);
    }
}
