using System.Runtime.InteropServices;
using Varlen.Generation;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Generation;

/// <summary>A device draws the token that the host draws from the same logits, but for the rounding of sums.</summary>
public sealed class DeviceSamplerTests
{
    /// <summary>Weights are rounded to single precision, and cut at 2^-40 of the largest.</summary>
    private const double Tolerance = 1e-5;

    public static TheoryData<double, int?, double?, double> Settings => new(
        from temperature in (double[])[0, 0.05, 0.8, 1, 30]
        from topK in (int?[])[null, 1, 40, 5000]
        from topP in (double?[])[null, 0.02, 0.9, 0.9999]
        from penalty in (double[])[1, 1.3]
        select (temperature, topK, topP, penalty));

    [Theory]
    [MemberData(nameof(Settings))]
    public void TheTokenIsTheHosts(double temperature, int? topK, double? topP, double penalty)
    {
        Device device = TestDevices.Cuda();
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        foreach ((int vocabulary, int count, DType type) in new[] { (997, 24, DType.Float32), (3001, 6, DType.Float32), (60, 12, DType.Float32), (1, 1, DType.Float32), (997, 6, DType.BFloat16), (997, 6, DType.Float16), (6000, 2, DType.Float32) })
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor logits = Tensor.From([.. Enumerable.Range(0, count).SelectMany(row => Logits(random, vocabulary, row))], [count, vocabulary]).To(dtype: type);
            var options = new GenerationOptions { Temperature = temperature, TopK = topK, TopP = topP, RepetitionPenalty = penalty };
            int[][] seen = [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, random.Next(1, 50)).Select(_ => random.Next(vocabulary)).ToArray())];
            SampledRow[] rows = [.. seen.Select((ids, row) => SampledRow.Of(count - 1 - row, ids[^1], (ulong)(seed + row) << 30, row == 1 ? long.MaxValue : row))];
            int[] drawn = Draw(device, logits, rows, seen, options);
            float[] values = logits.To(dtype: DType.Float32).ToArray<float>();
            for (int row = 0; row < count; row++)
            {
                float[] here = values[(row * vocabulary)..((row + 1) * vocabulary)];
                long number = row == 1 ? long.MaxValue : row;
                int expected = new TokenSampler(temperature, topK, topP, (ulong)(seed + row) << 30, penalty).Draw(here, number, seen[row].Distinct());
                if (expected != drawn[row]) AssertNeighbours(here, seen[row], options, expected, drawn[row], $"seed {seed}, {type}, row {row} of {vocabulary} ids: {expected} on the host, {drawn[row]} on the device");
            }
        }
    }

    [Fact]
    public void RowsOfNothingStayAsTheyWereAndDamagedOnesAreTold()
    {
        Device device = TestDevices.Cuda();
        float inf = float.PositiveInfinity;
        foreach (double temperature in (double[])[0, 1])
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor logits = Tensor.From([1f, 2, 3, 4, float.NaN, 6, 7, inf, 9, -inf, -inf, -inf, -inf, 5, -inf, -0f, 0f, -1e30f], [6, 3]);
            SampledRow[] rows = [SampledRow.None, SampledRow.Of(0, 0, 1, 1), SampledRow.Of(0, 0, 1, 1), SampledRow.Of(0, 0, 1, 1), SampledRow.Of(0, 0, 1, 1), SampledRow.Of(0, 0, 1, 1)];
            int[] ids = Draw(device, logits, rows, [[0], [0], [0], [0], [0], [0]], new GenerationOptions { Temperature = temperature, TopK = 1 });
            Assert.Equal([77, -1, -1, -1, 1, 0], ids);
        }
    }

    /// <summary>What was drawn counts as there from the next draw on, and drawing twice is drawing once.</summary>
    [Fact]
    public void TokensAreMarkedAsTheyAreRead()
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var model = new Varlen.Models.Decoder(new Varlen.Models.DecoderConfig { VocabularySize = 70, MaxLength = 2, Width = 2, Heads = 1, Layers = 1 });
        model.To(device);
        using DeviceSampler sampler = DeviceSampler.For(model, new GenerationOptions { Temperature = 0, RepetitionPenalty = 2 })!;
        sampler.Begin(0, [3]);
        sampler.Begin(5, [4]);
        Tensor logits = Tensor.From([.. Enumerable.Range(0, 70).Select(i => i == 69 ? 9f : i is 3 or 4 or 40 ? 8f : 1)], [1, 70], device);
        int[] ids = new int[1];
        foreach ((int slot, int token, int expected) in new[] { (0, 3, 69), (0, 69, 4), (0, 69, 4), (0, 4, 40), (5, 4, 69), (5, 69, 3) })
        {
            sampler.Draw(logits, [SampledRow.Of(slot, token, 1, 1)], ids);
            Assert.Equal(expected, ids[0]);
        }
    }

    // Peaked, flat, of few values, all equal, with impossible ones, and so wide that most count nothing.
    private static IEnumerable<float> Logits(Random random, int count, int kind)
    {
        double scale = (kind % 6) switch { 0 => 3, 1 => 0.01, 2 => 8, 3 => 0, 4 => 1, _ => 60 };
        for (int i = 0; i < count; i++)
        {
            double normal = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            float x = (float)(scale * normal);
            yield return (kind % 6) switch { 4 when random.Next(3) == 0 => float.NegativeInfinity, 4 => MathF.Round(x), 2 => x - 20, _ => x };
        }
    }

    private static int[] Draw(Device device, Tensor logits, SampledRow[] rows, int[][] seen, GenerationOptions options)
    {
        int words = (logits.Shape[1] + 31) / 32;
        var marks = new int[seen.Length * words];
        // The last one is marked by the kernel.
        for (int row = 0; row < seen.Length; row++)
            foreach (int id in seen[row][..^1]) marks[(rows[row].Slot * words) + (id / 32)] |= 1 << (id % 32);
        // Rows lie apart, as where they are padded, and what is between them is read by nobody.
        Tensor padded = Tensor.Full([rows.Length, logits.Shape[1] + 3], double.NaN, logits.DType, device), ids = Tensor.Full([rows.Length], 77, DType.Int32, device);
        padded.Narrow(1, 0, logits.Shape[1]).CopyFrom(logits.To(device));
        var rule = new SamplingRule(options.Temperature, options.TopK ?? int.MaxValue, options.TopP ?? 1, options.RepetitionPenalty);
        ((ISamplingKernels)device.Backend).SampleRows(
            padded.Narrow(1, 0, logits.Shape[1]), Tensor.From<int>(MemoryMarshal.Cast<SampledRow, int>(rows), [rows.Length, DeviceSampler.RowNumbers], device), Tensor.From(marks, [seen.Length, words], device), ids, rule);
        return ids.ToArray<int>();
    }

    // The uniform number, or a cut, lies within the tolerance of where one token ends and the other begins.
    private static void AssertNeighbours(float[] logits, int[] seen, GenerationOptions options, int expected, int actual, string message)
    {
        foreach (int id in seen.Distinct()) logits[id] = (float)(logits[id] > 0 ? logits[id] / options.RepetitionPenalty : logits[id] * options.RepetitionPenalty);
        Assert.True(options.Temperature > 0, message);
        float top = logits.Max();
        double[] weights = [.. logits.Select(logit => Math.Exp(((double)logit - top) / options.Temperature))];
        bool sorted = options.TopK < logits.Length || options.TopP < 1;
        int[] order = [.. Enumerable.Range(0, logits.Length)];
        if (sorted) order = [.. order.OrderByDescending(i => logits[i]).Take(options.TopK ?? int.MaxValue)];
        double total = order.Sum(i => weights[i]);
        int from = Array.IndexOf(order, expected), to = Array.IndexOf(order, actual);
        Assert.True(from >= 0 && to >= 0, message);
        double between = 0;
        for (int i = Math.Min(from, to) + 1; i < Math.Max(from, to); i++) between += weights[order[i]];
        Assert.True(between / total < Tolerance, $"{message}; {between / total:E2} between them");
    }
}
