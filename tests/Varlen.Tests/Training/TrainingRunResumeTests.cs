using Varlen.Checkpoints;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>A run that was stopped, or lost its newest states, ends with the bits of one that never stopped.</summary>
public sealed class TrainingRunResumeTests(StraightRun straight) : IClassFixture<StraightRun>
{
    /// <summary>After the first step, within an epoch, at and beside an evaluation (4) and a save (5), and before the last step.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(RunCase.Steps - 1)]
    [InlineData(2, 4, 5, 9)]
    public void StoppedAndResumedEqualsUndisturbed(params int[] stops)
    {
        RunFolder folder = straight.Case.Prepare("stopped");
        foreach (int stop in stops)
        {
            RunResult stopped = RunCase.Train(folder, stopAfter: stop);
            Assert.Equal((stop, false), (stopped.Step, stopped.Finished));
        }
        RunResult result = RunCase.Train(folder);
        Assert.True(result.Finished);
        Assert.Equal(straight.Outcome, RunCase.Outcome(folder));
    }

    [Fact]
    public void CancelledInTheMiddleItEndsTheStepAndSaves()
    {
        RunFolder folder = straight.Case.Prepare("cancelled");
        Recorder? observer = null;
        observer = new Recorder { OnStep = step => { if (step == 7) observer!.Stop.Cancel(); } };
        RunResult stopped = RunCase.Train(folder, observer);
        Assert.Equal((7, false), (stopped.Step, stopped.Finished));
        Assert.Equal(7, observer.Saves[^1]);
        RunCase.Train(folder);
        Assert.Equal(straight.Outcome, RunCase.Outcome(folder));
    }

    /// <summary>What a killed process leaves: metrics and samples of steps after the checkpoint, the last line torn.</summary>
    [Theory]
    [InlineData(6)]
    [InlineData(9)]
    [InlineData(12)]
    public void LinesAfterTheCheckpointAreCutBack(int killedAt)
    {
        RunFolder folder = straight.Case.Prepare("killed");
        var death = new InvalidOperationException("killed");
        Assert.Same(death, Assert.Throws<InvalidOperationException>(() => RunCase.Train(folder, new Recorder { OnStep = step => { if (step == killedAt) throw death; } })));
        File.AppendAllText(folder.Metrics, """{"step":""");
        File.AppendAllText(Path.ChangeExtension(folder.Metrics, ".csv"), "13,12");
        var observer = new Recorder();
        RunCase.Train(folder, observer);
        Assert.InRange(observer.Steps[0], 2, killedAt);
        Assert.Equal(straight.Outcome, RunCase.Outcome(folder));
    }

    [Fact]
    public void ADamagedNewestCheckpointFallsBackWithAWarningAndEndsWithTheSameBits()
    {
        RunFolder folder = straight.Case.Prepare("damaged");
        RunCase.Train(folder, stopAfter: 9);
        var checkpoints = new CheckpointFolder(folder.Checkpoints);
        long before = checkpoints.List()[^2];
        string victim = Path.Combine(checkpoints.PathOf(9), "optimizer.safetensors");
        byte[] bytes = File.ReadAllBytes(victim);
        bytes[^1] ^= 1;
        File.WriteAllBytes(victim, bytes);

        var observer = new Recorder();
        RunCase.Train(folder, observer);
        string warning = Assert.Single(observer.Warnings);
        Assert.Contains("optimizer.safetensors", warning, StringComparison.Ordinal);
        Assert.Equal(before + 1, observer.Steps[0]);
        Assert.Equal(straight.Outcome, RunCase.Outcome(folder));
    }

    [Fact]
    public void AFinishedRunTrainsNothingMore()
    {
        var observer = new Recorder();
        RunResult result = RunCase.Train(straight.Folder, observer);
        Assert.True(result.Finished);
        Assert.NotNull(result.Last);
        Assert.Empty(observer.Steps);
        Assert.Empty(observer.Saves);
        Assert.Empty(observer.Warnings);
        Assert.Equal(straight.Outcome, RunCase.Outcome(straight.Folder));
    }

    [Fact]
    public void TheNumberOfThreadsDoesNotMatter()
    {
        int threads = Device.CpuThreads;
        try
        {
            RunFolder folder = straight.Case.Prepare("threads");
            Device.CpuThreads = 1;
            RunCase.Train(folder, stopAfter: 5);
            Device.CpuThreads = 3;
            RunCase.Train(folder);
            Assert.Equal(straight.Outcome, RunCase.Outcome(folder));
        }
        finally
        {
            Device.CpuThreads = threads;
        }
    }
}
