using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Text;

internal sealed partial class TokenizerReader
{
    // Keys that change nothing here: offsets are not kept, and with a token for every byte nothing is unknown.
    private static readonly string[] ModelKeys = ["type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"];

    private void RequireBytePairs(JsonElement model)
    {
        RequireKeys(model, "model", ModelKeys);
        if (model.TryGetProperty("type", out JsonElement type) && !IsText(type, "BPE")) throw Refused("model.type", $"is {Describe(type)}, which is not supported", "use a tokenizer of type BPE");
        if (!IsNull(model, "dropout") && !(model.GetProperty("dropout") is { ValueKind: JsonValueKind.Number } dropout && dropout.GetDouble() == 0))
            throw Refused("model.dropout", "is set, which is not supported", "set it to null");
        foreach (string affix in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
            if (!IsNull(model, affix) && !IsText(model.GetProperty(affix), "")) throw Refused($"model.{affix}", "is set, which is not supported", "use a byte-level tokenizer");
        if (Flag(model, "model", "byte_fallback", false)) throw Refused("model.byte_fallback", "is set, which is not supported", "use a byte-level tokenizer");
    }

    private void RequireKeys(JsonElement value, string place, params ReadOnlySpan<string> known)
    {
        if (value.ValueKind != JsonValueKind.Object) throw Refused(place, $"is {Describe(value)}; expected an object", "copy the file again");
        foreach (JsonProperty property in value.EnumerateObject())
            if (!known.Contains(Name(property))) throw Refused(place, $"has the key {JsonText.Quote(Name(property))}, which is not known", "remove it if it changes nothing");
    }

    private JsonElement Member(JsonElement value, string key, JsonValueKind kind, string place)
        => value.TryGetProperty(key, out JsonElement member) && member.ValueKind == kind ? member : throw Refused(place, $"is missing or no {kind}", "copy the file again");

    private int Id(JsonElement value, string place) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) && id is >= 0 and < 1 << 24
        ? id
        : throw Refused(place, "is no id from 0 to 16777215", "copy the file again");

    private void RequireToken(string name)
    {
        if (name.Length > LongestToken) throw Refused($"the token {JsonText.Quote(name)}", $"has {name.Length} characters, and the limit is {LongestToken}", "remove it");
    }

    private string Name(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException cause)
        {
            throw Refused("a key", "holds half a surrogate pair", "correct it", cause);
        }
    }

    private string Text(JsonElement value, string place)
    {
        try
        {
            return value.GetString() ?? "";
        }
        catch (InvalidOperationException cause)
        {
            throw Refused(place, "holds half a surrogate pair", "correct it", cause);
        }
    }

    private bool IsText(JsonElement value, string text) => value.ValueKind == JsonValueKind.String && Text(value, "a value") == text;

    private static bool IsNull(JsonElement value, string key) => !value.TryGetProperty(key, out JsonElement member) || member.ValueKind == JsonValueKind.Null;

    private string Describe(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object when value.TryGetProperty("type", out JsonElement type) && type.ValueKind == JsonValueKind.String => JsonText.Quote(Text(type, "a type")),
        JsonValueKind.String => JsonText.Quote(Text(value, "a value")),
        _ => value.ValueKind.ToString(),
    };

    private TextFormatException Refused(string place, string problem, string fix, Exception? inner = null)
        => new("the tokenizer cannot be used", _path, 0, 0, $"{place} {problem}", fix, inner);
}
