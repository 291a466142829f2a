using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Models;

/// <summary>
/// The <c>config.json</c> of a model's folder, which nobody vouches for: bounded in size and depth, no key twice, every number in its range.
/// </summary>
internal sealed class ModelConfigFile
{
    private const string Name = "config.json";
    private const int MaxBytes = 1 << 20, MaxDepth = 16, MaxSize = 1 << 30;

    private readonly string _path;
    private readonly Dictionary<string, (JsonElement Value, long Offset)> _values = [];

    private ModelConfigFile(string path) => _path = path;

    public string ModelType => Find("model_type") is not { } found
        ? throw Bad("model_type is missing", 0, "it tells what kind of model the folder holds", "use the config.json that was saved with the weights")
        : found.Value.ValueKind == JsonValueKind.String ? found.Value.GetString()! : throw Bad("model_type", found, "it is not a string", $"write \"{Gpt2Config.ModelType}\" or \"{DecoderConfig.ModelType}\"");

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

    /// <summary>Writes a configuration; the file is replaced whole or left as it was.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void Write(string folder, IReadOnlyDictionary<string, object?> values)
    {
        string path = Path.Combine(folder, Name), temporary = $"{path}.{Path.GetRandomFileName()}.tmp";
        try
        {
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" });
                writer.WriteStartObject();
                foreach ((string key, object? value) in values) WriteValue(writer, key, value);
                writer.WriteEndObject();
                writer.Flush();
                stream.WriteByte((byte)'\n');
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(temporary)) File.Delete(temporary);
            throw new IOException($"cannot write {path}: {cause.Message}", cause);
        }
    }

    public void RequireModel(string modelType)
    {
        if (ModelType != modelType) throw Bad("model_type", Find("model_type")!.Value, $"the model here is a {modelType}", "open the folder with CausalLanguageModel.FromPretrained, which asks the file");
    }

    public CheckpointFormatException UnknownModel()
        => Bad("model_type", Find("model_type")!.Value, $"the models here are {Gpt2Config.ModelType} and {DecoderConfig.ModelType}", "use a model of one of these kinds");

    /// <summary>Refuses keys that nobody reads: for files of our own.</summary>
    public void RequireKnown(params ReadOnlySpan<string> keys)
    {
        foreach ((string key, (JsonElement, long) found) in _values)
            if (!keys.Contains(key)) throw Bad(JsonText.Quote(key), found, "there is no such setting", "correct its name or remove it");
    }

    /// <summary>A whole number of at least 1.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="fallback">Its value when absent; null refuses that.</param>
    /// <param name="alias">Another key for the same; both may stand only when they agree.</param>
    public int Size(string key, int? fallback = null, string? alias = null)
    {
        int? own = Whole(key, 1, MaxSize), other = alias is null ? null : Whole(alias, 1, MaxSize);
        if (own is { } a && other is { } b && a != b) throw Bad(key, Find(key)!.Value, $"{alias} is {b}, and both mean the same", "keep one of them");
        return own ?? other ?? fallback ?? throw Bad($"{key} is missing", 0, "it has no default", "use the config.json that was saved with the weights");
    }

    /// <summary>A whole number within bounds, or null when absent.</summary>
    public int? Whole(string key, int minimum, int maximum)
    {
        if (Find(key) is not { } found) return null;
        if (found.Value.ValueKind != JsonValueKind.Number || !found.Value.TryGetInt64(out long value)) throw Bad(key, found, "it is not a whole number", $"write a number from {minimum} to {maximum}");
        return value >= minimum && value <= maximum ? (int)value : throw Bad(key, found, $"it is not from {minimum} to {maximum}", "correct it");
    }

    public double Number(string key, double fallback, double minimum, double maximum)
    {
        if (Find(key) is not { } found) return fallback;
        if (found.Value.ValueKind != JsonValueKind.Number) throw Bad(key, found, "it is not a number", $"write a number from {minimum:R} to {maximum:R}");
        double value = found.Value.GetDouble();
        return value >= minimum && value <= maximum ? value : throw Bad(key, found, $"it is not from {minimum:R} to {maximum:R}", "correct it");
    }

    public bool Flag(string key, bool fallback) => Find(key) is not { } found ? fallback
        : found.Value.ValueKind is JsonValueKind.True or JsonValueKind.False ? found.Value.GetBoolean() : throw Bad(key, found, "it is neither true nor false", "write true or false");

    /// <summary>One of some strings; the first when absent.</summary>
    public T Choice<T>(string key, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        if (Find(key) is not { } found) return choices[0].Value;
        string? text = found.Value.ValueKind == JsonValueKind.String ? found.Value.GetString() : null;
        var names = new List<string>();
        foreach ((string name, T value) in choices)
        {
            if (name == text) return value;
            names.Add(name);
        }
        throw Bad(key, found, "it is not supported", $"supported are {string.Join(", ", names)}");
    }

    /// <summary>Refuses a key unless it is absent, null, false or empty.</summary>
    public void RequireOff(string key, string reason)
    {
        if (Find(key) is not { } found) return;
        bool off = found.Value.ValueKind switch
        {
            JsonValueKind.False => true,
            JsonValueKind.Array => found.Value.GetArrayLength() == 0,
            JsonValueKind.Object => !found.Value.EnumerateObject().Any(),
            _ => false,
        };
        if (!off) throw Bad(key, found, reason, "use a model without it");
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
        => Bad($"{key} is {Shown(found.Value)}", found.Offset, reason, fix);

    // Escaped by quoting, so that a value can neither move the cursor nor forge a line.
    private static string Shown(JsonElement value) => value.ValueKind is JsonValueKind.Object or JsonValueKind.Array ? $"an {value.ValueKind.ToString().ToLowerInvariant()}"
        : value.ValueKind == JsonValueKind.String ? JsonText.Quote(value.GetString()!) : JsonText.Quote(value.GetRawText())[1..^1];

    private static void WriteValue(Utf8JsonWriter writer, string key, object? value)
    {
        switch (value)
        {
            case null: writer.WriteNull(key); break;
            case bool flag: writer.WriteBoolean(key, flag); break;
            case int number: writer.WriteNumber(key, number); break;
            case double number: writer.WriteNumber(key, number); break;
            case string text: writer.WriteString(key, text); break;
            case IEnumerable<string> list:
                writer.WriteStartArray(key);
                foreach (string text in list) writer.WriteStringValue(text);
                writer.WriteEndArray();
                break;
            default: throw new ArgumentException($"{key} is a {value.GetType().Name}, which no configuration holds", nameof(value));
        }
    }
}
