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
        foreach (string flag in (string[])["byte_fallback", "ignore_merges"])
            if (model.TryGetProperty(flag, out JsonElement value) && value.ValueKind != JsonValueKind.False) throw Refused($"model.{flag}", "is set, which is not supported", "use a tokenizer without it");
    }

    private void RequireByteLevel(JsonElement root, string stage)
    {
        if (IsNull(root, stage)) throw Refused(stage, "is missing", "use a byte-level tokenizer, whose pre_tokenizer and decoder are ByteLevel");
        JsonElement value = root.GetProperty(stage);
        if (value.ValueKind != JsonValueKind.Object || !value.TryGetProperty("type", out JsonElement type) || !IsText(type, "ByteLevel"))
            throw Refused(stage, $"is {Describe(value)}, which is not supported", "use a tokenizer whose stages are ByteLevel, as GPT-2's");
        RequireKeys(value, stage, "type", "add_prefix_space", "trim_offsets", "use_regex");
        if (stage != "pre_tokenizer") return;
        if (value.TryGetProperty("add_prefix_space", out JsonElement prefix) && prefix.ValueKind != JsonValueKind.False)
            throw Refused("pre_tokenizer.add_prefix_space", "is set, which is not supported", "use a tokenizer that adds no space");
        if (value.TryGetProperty("use_regex", out JsonElement regex) && regex.ValueKind != JsonValueKind.True)
            throw Refused("pre_tokenizer.use_regex", "is off, which is not supported", "use a tokenizer that splits words as GPT-2's does");
    }

    // Text never spells a special token here, so how one would be looked for in a text does not matter.
    private SortedDictionary<int, string> ReadSpecial(JsonElement root, Dictionary<string, int> ids, Dictionary<int, string> names)
    {
        var special = new SortedDictionary<int, string>();
        if (IsNull(root, "added_tokens")) return special;
        int index = 0;
        foreach (JsonElement entry in Member(root, "added_tokens", JsonValueKind.Array, "added_tokens").EnumerateArray())
        {
            string place = $"added_tokens[{index++}]";
            RequireKeys(entry, place, "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
            int id = Id(Member(entry, "id", JsonValueKind.Number, $"{place}.id"), $"{place}.id");
            string name = Text(Member(entry, "content", JsonValueKind.String, $"{place}.content"), $"{place}.content");
            if (name.Length == 0) throw Refused($"{place}.content", "is empty", "remove the entry");
            RequireToken(name);
            if (!entry.TryGetProperty("special", out JsonElement flag) || flag.ValueKind != JsonValueKind.True)
                throw Refused(place, $"{JsonText.Quote(name)} is not special: texts would be searched for it, which is not supported", "mark it as special or remove it");
            if (ids.TryGetValue(name, out int known) && known != id) throw Refused($"{place}.id", $"is {id}, and the vocabulary gives {JsonText.Quote(name)} the id {known}", "make both equal");
            if (names.TryGetValue(id, out string? other) && other != name) throw Refused($"{place}.id", $"is {id}, which {JsonText.Quote(other)} has", "give every token an id of its own");
            if (!special.TryAdd(id, name)) throw Refused(place, $"repeats the id {id}", "remove one");
            ids[name] = id;
            names[id] = name;
            if (names.Count > MostTokens) throw Refused("added_tokens", $"takes the vocabulary above {MostTokens} tokens", "use a smaller vocabulary");
        }
        return special;
    }

    private int EndOfText(SortedDictionary<int, string> special)
    {
        foreach ((int id, string name) in special)
            if (name == BytePairModel.EndOfTextName) return id;
        return special.Count == 1
            ? special.Keys.First()
            : throw Refused("added_tokens", $"has {special.Count} special tokens and none is {BytePairModel.EndOfTextName}, so which one ends a document is not known", $"add {BytePairModel.EndOfTextName} as a special token");
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
