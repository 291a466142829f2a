using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Text;

internal sealed partial class TokenizerReader
{
    private bool ReadNormalizer(JsonElement root)
    {
        if (IsNull(root, "normalizer")) return false;
        bool composes = false;
        foreach ((JsonElement part, string place) in Parts(root, "normalizer", "normalizers"))
        {
            if (TypeOf(part) != "NFC") throw Refused(place, $"is {Describe(part)}, which is not supported", "use a tokenizer whose normalizer is null or NFC");
            RequireKeys(part, place, "type");
            composes = true;
        }
        return composes;
    }

    private (WordSplitter Splitter, PrefixSpace Space) ReadPreTokenizer(JsonElement root)
    {
        const string fix = "use a byte-level tokenizer that splits words as GPT-2, GPT-4, GPT-4o, Llama-3, Qwen, SmolLM or Mistral's Tekken";
        if (IsNull(root, "pre_tokenizer")) throw Refused("pre_tokenizer", "is missing", "use a byte-level tokenizer, whose pre_tokenizer and decoder are ByteLevel");
        (JsonElement Part, string Place)[] parts = [.. Parts(root, "pre_tokenizer", "pretokenizers")];
        WordSplitter? splitter = null;
        for (int i = 0; i < parts.Length; i++)
        {
            (JsonElement part, string place) = parts[i];
            switch (TypeOf(part))
            {
                case "Split" when splitter is null && i == parts.Length - 2:
                    splitter = ReadSplit(part, place);
                    break;
                case "Digits" when splitter is null && i == parts.Length - 2:
                    RequireKeys(part, place, "type", "individual_digits");
                    splitter = new Gpt2Splitter(Flag(part, place, "individual_digits", false) ? DigitSplit.Each : DigitSplit.Numbers);
                    break;
                case "ByteLevel" when i == parts.Length - 1:
                    RequireKeys(part, place, "type", "add_prefix_space", "trim_offsets", "use_regex");
                    bool space = Flag(part, place, "add_prefix_space", true), splits = Flag(part, place, "use_regex", true);
                    bool digits = splitter is Gpt2Splitter { Digits: not DigitSplit.None };
                    if (splits != (splitter is null || digits)) throw Refused($"{place}.use_regex", splits ? "is on behind another split, which is not supported" : "is off, and nothing else splits words", fix);
                    if (space && digits) throw Refused($"{place}.add_prefix_space", "is set behind Digits, which is not supported", fix);
                    return (splitter ?? Gpt2Splitter.Plain, !space ? PrefixSpace.Never : splitter is null ? PrefixSpace.Texts : PrefixSpace.Words);
                default:
                    throw Refused(place, $"is {Describe(part)}, which is not supported{(parts.Length > 1 ? " there" : "")}", fix);
            }
        }
        throw Refused("pre_tokenizer", "does not end with ByteLevel", fix);
    }

    private WordSplitter ReadSplit(JsonElement part, string place)
    {
        RequireKeys(part, place, "type", "pattern", "behavior", "invert");
        JsonElement pattern = Member(part, "pattern", JsonValueKind.Object, $"{place}.pattern");
        RequireKeys(pattern, $"{place}.pattern", "Regex", "String");
        if (!pattern.TryGetProperty("Regex", out JsonElement expression) || expression.ValueKind != JsonValueKind.String || SplitPatterns.Find(Text(expression, $"{place}.pattern.Regex")) is not { } splitter)
            throw Refused($"{place}.pattern", "is none of the expressions that are known; expressions in files are not executed", "use a tokenizer that splits words as GPT-2, GPT-4, GPT-4o, Llama-3, Qwen, SmolLM or Mistral's Tekken");
        if (!part.TryGetProperty("behavior", out JsonElement behavior) || !IsText(behavior, "Isolated")) throw Refused($"{place}.behavior", "is not 'Isolated', which is all that is supported", "use another tokenizer");
        if (Flag(part, place, "invert", false)) throw Refused($"{place}.invert", "is set, which is not supported", "use another tokenizer");
        return splitter;
    }

    /// <summary>The tokens that the template puts before and behind a single text.</summary>
    private (int[] Prefix, int[] Suffix) ReadPostProcessor(JsonElement root, SortedDictionary<int, AddedToken> added)
    {
        if (IsNull(root, "post_processor")) return ([], []);
        (int[] Prefix, int[] Suffix) around = ([], []);
        foreach ((JsonElement part, string place) in Parts(root, "post_processor", "processors"))
        {
            switch (TypeOf(part))
            {
                case "ByteLevel":
                    RequireKeys(part, place, "type", "add_prefix_space", "trim_offsets", "use_regex");
                    break;
                case "TemplateProcessing":
                    (int[] prefix, int[] suffix) = ReadTemplate(part, place, added);
                    around = ([.. prefix, .. around.Prefix], [.. around.Suffix, .. suffix]);
                    break;
                default:
                    throw Refused(place, $"is {Describe(part)}, which is not supported", "use a tokenizer whose post_processor is ByteLevel or TemplateProcessing");
            }
        }
        return around;
    }

    private (int[] Prefix, int[] Suffix) ReadTemplate(JsonElement part, string place, SortedDictionary<int, AddedToken> added)
    {
        RequireKeys(part, place, "type", "single", "pair", "special_tokens");
        JsonElement specials = Member(part, "special_tokens", JsonValueKind.Object, $"{place}.special_tokens");
        List<int> prefix = [], suffix = [];
        List<int> open = prefix;
        int index = 0;
        foreach (JsonElement piece in Member(part, "single", JsonValueKind.Array, $"{place}.single").EnumerateArray())
        {
            string where = $"{place}.single[{index++}]";
            RequireKeys(piece, where, "SpecialToken", "Sequence");
            if (piece.TryGetProperty("Sequence", out JsonElement sequence))
            {
                if (open == suffix || !IsText(Member(sequence, "id", JsonValueKind.String, $"{where}.Sequence.id"), "A")) throw Refused(where, "is not the one text A", "use a template that takes a text once");
                open = suffix;
                continue;
            }
            string name = Text(Member(Member(piece, "SpecialToken", JsonValueKind.Object, where), "id", JsonValueKind.String, $"{where}.SpecialToken.id"), where);
            JsonElement special = Member(specials, name, JsonValueKind.Object, $"{place}.special_tokens[{JsonText.Quote(name)}]");
            foreach (JsonElement id in Member(special, "ids", JsonValueKind.Array, $"{place}.special_tokens[{JsonText.Quote(name)}].ids").EnumerateArray())
            {
                int value = Id(id, $"{place}.special_tokens[{JsonText.Quote(name)}].ids");
                open.Add(added.TryGetValue(value, out AddedToken? token) && token.IsSpecial ? value : throw Refused(where, $"has the id {value}, which is no special token", "copy the file again"));
            }
        }
        return open == suffix ? ([.. prefix], [.. suffix]) : throw Refused($"{place}.single", "has no place for the text", "copy the file again");
    }

    private void RequireDecoder(JsonElement root)
    {
        if (IsNull(root, "decoder")) throw Refused("decoder", "is missing", "use a byte-level tokenizer, whose pre_tokenizer and decoder are ByteLevel");
        JsonElement value = root.GetProperty("decoder");
        if (TypeOf(value) != "ByteLevel") throw Refused("decoder", $"is {Describe(value)}, which is not supported", "use a tokenizer whose decoder is ByteLevel");
        RequireKeys(value, "decoder", "type", "add_prefix_space", "trim_offsets", "use_regex");
    }

    // A stage, or the stages of a sequence.
    private IEnumerable<(JsonElement Part, string Place)> Parts(JsonElement root, string stage, string list)
    {
        JsonElement value = root.GetProperty(stage);
        if (TypeOf(value) != "Sequence") return [(value, stage)];
        RequireKeys(value, stage, "type", list);
        return Member(value, list, JsonValueKind.Array, $"{stage}.{list}").EnumerateArray().Select((part, index) => (part, $"{stage}.{list}[{index}]"));
    }

    private string? TypeOf(JsonElement value) => value.ValueKind == JsonValueKind.Object && value.TryGetProperty("type", out JsonElement type) && type.ValueKind == JsonValueKind.String ? Text(type, "a type") : null;

    private bool Flag(JsonElement value, string place, string key, bool missing)
        => !value.TryGetProperty(key, out JsonElement flag) ? missing : flag.ValueKind is JsonValueKind.True or JsonValueKind.False ? flag.GetBoolean() : throw Refused($"{place}.{key}", $"is {Describe(flag)}; expected true or false", "copy the file again");
}
