using Varlen.Cli.Benchmarks;
using Varlen.Cli.Reports;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

/// <summary>Figures of other machines stand in a report as such, and only beside the sizes that they are of.</summary>
public sealed class RecordedResultsTests
{
    private static readonly StepWorkload Full = new(new LengthsSpec("tiny", [3, 5]), 24, 1024, 16, 1024, 1024, Device.Cpu, DType.Float32, 0) { Model = StepModel.Reference };

    [Fact]
    public void The_full_sizes_have_the_posts_figures_and_PyTorchs()
    {
        IReadOnlyList<RecordedResults> results = RecordedResults.Of(Full);
        Assert.Equal(["PyTorch 2.11, H200", "the blog post"], results.Select(result => result.Who));
        Assert.All(results, result => Assert.StartsWith("NVIDIA H", result.Machine, StringComparison.Ordinal));
        Assert.Equal(160, results[1].Rows.Single(row => (row.GetProperty("mode").GetString(), row.GetProperty("strategy").GetString()) == ("train", "packed")).GetProperty("ms").GetDouble());
        Assert.Equal([815, 440, 620, 323], RecordedResults.Of(Full with { Model = StepModel.Gpt2 })[1].Rows.Select(row => row.GetProperty("ms").GetDouble()));
        // What was recorded names strategies that there are.
        foreach (string strategy in results.SelectMany(result => result.Rows).Select(row => row.GetProperty("strategy").GetString()!)) StepStrategy.Parse(strategy);
    }

    [Fact]
    public void Other_sizes_have_none()
    {
        Assert.Empty(RecordedResults.Of(Full with { Layers = 12 }));
        Assert.Empty(RecordedResults.Of(Full with { Model = StepModel.Decoder }));
    }

    [Fact]
    public void A_report_says_that_they_were_not_measured_in_its_run()
    {
        var row = new StepRow(StepMode.Train, StepStrategy.Packed, 8, 8, [2, 3], 7, [1, 1], 1e6) { UploadMilliseconds = [3, 4] };
        ReportDocument report = StepPage.Create("step", [new StepResult(Full, [row, row with { Strategy = StepStrategy.Padded, Milliseconds = [4, 7], Operations = 2e6 }], [], [], 10)]);
        Assert.Contains(report.Sections, section => section.Heading.StartsWith("Recorded elsewhere", StringComparison.Ordinal) && section.Notes.All(note => note.Contains("Not measured in this run", StringComparison.Ordinal)));
        Assert.Contains(("faster than padded", "2.17 ×"), report.Facts);
        Assert.Contains("All strategies have the same loss.", report.ToMarkdown(), StringComparison.Ordinal);
    }
}
