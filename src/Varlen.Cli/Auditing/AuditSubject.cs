using Varlen.Cli.Commands;
using Varlen.Cli.Terminal;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;

namespace Varlen.Cli.Auditing;

/// <summary>What is audited: a run with its settings, or a model.</summary>
/// <param name="Source">Where the weights are from.</param>
/// <param name="Model">The model.</param>
/// <param name="Run">The run's folder; null for a model.</param>
/// <param name="Config">The run's settings; null for a model.</param>
internal sealed record AuditSubject(string Source, CausalLanguageModel Model, RunFolder? Run, RunConfig? Config) : IDisposable
{
    /// <summary>Opens a folder.</summary>
    /// <exception cref="CommandException">It holds no model.</exception>
    public static AuditSubject Open(string path, Device device, DType precision)
    {
        var run = new RunFolder(path);
        // A run's config.json has a model beside it; a model's has not.
        if (!run.Exists || !Directory.Exists(run.Model))
        {
            if (!Directory.Exists(path)) throw new CommandException(ExitCode.InputUnreadable, "there is no model", path, "no such folder", "give the folder of a run, or one with config.json and model.safetensors");
            return new AuditSubject(path, CausalLanguageModel.FromPretrained(path, device, precision), null, null).Prepared();
        }
        RunConfig config = Settings(run);
        (CausalLanguageModel model, string source) = RunModel.Load(run, device, precision)
            ?? throw new CommandException(ExitCode.InputUnreadable, "the run has no weights yet", path, "it was stopped before its first checkpoint", $"go on with it: varlen train --resume {path}");
        return new AuditSubject(source, model, run, config).Prepared();
    }

    /// <summary>The tokenizer that belongs to the model.</summary>
    /// <exception cref="CommandException">It has ids that the model does not know.</exception>
    public Tokenizer Tokenizer()
    {
        Tokenizer tokenizer = Varlen.Text.Tokenizer.Load(Run?.Tokenizer ?? Source);
        return tokenizer.VocabularySize <= Model.VocabularySize ? tokenizer
            : throw new CommandException(ExitCode.BadData, "tokenizer and model do not belong together", Source, $"the tokenizer has {tokenizer.VocabularySize} ids, the model knows {Model.VocabularySize}", "use the tokenizer.json that was saved with the model");
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    private AuditSubject Prepared()
    {
        KernelProgress.Prepare(Model);
        return this;
    }

    private static RunConfig Settings(RunFolder run)
    {
        try
        {
            return RunConfig.Load(run.Config);
        }
        catch (FormatException e)
        {
            throw new CommandException(ExitCode.Configuration, "the run's settings cannot be read", run.Config, e.Message, "restore the file from a copy of the folder", e);
        }
    }
}
