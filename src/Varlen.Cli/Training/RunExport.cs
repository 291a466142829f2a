using Varlen.Cli.Terminal;
using Varlen.Models;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>The trained model as a HuggingFace folder.</summary>
internal static class RunExport
{
    /// <summary>Writes weights and configuration beside the tokenizer, and loads them again.</summary>
    /// <exception cref="CommandException">What was read is not what was written.</exception>
    public static void Write(RunFolder folder, TrainingRun run, RunResult result)
    {
        run.RestoreBest();
        run.Model.SavePretrained(folder.Model);
        using CausalLanguageModel read = CausalLanguageModel.FromPretrained(folder.Model);
        IReadOnlyDictionary<string, Tensor> written = run.Model.StateDict();
        using TensorScope scope = TensorScope.Begin();
        foreach ((string name, Tensor value) in read.StateDict())
            if (!value.ToArray<float>().AsSpan().SequenceEqual(written[name].To(Device.Cpu).ToArray<float>()))
                throw new CommandException(ExitCode.InputOutput, "the saved model differs from the trained one", folder.Model, $"{name} was read back with other values", "check the disk, then finish again with --resume");
    }
}
