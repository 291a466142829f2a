using System.Text.Json;
using System.Text.Unicode;
using Microsoft.Win32.SafeHandles;
using Varlen.Checkpoints;

namespace Varlen.Text;

/// <summary>
/// Reads <c>tokenizer.json</c> with bounds: 256 MiB, depth 16, 4 Mi tokens of at most 64 KiB, ids that leave at most 64 Ki holes, no key
/// twice. What the file asks for and <see cref="BytePairTokenizer"/> does not do is refused by name.
/// </summary>
internal sealed partial class TokenizerReader
{
    private const int LargestFile = 256 << 20, MostTokens = 4 << 20, LongestToken = 64 << 10, MostHoles = 64 << 10;
    private readonly string _path;

    private TokenizerReader(string path) => _path = path;

    public static BytePairModel Load(string path)
    {
        var reader = new TokenizerReader(path);
        // Opening a pipe would wait for its writer; pipes and devices have no length.
        if (File.Exists(path) && new FileInfo(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Length == 0)
            throw reader.Refused("the file", "is empty", "copy it again");
        using SafeFileHandle handle = File.OpenHandle(path);
        long length = RandomAccess.GetLength(handle);
        if (length > LargestFile) throw reader.Refused("the file", $"has {length} bytes, and the limit is {LargestFile}", "name a tokenizer.json");
        var json = new byte[length];
        for (int done = 0, read; done < json.Length; done += read)
            if ((read = RandomAccess.Read(handle, json.AsSpan(done), done)) == 0) throw reader.Refused("the file", "became shorter while it was read", "do not write to a file that is being read");
        return reader.Parse(json);
    }

    public static BytePairModel Parse(byte[] json, string path) => new TokenizerReader(path).Parse(json);

    private BytePairModel Parse(byte[] json)
    {
        if (!Utf8.IsValid(json)) throw Refused("the file", "is not UTF-8", "save it as UTF-8");
        using JsonDocument document = ParseJson(json);
        return ReadRoot(document.RootElement);
    }

    private JsonDocument ParseJson(byte[] json)
    {
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
        foreach (string stage in (string[])["truncation", "padding", "normalizer"])
            if (!IsNull(root, stage)) throw Refused(stage, $"is {Describe(root.GetProperty(stage))}, which is not supported", $"use a tokenizer whose {stage} is null");
        RequireByteLevel(root, "pre_tokenizer");
        RequireByteLevel(root, "decoder");
        if (!IsNull(root, "post_processor")) RequireByteLevel(root, "post_processor");

        JsonElement model = Member(root, "model", JsonValueKind.Object, "model");
        RequireBytePairs(model);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        var names = new Dictionary<int, string>();
        foreach (JsonProperty token in Member(model, "vocab", JsonValueKind.Object, "model.vocab").EnumerateObject())
        {
            string name = Name(token);
            int id = Id(token.Value, $"model.vocab[{JsonText.Quote(name)}]");
            RequireToken(name);
            ids.Add(name, id);
            if (!names.TryAdd(id, name)) throw Refused($"model.vocab[{JsonText.Quote(name)}]", $"has the id {id} of {JsonText.Quote(names[id])}", "give every token an id of its own");
            if (ids.Count > MostTokens) throw Refused("model.vocab", $"has more than {MostTokens} tokens", "use a smaller vocabulary");
        }
        SortedDictionary<int, string> special = ReadSpecial(root, ids, names);
        byte[][] tokens = ReadTokens(names, special);
        return new(tokens, ReadMerges(model, ids, special), special, EndOfText(special));
    }

    private byte[][] ReadTokens(Dictionary<int, string> names, SortedDictionary<int, string> special)
    {
        if (names.Count == 0) throw Refused("model.vocab", "is empty", "copy the file again");
        int highest = names.Keys.Max();
        if (highest >= names.Count + MostHoles) throw Refused("the highest id", $"is {highest} for {names.Count} tokens, which leaves more than {MostHoles} ids without a token", "number the tokens without gaps");
        var tokens = new byte[highest + 1][];
        Array.Fill(tokens, []);
        var seen = new bool[256];
        foreach ((int id, string name) in names)
        {
            if (special.ContainsKey(id)) continue;
            if (!ByteAlphabet.TryRead(name, out byte[]? bytes) || bytes.Length == 0)
                throw Refused($"model.vocab[{JsonText.Quote(name)}]", "is not spelled in the byte-level alphabet", "use a byte-level tokenizer, or mark the token as special in added_tokens");
            tokens[id] = bytes;
            if (bytes.Length == 1) seen[bytes[0]] = true;
        }
        int missing = Array.IndexOf(seen, false);
        return missing < 0 ? tokens : throw Refused("model.vocab", $"has no token for byte 0x{missing:X2}, which would be lost", "train the tokenizer with the whole byte-level alphabet");
    }

    private BytePairMerge[] ReadMerges(JsonElement model, Dictionary<string, int> ids, SortedDictionary<int, string> special)
    {
        JsonElement list = Member(model, "merges", JsonValueKind.Array, "model.merges");
        var merges = new BytePairMerge[list.GetArrayLength()];
        var pairs = new HashSet<ulong>();
        int index = 0;
        foreach (JsonElement entry in list.EnumerateArray())
        {
            string place = $"model.merges[{index}]";
            (string left, string right) = ReadPair(entry, place);
            var merge = new BytePairMerge(IdOf(left, place), IdOf(right, place), IdOf(left + right, place));
            if (!pairs.Add(BytePairMerges.Key(merge.Left, merge.Right))) throw Refused(place, $"merges {JsonText.Quote(left)} and {JsonText.Quote(right)} a second time", "remove one");
            merges[index++] = merge;
        }
        return merges;

        int IdOf(string token, string place) => ids.TryGetValue(token, out int id) && !special.ContainsKey(id)
            ? id
            : throw Refused(place, $"needs the token {JsonText.Quote(token)}, which the vocabulary does not have", "copy vocabulary and merges from the same tokenizer");
    }

    private (string Left, string Right) ReadPair(JsonElement entry, string place)
    {
        if (entry.ValueKind == JsonValueKind.Array && entry.GetArrayLength() == 2 && entry[0].ValueKind == JsonValueKind.String && entry[1].ValueKind == JsonValueKind.String)
            return (Text(entry[0], place), Text(entry[1], place));
        if (entry.ValueKind == JsonValueKind.String && Text(entry, place).Split(' ') is [{ Length: > 0 } left, { Length: > 0 } right]) return (left, right);
        throw Refused(place, "is neither \"a b\" nor [\"a\", \"b\"]", "copy the file again");
    }
}
