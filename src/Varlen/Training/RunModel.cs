using System.Text.Json;
using Varlen.Checkpoints;
using Varlen.Models;

namespace Varlen.Training;

/// <summary>The model of a run, whether it was finished or not.</summary>
public static class RunModel
{
    /// <summary>
    /// Loads what a finished run exported, else the weights of the best evaluation, else those of the newest checkpoint; null when there is no
    /// checkpoint yet.
    /// </summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="device">Where to put the model; the CPU when null.</param>
    /// <param name="dtype">What it computes in.</param>
    /// <exception cref="CheckpointFormatException">A file breaks its format, or all checkpoints are damaged.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static (CausalLanguageModel Model, string Source)? Load(RunFolder folder, Device? device = null, DType dtype = DType.Float32)
    {
        ArgumentNullException.ThrowIfNull(folder);
        if (File.Exists(Path.Combine(folder.Model, TrainingRun.ModelFile))) return (CausalLanguageModel.FromPretrained(folder.Model, device, dtype), folder.Model);
        var checkpoints = new CheckpointFolder(folder.Checkpoints);
        using Checkpoint? newest = checkpoints.OpenNewest();
        if (newest is null) return null;
        int best = newest.ReadJson(TrainingRun.StateFile).Deserialize(RunJson.Default.RunState)?.BestStep ?? 0;
        using Checkpoint? other = best != 0 && best != newest.Step && checkpoints.List().Contains(best) && checkpoints.Verify(best).Count == 0 ? checkpoints.Open(best) : null;
        Checkpoint chosen = other ?? newest;
        CausalLanguageModel model = CausalLanguageModel.FromConfig(folder.Model);
        using TensorScope scope = TensorScope.Begin();
        model.LoadStateDict(chosen.ReadTensors(TrainingRun.ModelFile));
        return (model.To(device ?? Device.Cpu, dtype), chosen.Path);
    }
}
