using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

public sealed class StepWorkloadTests
{
    [Fact]
    public void Default_lengths_are_those_of_the_file()
    {
        Assert.Equal(LengthsSpec.Parse(Path.Combine(Documents.Root, "benchmarks", "peers", "lengths", "gpt_step.txt"), 0).Lengths, StepWorkload.DefaultLengths.Lengths);
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
        double Count(StepMode mode, string strategy, StepModel model = StepModel.Decoder) => (workload with { Model = model }).Operations(StepStrategy.Parse(strategy)[0], mode);
        Assert.Equal((2 * 4 * 54) + (4 * 2 * 10), Count(StepMode.Evaluate, "packed"));
        Assert.Equal((3 * 2 * 4 * 54) + (3.5 * 4 * 2 * 7), Count(StepMode.Train, "packed"));
        // Padded to 4: full attention takes 4 queries to 3 and 1 keys, causal 10 pairs of each row; GPT-2 is causal in evaluation.
        Assert.Equal((2 * 8 * 54) + (4 * 2 * 16), Count(StepMode.Evaluate, "padded"));
        Assert.Equal((3 * 2 * 8 * 54) + (3.5 * 4 * 2 * 20), Count(StepMode.Train, "padded"));
        Assert.Equal((2 * 8 * 54) + (4 * 2 * 20), Count(StepMode.Evaluate, "padded", StepModel.Gpt2));
        Assert.Equal((2 * 8 * 54) + (4 * 2 * 10), Count(StepMode.Evaluate, "padded-unpad"));
        Assert.Equal((3 * 2 * 4 * 54) + (3.5 * 4 * 2 * 10), Count(StepMode.Train, "dense-mask"));
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
        Assert.Equal((AttendedSequence[])[new(8, 8)], StepStrategy.Parse("dense-mask")[0].Attended(workload, true));
        Assert.Equal((AttendedSequence[])[new(8, 3), new(8, 0), new(8, 5)], StepStrategy.Padded.Attended(workload, false));
        Assert.Equal(StepStrategy.All, StepStrategy.Parse("all"));
    }

    [Theory]
    [InlineData("float64", "Decoder")]
    [InlineData("float32", "Reference")]
    [InlineData("float32", "Gpt2")]
    public void All_strategies_take_the_same_steps(string type, string model)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        int[] lengths = [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => random.Next(0, 20)), random.Next(2, 9)];
        StepWorkload workload = Tiny(lengths, layers: 2, width: 16, vocabulary: 11, context: 32, type == "float64" ? DType.Float64 : DType.Float32, (ulong)seed) with { Model = Enum.Parse<StepModel>(model) };
        StepResult result = StepBenchmark.Run(workload, [StepMode.Evaluate, StepMode.Train], StepStrategy.All, new StepRounds(0, 2));
        Assert.Equal(2 * StepStrategy.All.Count, result.Rows.Count);
        foreach (StepRow row in result.Rows)
        {
            StepRow packed = result.Find(row.Mode, StepStrategy.Packed)!;
            Assert.True(row.FirstDisagreement(packed, workload.LossTolerance) is null, $"seed {seed}, {row.Mode} {row.Strategy}: {row.Losses[0]}, {row.Losses[1]} and {packed.Losses[0]}, {packed.Losses[1]}");
            // Each round takes a step on a batch that is there, and one that makes its batch.
            Assert.Equal((2, 2, 4, lengths.Sum()), (row.Milliseconds.Count, row.UploadMilliseconds.Count, row.Losses.Count, row.RealTokens));
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
        Assert.Equal((1.5, 4.75), (Statistics.Quantile([1, 2, 10], 0.25), Statistics.Quantile([2, 1, 10, 3], 0.75)));
        Assert.Equal((2.0, double.NaN), (Statistics.Median([3, 1, 2]), Statistics.Median([])));
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
}
