using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Models;

/// <summary>
/// The <c>config.json</c> of a model's folder, which nobody vouches for: bounded in size and depth, no key twice, every number in its range.
/// </summary>
internal sealed partial class ModelConfigFile
{
    private const string Name = "config.json";
    private const string Models = $"{Gpt2Config.ModelType}, {LlamaConfig.Llama}, {LlamaConfig.Qwen2}, {LlamaConfig.Mistral} and {DecoderConfig.ModelType}";
    private const int MaxBytes = 1 << 20, MaxDepth = 16, MaxSize = 1 << 30;

    private readonly string _path;
    // Of a section, its key and a dot: how its own keys are called in messages.
    private readonly string _prefix;
    private readonly Dictionary<string, (JsonElement Value, long Offset)> _values = [];

    private ModelConfigFile(string path, string prefix = "") => (_path, _prefix) = (path, prefix);

    public string ModelType => Find("model_type") is not { } found
        ? throw Bad("model_type is missing", 0, "it tells what kind of model the folder holds", "use the config.json that was saved with the weights")
        : found.Value.ValueKind == JsonValueKind.String ? found.Value.GetString()! : throw Bad("model_type", found, "it is not a string", $"write one of {Models}");

    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="CheckpointFormatException">It is too large or no valid JSON object.</exception>
    public static ModelConfigFile Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return OpenFile(Path.Combine(folder, Name));
    }

    /// <inheritdoc cref="Open"/>
    public static ModelConfigFile OpenFile(string path)
    {
        var file = new ModelConfigFile(path);
        if (!File.Exists(file._path)) throw new FileNotFoundException($"{file._path} is missing; a model's folder holds config.json and model.safetensors", file._path);
        byte[] bytes;
        using (FileStream stream = File.OpenRead(file._path))
        {
            bytes = new byte[MaxBytes + 1];
            int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            if (length > MaxBytes) throw file.Bad("the configuration is too large", MaxBytes, $"the limit is {MaxBytes} bytes", "use the config.json that was saved with the weights");
            bytes = bytes[..length];
        }
        file.Parse(bytes);
        return file;
    }

    public void RequireModel(params ReadOnlySpan<string> modelTypes)
    {
        if (!modelTypes.Contains(ModelType)) throw Bad("model_type", Find("model_type")!.Value, $"the model here is a {string.Join(" or a ", modelTypes)}", "open the folder with CausalLanguageModel.FromPretrained, which asks the file");
    }

    public CheckpointFormatException UnknownModel()
        => Bad("model_type", Find("model_type")!.Value, $"the models here are {Models}", "use a model of one of these kinds");

    /// <summary>Refuses keys that nobody reads: for files of our own.</summary>
    public void RequireKnown(params ReadOnlySpan<string> keys)
    {
        foreach ((string key, (JsonElement, long) found) in _values)
            if (!keys.Contains(key)) throw Bad(JsonText.Quote(_prefix + key), found, "there is no such setting", "correct its name or remove it");
    }

    /// <summary>Runs the checks of a configuration as a whole, and reports what they refuse as a defect of this file.</summary>
    public void Check(Action validate)
    {
        try
        {
            validate();
        }
        catch (ArgumentException cause)
        {
            throw new CheckpointFormatException("the settings do not fit together", _path, 0, cause.Message, "correct them", cause);
        }
    }

    private (JsonElement Value, long Offset)? Find(string key)
        => _values.TryGetValue(key, out (JsonElement Value, long Offset) found) && found.Value.ValueKind != JsonValueKind.Null ? found : null;

    private void Parse(byte[] bytes)
    {
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = MaxDepth });
        var names = new Stack<HashSet<string>>();
        try
        {
            while (reader.Read())
            {
                if (reader.TokenType == JsonTokenType.StartObject) names.Push([]);
                else if (reader.TokenType == JsonTokenType.EndObject) names.Pop();
                else if (names.Count == 0) throw Bad("the configuration is no object", reader.TokenStartIndex, "settings stand between { and }", "use the config.json that was saved with the weights");
                // Read for its check: half a surrogate pair is refused here, wherever it stands.
                if (reader.TokenType == JsonTokenType.String) _ = reader.GetString();
                if (reader.TokenType != JsonTokenType.PropertyName) continue;
                string name = reader.GetString()!;
                long offset = reader.TokenStartIndex;
                if (!names.Peek().Add(name)) throw Bad($"{JsonText.Quote(name)} stands there twice", offset, "which one holds is not defined", "remove one of them");
                if (reader.CurrentDepth != 1) continue;
                // A copy of the reader: this one goes on to look for double names inside of the value.
                Utf8JsonReader value = reader;
                _values.Add(name, (JsonElement.ParseValue(ref value), offset));
            }
        }
        catch (Exception cause) when (cause is JsonException or InvalidOperationException)
        {
            throw new CheckpointFormatException("the configuration is no valid JSON", _path, reader.TokenStartIndex, cause.Message, "use the config.json that was saved with the weights", cause);
        }
    }

    private CheckpointFormatException Bad(string what, long offset, string reason, string fix) => new(what, _path, offset, reason, fix);

    private CheckpointFormatException Bad(string key, (JsonElement Value, long Offset) found, string reason, string fix)
        => Bad($"{_prefix}{key} is {Shown(found.Value)}", found.Offset, reason, fix);

    // Escaped by quoting, so that a value can neither move the cursor nor forge a line.
    private static string Shown(JsonElement value) => value.ValueKind is JsonValueKind.Object or JsonValueKind.Array ? $"an {value.ValueKind.ToString().ToLowerInvariant()}"
        : value.ValueKind == JsonValueKind.String ? JsonText.Quote(value.GetString()!) : JsonText.Quote(value.GetRawText())[1..^1];
}
