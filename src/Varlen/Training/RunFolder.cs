namespace Varlen.Training;

/// <summary>Where a training run keeps its files.</summary>
/// <param name="Path">The folder.</param>
public sealed record RunFolder(string Path)
{
    /// <summary>The resolved settings, <see cref="RunConfig"/>.</summary>
    public string Config => In("config.json");

    /// <summary>Versions, device and command of every start.</summary>
    public string Environment => In("environment.json");

    /// <summary>The files of the data with their hashes, and what was found in them.</summary>
    public string Data => In("data.json");

    /// <summary>The data as token ids.</summary>
    public string Tokens => In("tokens.bin");

    /// <summary>The tokenizer.</summary>
    public string Tokenizer => In("tokenizer.json");

    /// <summary>One line a step.</summary>
    public string Metrics => In("metrics.jsonl");

    /// <summary>States from which the run can go on.</summary>
    public string Checkpoints => In("checkpoints");

    /// <summary>The trained model as a HuggingFace folder.</summary>
    public string Model => In("model");

    /// <summary>Texts that the model wrote as it learned.</summary>
    public string Samples => In("samples.txt");

    /// <summary>How the run went, as a page.</summary>
    public string Report => In("report.html");

    /// <summary>Whether a run was begun here.</summary>
    public bool Exists => File.Exists(Config);

    private string In(string name) => System.IO.Path.Combine(Path, name);
}
