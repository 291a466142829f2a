using System.Text.RegularExpressions;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

public sealed class StepWorkloadTests
{
    [Fact]
    public void Default_lengths_are_those_of_the_peer_and_of_its_file()
    {
        string peers = Path.Combine(Root(), "benchmarks", "peers");
        Assert.Equal(LengthsSpec.Parse(Path.Combine(peers, "lengths", "gpt_step.txt"), 0).Lengths, StepWorkload.DefaultLengths.Lengths);
        Match list = Regex.Match(File.ReadAllText(Path.Combine(peers, "gpt_step_cpu.py")), @"\bln=\[([0-9,]+)\]");
        Assert.Equal(list.Groups[1].Value.Split(',').Select(int.Parse), StepWorkload.DefaultLengths.Lengths);
        Assert.Equal(2285, StepWorkload.DefaultLengths.Tokens);
        Assert.Equal(256, StepWorkload.DefaultContext(StepWorkload.DefaultLengths));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(5, 8)]
    [InlineData(1023, 1024)]
    [InlineData(1024, 1024)]
    public void Default_context_is_the_next_power_of_two(int longest, int context)
        => Assert.Equal(context, StepWorkload.DefaultContext(new LengthsSpec("", [longest, 0])));

    [Fact]
    public void Operations_count_products_and_scores()
    {
        // One block of width 2 and three ids: 12 * 4 + 3 * 2 = 54 linear values; sequences of 3 and 1 have 10 pairs, 7 of them causal.
        StepWorkload workload = Tiny([3, 1], layers: 1, width: 2, vocabulary: 3, context: 4);
        Assert.Equal((2 * 4 * 54) + (4 * 2 * 10), workload.Operations([3, 1], StepMode.Evaluate));
        Assert.Equal((3 * 2 * 4 * 54) + (3.5 * 4 * 2 * 7), workload.Operations([3, 1], StepMode.Train));
    }

    [Fact]
    public void Strategies_attend_to_what_their_batches_hold()
    {
        StepWorkload workload = Tiny([3, 0, 5], layers: 1, width: 4, vocabulary: 7, context: 8);
        foreach (StepStrategy strategy in StepStrategy.All)
        {
            using var batch = strategy.Collator(workload).Collate(workload.Sequences());
            Assert.True(strategy.Rows(workload) == batch.Rows, $"{strategy}: counted {strategy.Rows(workload)}, made {batch.Rows}");
            Assert.Equal(8, batch.RealTokens);
        }
        Assert.Equal(24, StepStrategy.Padded.Rows(workload));
        Assert.Equal([8], StepStrategy.Parse("dense-mask")[0].Attended(workload));
    }

    [Theory]
    [InlineData("float64")]
    [InlineData("float32")]
    public void All_strategies_take_the_same_steps(string type)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        int[] lengths = [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => random.Next(0, 20)), random.Next(2, 9)];
        StepWorkload workload = Tiny(lengths, layers: 2, width: 16, vocabulary: 11, context: 32, type == "float64" ? DType.Float64 : DType.Float32, (ulong)seed);
        StepResult result = StepBenchmark.Run(workload, [StepMode.Evaluate, StepMode.Train], StepStrategy.All, 0, 2);
        Assert.Equal(2 * StepStrategy.All.Count, result.Rows.Count);
        foreach (StepRow row in result.Rows)
        {
            StepRow packed = result.Find(row.Mode, StepStrategy.Packed)!;
            Assert.True(row.FirstDisagreement(packed, workload.LossTolerance) is null, $"seed {seed}, {row.Mode} {row.Strategy}: {row.Losses[0]}, {row.Losses[1]} and {packed.Losses[0]}, {packed.Losses[1]}");
            Assert.Equal((2, lengths.Sum()), (row.Milliseconds.Count, row.RealTokens));
            Assert.Equal(row.Mode == StepMode.Evaluate, row.Losses[0] == row.Losses[1]);
            Assert.True(row.PeakBytes > 0);
            Assert.True(row.CountedTimesAs(packed) >= 1, $"seed {seed}, {row.Mode} {row.Strategy} counts less work than packed");
        }
    }

    [Fact]
    public void Another_loss_is_a_disagreement_and_not_a_number_is_one()
    {
        var row = new StepRow(StepMode.Train, StepStrategy.Packed, 1, 1, [1], 1, [2, 1.5, 1], 1);
        Assert.Null(row.FirstDisagreement(row with { Losses = [2.0001, 1.5, 7] }, 1e-3));
        Assert.Equal(1, row.FirstDisagreement(row with { Losses = [2.01, 1.5, 1] }, 1e-3));
        Assert.Equal(2, row.FirstDisagreement(row with { Losses = [2, 1.6, 1] }, 1e-3));
        Assert.Equal(1, row.FirstDisagreement(row with { Losses = [double.NaN, 1.5, 1] }, 1e-3));
        Assert.Equal(1, (row with { Losses = [double.NaN, double.NaN, 1] }).FirstDisagreement(row with { Losses = [double.NaN, double.NaN, 1] }, 1e-3));
    }

    [Fact]
    public void Ratios_are_medians_over_rounds()
    {
        var packed = new StepRow(StepMode.Train, StepStrategy.Packed, 10, 10, [1, 2, 10], 1, [1], 4);
        StepRow padded = packed with { Milliseconds = [2, 6, 15], Operations = 6 };
        Assert.Equal((2, 1.5), (padded.TimesAs(packed), padded.CountedTimesAs(packed)));
        var blocks = (StepPeerBlock[])[new(StepStrategy.Padded, 0, 2, 4, 3), new(StepStrategy.Padded, 2, 1, 10, 9)];
        StepPeerRow peer = StepPeerRow.From(StepStrategy.Padded, blocks, [packed, padded with { Strategy = StepStrategy.Padded }]);
        // Packed: 1.5 / 4 and 10 / 10; padded: 4 / 4 and 15 / 10.
        Assert.Equal((7, 3, 1.25, (0.375 + 1) / 2), (peer.Milliseconds, peer.LeastMilliseconds, peer.Ratio, peer.PackedRatio));
        Assert.Null(StepPeerRow.From(StepStrategy.Padded, blocks, [packed]).Ratio);
    }

    [Theory]
    [InlineData("packd", "did you mean packed?")]
    [InlineData("packed,,padded", "give some of packed,padded,")]
    public void Unknown_strategy_is_a_usage_error(string text, string fix)
    {
        var error = Assert.Throws<CommandException>(() => StepStrategy.Parse(text));
        Assert.Equal(ExitCode.Usage, error.Code);
        Assert.Contains(fix, error.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public void Strategies_keep_their_order_and_count_once()
        => Assert.Equal(["padded", "packed"], StepStrategy.Parse("padded,packed,padded").Select(strategy => strategy.Name));

    private static StepWorkload Tiny(int[] lengths, int layers, int width, int vocabulary, int context, DType dtype = DType.Float32, ulong seed = 0)
        => new(new LengthsSpec("tiny", lengths), layers, width, 2, vocabulary, context, Device.Cpu, dtype, seed);

    private static string Root()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Varlen.slnx"))) folder = folder.Parent;
        return folder!.FullName;
    }
}
