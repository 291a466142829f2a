using System.Text.Json;
using Varlen.Cli.Tests.AttentionFiles;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>Results of varlen attention against the definition.</summary>
public sealed class AttentionTests
{
    public static TheoryData<string, int, int, bool, double?, double, bool> Cases => new()
    {
        { "", -1, -1, false, null, 0, false },
        { "--causal", -1, 0, false, null, 0, false },
        { "--window 2,0", 2, 0, false, null, 0, false },
        { "--window -1,1", -1, 1, false, null, 0, false },
        { "--window 1,-1 --alignment top-left", 1, -1, true, null, 0, false },
        { "--causal --alignment top-left", -1, 0, true, null, 0, false },
        { "--alignment=bottom-right --window=0,0", 0, 0, false, null, 0, false },
        { "--scale 0.3 --softcap 1.5", -1, -1, false, 0.3, 1.5, false },
        { "--causal", -1, 0, false, null, 0, true },
        { "--window 3,2 --scale 0.7 --softcap 2 --deterministic --threads 2", 3, 2, false, 0.7, 2, true },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Output_lse_and_gradients_follow_the_definition(string flags, int left, int right, bool topLeft, double? scale, double softcap, bool slopes)
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 0, 4, 2], [3, 2, 1, 5], heads: 4, keyHeads: 2, features: 3);
        var definition = new DenseAttention(left, right, topLeft, scale, softcap, slopes ? [0.5, 0.25, 0.125, 1] : null);
        if (slopes) file.Set("alibi_slopes", definition.Slopes!, DType.Float32, 4);
        var random = new Random(2);
        double[] outputGradient = AttentionFile.Values(random, file.Query.Length), lseGradient = AttentionFile.Values(random, 4 * 9);
        file.Set("grad_out", outputGradient, DType.Float64, 9, 4, 3).Set("grad_lse", lseGradient, DType.Float64, 4, 9);

        string result = Run(folder, file, flags);

        (double[] output, double[] lse) = definition.Run(file, file.Query, file.Key, file.Value);
        AssertClose(output, result, "output", DType.Float64, 1e-9, 9, 4, 3);
        AssertClose(lse, result, "lse", DType.Float64, 1e-9, 4, 9);
        (double[] query, double[] key, double[] value) = definition.Gradients(file, outputGradient, lseGradient);
        // Central differences are good to some 1e-9 / step.
        AssertClose(query, result, "grad_query", DType.Float64, 1e-7, 9, 4, 3);
        AssertClose(key, result, "grad_key", DType.Float64, 1e-7, 11, 2, 3);
        AssertClose(value, result, "grad_value", DType.Float64, 1e-7, 11, 2, 3);
    }

    [Theory]
    [InlineData("--causal", -1, 0, 2, DType.Int32)]
    [InlineData("", -1, -1, 3, DType.Int64)]
    [InlineData("--window 2,0 --threads 2", 2, 0, 1, DType.Int32)]
    public void Keys_on_pages_are_those_of_the_sequences(string flags, int left, int right, int pageSize, DType integers)
    {
        const int keyHeads = 2, features = 3, row = keyHeads * features;
        int[] lengths = [3, 2, 1, 5];
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 0, 4, 2], lengths, heads: 4, keyHeads, features);
        // Pages from the last to the first, a page of nobody among them; what no sequence has is NaN, and entries behind a sequence's pages mean nothing.
        int[] needed = Array.ConvertAll(lengths, length => (length + pageSize - 1) / pageSize);
        int columns = needed.Max() + 1, pages = needed.Sum() + 1, next = pages - 1;
        double[] table = [.. Enumerable.Repeat(-1.0, lengths.Length * columns)], key = [.. Enumerable.Repeat(double.NaN, pages * pageSize * row)], value = [.. key];
        for (int i = 0; i < lengths.Length; i++)
            for (int t = 0; t < lengths[i]; t++)
            {
                if (t % pageSize == 0) table[(i * columns) + (t / pageSize)] = next--;
                int to = (((int)table[(i * columns) + (t / pageSize)] * pageSize) + (t % pageSize)) * row, from = (file.KeyOffsets[i] + t) * row;
                Array.Copy(file.Key, from, key, to, row);
                Array.Copy(file.Value, from, value, to, row);
            }
        file.Remove("cu_seq_k").Set("key", key, DType.Float64, pages, pageSize, keyHeads, features).Set("value", value, DType.Float64, pages, pageSize, keyHeads, features)
            .SetOffsets("seqused_k", lengths, integers).Set("block_table", table, integers, lengths.Length, columns);

        string result = Run(folder, file, flags);

        (double[] output, double[] lse) = new DenseAttention(left, right).Run(file, file.Query, file.Key, file.Value);
        AssertClose(output, result, "output", DType.Float64, 1e-9, 9, 4, 3);
        AssertClose(lse, result, "lse", DType.Float64, 1e-9, 4, 9);
    }

    [Fact]
    public void Lengths_alone_leave_out_the_last_keys()
    {
        using var folder = new TemporaryFolder();
        AttentionFile few = AttentionFile.Random([2, 3], [2, 3], heads: 2, keyHeads: 1, features: 2);
        // The same keys, with NaN behind those that count.
        double[] key = [.. few.Key[..4], double.NaN, double.NaN, .. few.Key[4..], double.NaN, double.NaN], value = [.. few.Value[..4], double.NaN, double.NaN, .. few.Value[4..], double.NaN, double.NaN];
        AttentionFile file = AttentionFile.Random([2, 3], [2, 3], heads: 2, keyHeads: 1, features: 2).Set("key", key, DType.Float64, 7, 1, 2).Set("value", value, DType.Float64, 7, 1, 2)
            .SetOffsets("cu_seq_k", [0, 3, 7]).SetOffsets("seqused_k", [2, 3]);
        string result = Run(folder, file, "--causal");
        (double[] output, double[] lse) = new DenseAttention(-1, 0).Run(few, few.Query, few.Key, few.Value);
        AssertClose(output, result, "output", DType.Float64, 1e-9, 5, 2, 2);
        AssertClose(lse, result, "lse", DType.Float64, 1e-9, 2, 5);
    }

    [Theory]
    [InlineData("grad_out")]
    [InlineData("grad_lse")]
    public void Either_gradient_alone_is_enough(string name)
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 2], [3, 2], heads: 2, keyHeads: 1, features: 2);
        double[] gradient = AttentionFile.Values(new Random(3), name == "grad_out" ? 20 : 10);
        if (name == "grad_out") file.Set(name, gradient, DType.Float64, 5, 2, 2);
        else file.Set(name, gradient, DType.Float64, 2, 5);
        string result = Run(folder, file, "--causal");
        (double[] query, double[] key, double[] value) = new DenseAttention(-1, 0).Gradients(file, name == "grad_out" ? gradient : null, name == "grad_lse" ? gradient : null);
        AssertClose(query, result, "grad_query", DType.Float64, 1e-7, 5, 2, 2);
        AssertClose(key, result, "grad_key", DType.Float64, 1e-7, 5, 1, 2);
        AssertClose(value, result, "grad_value", DType.Float64, 1e-7, 5, 1, 2);
    }

    [Theory]
    [InlineData(DType.Float32, "", DType.Float32, DType.Float32, 3e-5)]
    [InlineData(DType.Float32, "--dtype float64", DType.Float64, DType.Float64, 1e-9)]
    [InlineData(DType.Float64, "--dtype float32", DType.Float32, DType.Float32, 3e-5)]
    [InlineData(DType.BFloat16, "--dtype float64", DType.Float64, DType.Float64, 1e-9)]
    // One rounding of the result, after probabilities rounded for the product.
    [InlineData(DType.BFloat16, "", DType.BFloat16, DType.Float32, 2.0 / 128)]
    [InlineData(DType.Float16, "", DType.Float16, DType.Float32, 2.0 / 1024)]
    [InlineData(DType.Float32, "--dtype bfloat16", DType.BFloat16, DType.Float32, 2.0 / 128)]
    public void Type_is_the_inputs_or_the_one_asked_for(DType stored, string flags, DType expected, DType statistics, double tolerance)
    {
        using var folder = new TemporaryFolder();
        // The values are exact in bfloat16, and in half precision unless they are tiny.
        AttentionFile file = AttentionFile.Random([5, 3], [5, 3], heads: 2, keyHeads: 2, features: 4, stored);
        string result = Run(folder, file, flags);
        (double[] output, double[] lse) = new DenseAttention().Run(file, file.Query, file.Key, file.Value);
        AssertClose(output, result, "output", expected, tolerance, 8, 2, 4);
        AssertClose(lse, result, "lse", statistics, tolerance, 2, 8);
        using SafetensorsFile read = SafetensorsFile.Open(result);
        Assert.Equal(["lse", "output"], read.Names.Order());
    }

    [Fact]
    public void Offsets_may_be_64_bit_and_those_of_keys_default_to_those_of_queries()
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([2, 3], [2, 3], heads: 1, keyHeads: 1, features: 2);
        file.Remove("cu_seq_k").SetOffsets("cu_seq_q", [0, 2, 5], DType.Int64);
        string result = Run(folder, file, "");
        AssertClose(new DenseAttention().Run(file, file.Query, file.Key, file.Value).Output, result, "output", DType.Float64, 1e-9, 5, 1, 2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void No_tokens_and_no_sequences_are_legal(int emptySequences)
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random(new int[emptySequences], new int[emptySequences], heads: 2, keyHeads: 1, features: 4);
        file.Set("grad_out", [], DType.Float64, 0, 2, 4);
        string result = Run(folder, file, "");
        AssertClose([], result, "output", DType.Float64, 0, 0, 2, 4);
        AssertClose([], result, "lse", DType.Float64, 0, 2, 0);
        AssertClose([], result, "grad_key", DType.Float64, 0, 0, 1, 4);
    }

    [Fact]
    public void Not_a_number_stays_in_its_own_sequence()
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 4], [3, 4], heads: 1, keyHeads: 1, features: 2);
        double[] value = [.. file.Value];
        value[1] = double.NaN;
        value[2] = double.PositiveInfinity;
        file.Set("value", value, DType.Float64, 7, 1, 2);
        (double[] output, _, _) = AttentionFile.Read(Run(folder, file, ""), "output");
        double[] expected = new DenseAttention().Run(file, file.Query, file.Key, file.Value).Output;
        Assert.All(output[..6], (actual, i) => Assert.Equal(i % 2 == 1, double.IsNaN(actual)));
        Assert.All(output[6..], (actual, i) => Assert.Equal(expected[6 + i], actual, 1e-9));
    }

    [Fact]
    public void Tail_of_padding_gives_zeros_and_an_infinite_lse()
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 2], [3, 2], heads: 1, keyHeads: 1, features: 2);
        file.SetOffsets("cu_seq_q", [0, 3]).SetOffsets("cu_seq_k", [0, 3]).Set("grad_out", new double[10].Select(_ => 1.0).ToArray(), DType.Float64, 5, 1, 2);
        string result = Run(folder, file, "--tail padding");
        Assert.All(AttentionFile.Read(result, "output").Values[6..], value => Assert.Equal(0, value));
        Assert.All(AttentionFile.Read(result, "lse").Values[3..], value => Assert.Equal(double.NegativeInfinity, value));
        foreach (string name in (string[])["grad_query", "grad_key", "grad_value"])
            Assert.All(AttentionFile.Read(result, name).Values[6..], value => Assert.Equal(0, value));
        AssertClose(new DenseAttention().Run(file, file.Query, file.Key, file.Value).Output[..6], AttentionFile.Read(result, "output").Values[..6], "output", 1e-9);
    }

    [Fact]
    public void Threads_change_no_bit()
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([70, 3, 41], [70, 3, 41], heads: 2, keyHeads: 1, features: 8, DType.Float32);
        file.Set("grad_out", AttentionFile.Values(new Random(5), 114 * 16), DType.Float32, 114, 2, 8);
        byte[] one = File.ReadAllBytes(Run(folder, file, "--causal --threads 1"));
        Assert.Equal(one, File.ReadAllBytes(Run(folder, file, "--causal --threads 3")));
    }

    [Fact]
    public void Json_describes_the_call_in_one_object()
    {
        using var folder = new TemporaryFolder();
        string path = AttentionFile.Random([3, 2], [4, 1], heads: 2, keyHeads: 1, features: 6, DType.Float32).Write(folder);
        CliResult result = Cli.Run("attention", path, folder.File("out.safetensors"), "--window", "-1,0", "--json");
        Assert.Equal("", result.Error);
        JsonElement json = result.Json();
        Assert.Equal("ok", json.GetProperty("status").GetString());
        Assert.Equal("float32", json.GetProperty("dtype").GetString());
        Assert.Equal((5, 5, 2, 1, 6), (json.GetProperty("query_tokens").GetInt32(), json.GetProperty("key_tokens").GetInt32(), json.GetProperty("hq").GetInt32(), json.GetProperty("hkv").GetInt32(), json.GetProperty("d").GetInt32()));
        Assert.Equal([-1, 0], json.GetProperty("window").EnumerateArray().Select(bound => bound.GetInt32()));
        Assert.Equal(["output", "lse"], json.GetProperty("tensors").EnumerateArray().Select(name => name.GetString()));
    }

    private static string Run(TemporaryFolder folder, AttentionFile file, string flags)
    {
        string path = folder.File("out.safetensors");
        CliResult result = Cli.Run(["attention", file.Write(folder), path, .. flags.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal("", result.Error);
        Assert.Equal(["in.safetensors", "out.safetensors"], Directory.GetFiles(folder.Path).Select(Path.GetFileName).Order());
        return path;
    }

    private static void AssertClose(double[] expected, string path, string name, DType dtype, double tolerance, params long[] shape)
    {
        (double[] values, DType type, long[] actualShape) = AttentionFile.Read(path, name);
        Assert.Equal(dtype, type);
        Assert.Equal(shape, actualShape);
        AssertClose(expected, values, name, tolerance);
    }

    private static void AssertClose(double[] expected, double[] actual, string name, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        double limit = tolerance * Math.Max(1, expected.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max());
        for (int i = 0; i < expected.Length; i++)
            Assert.True(expected[i].Equals(actual[i]) || Math.Abs(expected[i] - actual[i]) <= limit, $"{name}[{i}]: expected {expected[i]:R}, got {actual[i]:R}, allowed error {limit:G3}");
    }
}
