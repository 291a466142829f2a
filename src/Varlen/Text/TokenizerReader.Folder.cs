using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Varlen.Checkpoints;

namespace Varlen.Text;

/// <content>Folders without <c>tokenizer.json</c>: <c>vocab.json</c>, <c>merges.txt</c>, and the files that name special tokens.</content>
internal sealed partial class TokenizerReader
{
    private const string Vocab = "vocab.json", MergesFile = "merges.txt", AddedFile = "added_tokens.json";

    public static bool HasVocabularyFiles(string folder) => File.Exists(Path.Combine(folder, Vocab)) && File.Exists(Path.Combine(folder, MergesFile));

    public static BytePairModel LoadFolder(string folder)
    {
        string path = Path.Combine(folder, Vocab);
        var reader = new TokenizerReader(path, TokenizerSettings.Beside(path));
        using JsonDocument document = reader.ParseText(BoundedFile.Read(path));
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw reader.Refused("the file", "is no object of tokens and ids", "copy it again");
        Vocabulary vocabulary = reader.ReadVocabulary(document.RootElement, Vocab);
        bool qwen = reader.IsQwen();
        SortedDictionary<int, AddedToken> added = reader.AddedBeside(Path.Combine(folder, AddedFile), vocabulary);
        int endOfText = reader.EndOfText(added);
        byte[][] tokens = reader.ReadTokens(vocabulary, added, qwen);
        var merges = new TokenizerReader(Path.Combine(folder, MergesFile), reader._settings);
        return new(tokens, merges.ReadMergeLines(vocabulary, added), added, endOfText)
        {
            Splitter = qwen ? SplitPatterns.Qwen2 : Gpt2Splitter.Plain, Composes = qwen,
            PrefixSpace = !reader._settings.AddsPrefixSpace ? PrefixSpace.Never : qwen ? PrefixSpace.Words : PrefixSpace.Texts,
            Prefix = reader._settings.AddsBeginOfText ? [reader.BeginOfText(added)] : [],
        };
    }

    // The files do not say how text is split: the class of the tokenizer does, or the kind of the model.
    private bool IsQwen()
    {
        (string place, string name) = _settings switch
        {
            { Class: { } type } => ($"tokenizer_class in {TokenizerSettings.FileName}", type),
            { ModelType: { } type } => ("model_type in config.json", type),
            _ => ("", "gpt2"),
        };
        return name switch
        {
            "gpt2" or "gpt_neo" or "gptj" or "GPT2Tokenizer" => false,
            "qwen2" or "qwen3" or "qwen2_moe" or "qwen3_moe" or "Qwen2Tokenizer" => true,
            _ => throw Refused(place, $"is {JsonText.Quote(name)}, and how its words are split is not known without a tokenizer.json", "save the tokenizer as tokenizer.json"),
        };
    }

    private int BeginOfText(SortedDictionary<int, AddedToken> added) => added.Values.FirstOrDefault(token => token.Content == _settings.BeginOfText && token.IsSpecial)?.Id
        ?? throw Refused("add_bos_token", "is set, and bos_token is no special token", $"name it in {TokenizerSettings.FileName}");

    private SortedDictionary<int, AddedToken> AddedBeside(string path, Vocabulary vocabulary)
    {
        var added = new SortedDictionary<int, AddedToken>();
        foreach (AddedToken token in _settings.Added)
        {
            if (token.Id is < 0 or >= 1 << 24) throw Refused($"added_tokens_decoder in {TokenizerSettings.FileName}", $"has the id {token.Id}, which is none from 0 to 16777215", "copy the file again");
            Add(added, vocabulary, $"added_tokens_decoder in {TokenizerSettings.FileName}", _settings.Special.ContainsKey(token.Content) ? token with { IsSpecial = true } : token);
        }
        if (File.Exists(path))
        {
            var reader = new TokenizerReader(path, _settings);
            using JsonDocument document = reader.ParseText(BoundedFile.Read(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw reader.Refused("the file", "is no object of tokens and ids", "copy it again");
            foreach (JsonProperty entry in document.RootElement.EnumerateObject())
            {
                string name = reader.Name(entry);
                int id = reader.Id(entry.Value, JsonText.Quote(name));
                if (added.TryGetValue(id, out AddedToken? known) && known.Content == name) continue;
                // As transformers reads this file: without flags, and normalised unless special.
                reader.Add(added, vocabulary, JsonText.Quote(name), _settings.Special.TryGetValue(name, out AddedToken? special) ? special with { Id = id } : new(id, name, IsSpecial: false, IsNormalized: true));
            }
        }
        if (_settings.Special.Count == 0 && vocabulary.Ids.TryGetValue(BytePairModel.EndOfTextName, out int end) && !added.ContainsKey(end)) Add(added, vocabulary, Vocab, new(end, BytePairModel.EndOfTextName, IsSpecial: true));
        foreach (AddedToken token in _settings.Special.Values)
        {
            if (!vocabulary.Ids.TryGetValue(token.Content, out int id)) throw Refused($"the special token {JsonText.Quote(token.Content)}", "has no id", $"add it to {AddedFile}");
            if (!added.ContainsKey(id)) Add(added, vocabulary, Vocab, token with { Id = id });
        }
        return added;
    }

    private BytePairMerge[] ReadMergeLines(Vocabulary vocabulary, SortedDictionary<int, AddedToken> added)
    {
        byte[] text = BoundedFile.Read(_path);
        if (!Utf8.IsValid(text)) throw Refused("the file", "is not UTF-8", "copy it again");
        string[] lines = Encoding.UTF8.GetString(text).Split('\n');
        var places = new List<int>();
        return MakeMerges(Pairs(), vocabulary, added, index => $"line {places[index]}");

        IEnumerable<(string Left, string Right)> Pairs()
        {
            for (int i = 0; i < lines.Length; i++)
            {
                string line = lines[i].TrimEnd('\r');
                if (line.Length == 0 || (i == 0 && line.StartsWith("#version", StringComparison.Ordinal))) continue;
                places.Add(i + 1);
                if (line.Split(' ') is not [{ Length: > 0 } left, { Length: > 0 } right])
                    throw new TextFormatException("the tokenizer cannot be used", _path, i + 1, 0, $"{JsonText.Quote(line)} is no pair of tokens with one space between", "copy the file again");
                yield return (left, right);
            }
        }
    }
}
