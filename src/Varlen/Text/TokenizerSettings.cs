using System.Text.Json;

namespace Varlen.Text;

/// <summary>What the files beside a tokenizer say of it: <c>tokenizer_config.json</c>, <c>special_tokens_map.json</c>, <c>config.json</c>.</summary>
/// <remarks>They hold much else, so unknown keys are none of our business here.</remarks>
internal sealed class TokenizerSettings
{
    public const string FileName = "tokenizer_config.json";
    private static readonly string[] Roles = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    public static TokenizerSettings None { get; } = new();

    /// <summary>How the token is spelled that ends a document; null when no file says.</summary>
    public string? EndOfText { get; private set; }

    /// <summary>Where that stands.</summary>
    public string EndOfTextPlace { get; private set; } = "";

    /// <summary>Ids that end a text for the model.</summary>
    public int[] EndIds { get; private set; } = [];

    /// <summary>The tokenizer's class, without its ending <c>Fast</c>.</summary>
    public string? Class { get; private set; }

    /// <summary>The kind of the model beside it.</summary>
    public string? ModelType { get; private set; }

    public bool AddsPrefixSpace { get; private set; }

    public bool AddsBeginOfText { get; private set; }

    public string? BeginOfText { get; private set; }

    /// <summary>Special tokens by how they are spelled, with the flags that a file gives them.</summary>
    public Dictionary<string, AddedToken> Special { get; } = new(StringComparer.Ordinal);

    /// <summary>Added tokens that have an id in <c>tokenizer_config.json</c>.</summary>
    public List<AddedToken> Added { get; } = [];

    /// <summary>Reads the files in the folder of a tokenizer's file.</summary>
    public static TokenizerSettings Beside(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        var settings = new TokenizerSettings();
        foreach (string name in (string[])[FileName, "special_tokens_map.json"])
            Read(Path.Combine(folder, name), root => settings.ReadTokens(root, name));
        Read(Path.Combine(folder, "config.json"), settings.ReadModel);
        return settings;
    }

    private static void Read(string path, Action<JsonElement> read)
    {
        if (!File.Exists(path)) return;
        try
        {
            using JsonDocument document = JsonDocument.Parse(BoundedFile.Read(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new JsonException("the file is no object");
            read(document.RootElement);
        }
        catch (Exception cause) when (cause is JsonException or InvalidOperationException)
        {
            throw new TextFormatException("the tokenizer's settings cannot be used", path, 0, 0, cause.Message, "copy the file again, or remove it", cause);
        }
    }

    private void ReadTokens(JsonElement root, string file)
    {
        foreach (string role in Roles)
        {
            if (!root.TryGetProperty(role, out JsonElement value) || TokenOf(value) is not { } token) continue;
            Special.TryAdd(token.Content, token);
            if (role == "eos_token" && EndOfText is null) (EndOfText, EndOfTextPlace) = (token.Content, $"eos_token in {file}");
            if (role == "bos_token") BeginOfText ??= token.Content;
        }
        foreach (string list in (string[])["additional_special_tokens", "extra_special_tokens"])
            if (root.TryGetProperty(list, out JsonElement more) && more.ValueKind == JsonValueKind.Array)
                foreach (JsonElement entry in more.EnumerateArray())
                    if (TokenOf(entry) is { } token) Special.TryAdd(token.Content, token);
        if (root.TryGetProperty("added_tokens_decoder", out JsonElement added) && added.ValueKind == JsonValueKind.Object)
            foreach (JsonProperty entry in added.EnumerateObject())
                if (int.TryParse(entry.Name, out int id) && TokenOf(entry.Value) is { } token) Added.Add(token with { Id = id, IsSpecial = Flag(entry.Value, "special") });
        if (root.TryGetProperty("tokenizer_class", out JsonElement name) && name.ValueKind == JsonValueKind.String && name.GetString() is { } type) Class = type.EndsWith("Fast", StringComparison.Ordinal) ? type[..^4] : type;
        AddsPrefixSpace |= Flag(root, "add_prefix_space");
        AddsBeginOfText |= Flag(root, "add_bos_token");
    }

    private void ReadModel(JsonElement root)
    {
        if (root.TryGetProperty("model_type", out JsonElement type) && type.ValueKind == JsonValueKind.String) ModelType = type.GetString();
        if (!root.TryGetProperty("eos_token_id", out JsonElement ids)) return;
        EndIds = [.. (ids.ValueKind == JsonValueKind.Array ? [.. ids.EnumerateArray()] : (JsonElement[])[ids]).Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int value) ? value : -1)];
    }

    // A token is a string, or an object with its flags.
    private static AddedToken? TokenOf(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 } name) return new(-1, name, IsSpecial: true);
        return value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out JsonElement content) && content.ValueKind == JsonValueKind.String && content.GetString() is { Length: > 0 } spelled
            ? new(-1, spelled, IsSpecial: true, Flag(value, "single_word"), Flag(value, "lstrip"), Flag(value, "rstrip"), Flag(value, "normalized"))
            : null;
    }

    private static bool Flag(JsonElement value, string key) => value.TryGetProperty(key, out JsonElement flag) && flag.ValueKind == JsonValueKind.True;
}
