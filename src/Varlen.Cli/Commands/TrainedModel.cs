using Varlen.Cli.Terminal;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>A model with its tokenizer, from a run's folder or a model's.</summary>
internal sealed record TrainedModel(CausalLanguageModel Model, Tokenizer Tokenizer, string Folder) : IDisposable
{
    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="device">Where to put the model.</param>
    /// <param name="precision">What it computes in; what the device does best when null.</param>
    /// <exception cref="CommandException">It holds no model.</exception>
    public static TrainedModel Open(string path, Device device, DType? precision)
    {
        string folder = Directory.Exists(Path.Combine(path, "model")) && new RunFolder(path).Exists ? new RunFolder(path).Model : path;
        if (!Directory.Exists(folder)) throw new CommandException(ExitCode.InputUnreadable, "there is no model", path, "no such folder", "give the folder of a run, or one with config.json, model.safetensors and tokenizer.json");
        if (folder != path && !File.Exists(Path.Combine(folder, "model.safetensors")))
            throw new CommandException(ExitCode.InputUnreadable, "the run has no trained model yet", path, "it was stopped before the end of its plan", $"finish it: varlen train --resume {path}");
        Tokenizer tokenizer = Tokenizer.Load(folder);
        CausalLanguageModel model = CausalLanguageModel.FromPretrained(folder, device, precision ?? RunPlanner.DefaultPrecision(device));
        if (tokenizer.VocabularySize <= model.VocabularySize)
        {
            KernelProgress.Prepare(model);
            return new TrainedModel(model, tokenizer, folder);
        }
        int ids = model.VocabularySize;
        model.Dispose();
        throw new CommandException(ExitCode.BadData, "tokenizer and model do not belong together", folder, $"the tokenizer has {tokenizer.VocabularySize} ids, the model knows {ids}", "use the tokenizer.json that was saved with the model");
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
