using System.Text.Json;
using System.Text.Json.Serialization;
using Varlen.Data;

namespace Varlen.Training;

/// <summary>Everything that decides a run's result, with no default left open: the same settings and data give the same bits on a CPU.</summary>
public sealed record RunConfig
{
    /// <summary>The present format.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Format of the file.</summary>
    public int Version { get; init; } = CurrentVersion;

    /// <summary>Files and folders of the data, as they were given.</summary>
    public required IReadOnlyList<string> Data { get; init; }

    /// <summary>The field of a jsonl record that holds its text; null when records tell by their fields what they are.</summary>
    public string? TextField { get; init; }

    /// <summary>How messages became text; null when the data has none.</summary>
    public string? ChatFormat { get; init; }

    /// <summary><c>byte</c>, or <c>bpe:N</c> for a byte-pair encoding with N ids that was trained on the data.</summary>
    public required string Tokenizer { get; init; }

    /// <summary>Longest sequence; longer documents are cut into several.</summary>
    public required int Context { get; init; }

    /// <summary>Most tokens of a batch.</summary>
    public required int BatchTokens { get; init; }

    /// <summary>How sequences are grouped into batches.</summary>
    public PackingPolicy Packing { get; init; } = PackingPolicy.BestFit;

    /// <summary>Seed of the weights, the held-out part, the order and dropout.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Element type of activations and of the weights that ops read; masters and statistics are single precision.</summary>
    public DType Precision { get; init; } = DType.Float32;

    /// <summary>Whether results depend on neither the batch nor the run; on a CPU they never do.</summary>
    public bool Deterministic { get; init; }

    /// <summary>Steps between two evaluations; one is made at the end in any case.</summary>
    public required int EvaluateEvery { get; init; }

    /// <summary>Steps between two checkpoints; one is made at the end in any case.</summary>
    public required int SaveEvery { get; init; }

    /// <summary>How to learn.</summary>
    public required TrainerOptions Training { get; init; }

    /// <summary>The model that was asked for, in the words of <see cref="RunRequest.Model"/>.</summary>
    public string Model { get; init; } = "auto";

    /// <summary>Folder of the pretrained model that training began from; null when it began from random weights.</summary>
    public string? Pretrained { get; init; }

    /// <summary>Reads a run's settings.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FormatException">The file does not hold the settings of a run; the message says why.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static RunConfig Load(string path)
    {
        byte[] json = File.ReadAllBytes(path);
        try
        {
            RunConfig config = JsonSerializer.Deserialize(json, RunJson.Default.RunConfig) ?? throw new FormatException($"{path} holds null, not the settings of a run");
            return config.Version == CurrentVersion ? config : throw new FormatException($"{path} has version {config.Version}; this program reads version {CurrentVersion}");
        }
        catch (JsonException e)
        {
            throw new FormatException($"{path} does not hold the settings of a run: {e.Message}", e);
        }
    }

    /// <summary>Writes the settings; the file is replaced whole.</summary>
    /// <param name="path">The file.</param>
    public void Save(string path) => RunJson.Write(path, JsonSerializer.SerializeToUtf8Bytes(this, RunJson.Default.RunConfig));
}

/// <summary>The run folder's JSON: snake_case, unknown and duplicate keys refused.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, AllowDuplicateProperties = false, MaxDepth = 16,
    WriteIndented = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(RunConfig))]
[JsonSerializable(typeof(RunState))]
internal sealed partial class RunJson : JsonSerializerContext
{
    /// <summary>Replaces a file whole, so that a reader sees the old or the new one.</summary>
    internal static void Write(string path, ReadOnlySpan<byte> bytes)
    {
        string temporary = path + ".tmp";
        File.WriteAllBytes(temporary, bytes);
        File.Move(temporary, path, overwrite: true);
    }
}
