using System.Text.Json.Nodes;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>A run folder belongs to no device: what one kind began the other goes on with.</summary>
public sealed class CudaRunTests : IDisposable
{
    private const int First = 3, Last = 5;
    private readonly RunCase _case = new();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void OneDeviceGoesOnWithWhatTheOtherBegan(bool beginsOnCuda)
    {
        Device cuda = TestDevices.Cuda();
        RunFolder straight = Prepare("straight"), mixed = Prepare("mixed");
        Train(straight, Device.Cpu, Last);
        Train(mixed, beginsOnCuda ? cuda : Device.Cpu, First);
        RunResult result = Train(mixed, beginsOnCuda ? Device.Cpu : cuda, Last);
        Assert.Equal(Last, result.Step);
        JsonObject[] expected = Metrics(straight), actual = Metrics(mixed);
        Assert.Equal(Last, actual.Length);
        for (int i = 0; i < Last; i++)
        {
            Assert.Equal(expected[i]["loss"]!.GetValue<double>(), actual[i]["loss"]!.GetValue<double>(), 4);
            foreach (string key in (string[])["step", "tokens", "targets", "outcome"]) Assert.Equal(expected[i][key]!.ToJsonString(), actual[i][key]!.ToJsonString());
        }
    }

    /// <summary>Steps are under way when a run is told to stop, evaluates or saves: all of them count, once.</summary>
    [Fact]
    public void StepsUnderWayAreCompletedBeforeAnythingIsSaved()
    {
        Device cuda = TestDevices.Cuda();
        RunFolder folder = Prepare("run");
        var recorder = new Recorder();
        using (var run = new TrainingRun(folder, cuda, recorder)) run.Run(4);
        Assert.Equal([1, 2, 3, 4], recorder.Steps);
        Assert.Equal([2, 4], recorder.Saves);
        using var again = new TrainingRun(folder, cuda);
        Assert.Equal(4, again.Step);
    }

    public void Dispose() => _case.Dispose();

    private RunFolder Prepare(string name) => _case.Prepare(name, request => request with { EvaluateEvery = 12, SaveEvery = 2, Precision = DType.Float32 });

    private static RunResult Train(RunFolder folder, Device device, int stopAfter)
    {
        using var run = new TrainingRun(folder, device);
        return run.Run(stopAfter);
    }

    private static JsonObject[] Metrics(RunFolder folder) => [.. File.ReadLines(folder.Metrics).Select(line => JsonNode.Parse(line)!.AsObject())];
}
