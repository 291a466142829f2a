using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Varlen.Checkpoints;

namespace Varlen.Text;

/// <summary>
/// Reads <c>tokenizer.json</c> with bounds: 256 MiB, depth 16, 4 Mi tokens of at most 64 KiB, ids that leave at most 64 Ki holes, no key
/// twice. What the file asks for and <see cref="BytePairTokenizer"/> does not do is refused by name.
/// </summary>
internal sealed partial class TokenizerReader
{
    private const int MostTokens = 4 << 20, LongestToken = 64 << 10, MostHoles = 64 << 10;
    private readonly string _path;
    private readonly TokenizerSettings _settings;

    private TokenizerReader(string path, TokenizerSettings settings) => (_path, _settings) = (path, settings);

    /// <summary>Reads a <c>tokenizer.json</c>, and what the files beside it say of special tokens.</summary>
    public static BytePairModel Load(string path)
    {
        byte[] json = BoundedFile.Read(path);
        return new TokenizerReader(path, TokenizerSettings.Beside(path)).Parse(json);
    }

    public static BytePairModel Parse(byte[] json, string path) => new TokenizerReader(path, TokenizerSettings.None).Parse(json);

    private BytePairModel Parse(byte[] json)
    {
        using JsonDocument document = ParseText(json);
        return ReadRoot(document.RootElement);
    }

    private JsonDocument ParseText(byte[] json)
    {
        if (!Utf8.IsValid(json)) throw Refused("the file", "is not UTF-8", "save it as UTF-8");
        try
        {
            return JsonDocument.Parse(json, new() { AllowDuplicateProperties = false, MaxDepth = 16 });
        }
        catch (InvalidOperationException cause)
        {
            throw Refused("a key", "holds half a surrogate pair", "correct it", cause);
        }
        catch (JsonException cause)
        {
            throw new TextFormatException("the tokenizer is no valid JSON", _path, (cause.LineNumber ?? -1) + 1, (cause.BytePositionInLine ?? -1) + 1, cause.Message, "copy the file again", cause);
        }
    }

    private BytePairModel ReadRoot(JsonElement root)
    {
        RequireKeys(root, "the file", "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model");
        foreach (string stage in (string[])["truncation", "padding"])
            if (!IsNull(root, stage)) throw Refused(stage, $"is {Describe(root.GetProperty(stage))}, which is not supported", $"use a tokenizer whose {stage} is null");
        bool composes = ReadNormalizer(root);
        (WordSplitter splitter, PrefixSpace space) = ReadPreTokenizer(root);
        RequireDecoder(root);

        JsonElement model = Member(root, "model", JsonValueKind.Object, "model");
        RequireBytePairs(model);
        Vocabulary vocabulary = ReadVocabulary(Member(model, "vocab", JsonValueKind.Object, "model.vocab"), "model.vocab");
        SortedDictionary<int, AddedToken> added = ReadAdded(root, vocabulary);
        int endOfText = EndOfText(added);
        (int[] prefix, int[] suffix) = ReadPostProcessor(root, added);
        byte[][] tokens = ReadTokens(vocabulary, added, composes);
        return new(tokens, ReadMerges(model, vocabulary, added), added, endOfText)
        {
            Splitter = splitter, PrefixSpace = space, Composes = composes, IgnoresMerges = Flag(model, "model", "ignore_merges", false), Prefix = prefix, Suffix = suffix,
        };
    }

    private Vocabulary ReadVocabulary(JsonElement vocab, string place)
    {
        var vocabulary = new Vocabulary(new(StringComparer.Ordinal), []);
        foreach (JsonProperty token in vocab.EnumerateObject())
        {
            string name = Name(token), where = $"{place}[{JsonText.Quote(name)}]";
            int id = Id(token.Value, where);
            RequireToken(name);
            vocabulary.Ids.Add(name, id);
            if (!vocabulary.Names.TryAdd(id, name)) throw Refused(where, $"has the id {id} of {JsonText.Quote(vocabulary.Names[id])}", "give every token an id of its own");
            if (vocabulary.Ids.Count > MostTokens) throw Refused(place, $"has more than {MostTokens} tokens", "use a smaller vocabulary");
        }
        return vocabulary;
    }

    private byte[][] ReadTokens(Vocabulary vocabulary, SortedDictionary<int, AddedToken> added, bool composes)
    {
        Dictionary<int, string> names = vocabulary.Names;
        if (names.Count == 0) throw Refused("model.vocab", "is empty", "copy the file again");
        int highest = names.Keys.Max();
        if (highest >= names.Count + MostHoles) throw Refused("the highest id", $"is {highest} for {names.Count} tokens, which leaves more than {MostHoles} ids without a token", "number the tokens without gaps");
        var tokens = new byte[highest + 1][];
        Array.Fill(tokens, []);
        var seen = new bool[256];
        foreach ((int id, string name) in names)
        {
            added.TryGetValue(id, out AddedToken? token);
            if (token is { IsSpecial: true }) continue;
            if (token is { IsInVocabulary: false } || !ByteAlphabet.TryRead(name, out byte[]? bytes) || bytes.Length == 0)
            {
                if (token is null) throw Refused($"model.vocab[{JsonText.Quote(name)}]", "is not spelled in the byte-level alphabet", "use a byte-level tokenizer, or list the token in added_tokens");
                tokens[id] = Encoding.UTF8.GetBytes(composes && token.IsNormalized ? Normalization.Compose(name) : name);
                continue;
            }
            tokens[id] = bytes;
            if (bytes.Length == 1) seen[bytes[0]] = true;
        }
        for (int value = 0; value < 256; value++)
            if (!seen[value] && !IsNeverInUtf8(value)) throw Refused("model.vocab", $"has no token for byte 0x{value:X2}, which would be lost", "train the tokenizer with the whole byte-level alphabet");
        return tokens;
    }

    private static bool IsNeverInUtf8(int value) => value is 0xC0 or 0xC1 or >= 0xF5;

    private BytePairMerge[] ReadMerges(JsonElement model, Vocabulary vocabulary, SortedDictionary<int, AddedToken> added)
    {
        JsonElement list = Member(model, "merges", JsonValueKind.Array, "model.merges");
        return MakeMerges(list.EnumerateArray().Select((entry, index) => ReadPair(entry, $"model.merges[{index}]")), vocabulary, added, index => $"model.merges[{index}]");
    }

    private BytePairMerge[] MakeMerges(IEnumerable<(string Left, string Right)> list, Vocabulary vocabulary, SortedDictionary<int, AddedToken> added, Func<int, string> placeOf)
    {
        var merges = new List<BytePairMerge>();
        var pairs = new HashSet<ulong>();
        foreach ((string left, string right) in list)
        {
            var merge = new BytePairMerge(IdOf(left), IdOf(right), IdOf(left + right));
            if (!pairs.Add(BytePairMerges.Key(merge.Left, merge.Right))) throw Refused(placeOf(merges.Count), $"merges {JsonText.Quote(left)} and {JsonText.Quote(right)} a second time", "remove one");
            merges.Add(merge);
        }
        return [.. merges];

        int IdOf(string token) => vocabulary.Ids.TryGetValue(token, out int id) && !(added.TryGetValue(id, out AddedToken? known) && (known.IsSpecial || !known.IsInVocabulary))
            ? id
            : throw Refused(placeOf(merges.Count), $"needs the token {JsonText.Quote(token)}, which the vocabulary does not have", "copy vocabulary and merges from the same tokenizer");
    }

    private (string Left, string Right) ReadPair(JsonElement entry, string place)
    {
        if (entry.ValueKind == JsonValueKind.Array && entry.GetArrayLength() == 2 && entry[0].ValueKind == JsonValueKind.String && entry[1].ValueKind == JsonValueKind.String)
            return (Text(entry[0], place), Text(entry[1], place));
        if (entry.ValueKind == JsonValueKind.String && Text(entry, place).Split(' ') is [{ Length: > 0 } left, { Length: > 0 } right]) return (left, right);
        throw Refused(place, "is neither \"a b\" nor [\"a\", \"b\"]", "copy the file again");
    }
}
