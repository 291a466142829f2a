using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Text;

internal sealed partial class TokenizerReader
{
    private SortedDictionary<int, AddedToken> ReadAdded(JsonElement root, Vocabulary vocabulary)
    {
        var added = new SortedDictionary<int, AddedToken>();
        if (IsNull(root, "added_tokens")) return added;
        int index = 0;
        foreach (JsonElement entry in Member(root, "added_tokens", JsonValueKind.Array, "added_tokens").EnumerateArray())
        {
            string place = $"added_tokens[{index++}]";
            RequireKeys(entry, place, "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
            int id = Id(Member(entry, "id", JsonValueKind.Number, $"{place}.id"), $"{place}.id");
            string name = Text(Member(entry, "content", JsonValueKind.String, $"{place}.content"), $"{place}.content");
            bool special = Flag(entry, place, "special", false);
            Add(added, vocabulary, place, new(id, name, special, Flag(entry, place, "single_word", false), Flag(entry, place, "lstrip", false), Flag(entry, place, "rstrip", false), Flag(entry, place, "normalized", !special)));
        }
        return added;
    }

    private void Add(SortedDictionary<int, AddedToken> added, Vocabulary vocabulary, string place, AddedToken token)
    {
        if (token.Content.Length == 0) throw Refused($"{place}.content", "is empty", "remove the entry");
        RequireToken(token.Content);
        if (vocabulary.Ids.TryGetValue(token.Content, out int known) && known != token.Id)
            throw Refused($"{place}.id", $"is {token.Id}, and the vocabulary gives {JsonText.Quote(token.Content)} the id {known}", "make both equal");
        if (vocabulary.Names.TryGetValue(token.Id, out string? other) && other != token.Content) throw Refused($"{place}.id", $"is {token.Id}, which {JsonText.Quote(other)} has", "give every token an id of its own");
        if (!added.TryAdd(token.Id, token with { IsInVocabulary = vocabulary.Ids.ContainsKey(token.Content) })) throw Refused(place, $"repeats the id {token.Id}", "remove one");
        vocabulary.Ids[token.Content] = token.Id;
        vocabulary.Names[token.Id] = token.Content;
        if (vocabulary.Names.Count > MostTokens) throw Refused("added_tokens", $"takes the vocabulary above {MostTokens} tokens", "use a smaller vocabulary");
    }

    /// <summary>The token that ends a document: as the files beside this one say, else by its name, else the only special one.</summary>
    private int EndOfText(SortedDictionary<int, AddedToken> added)
    {
        if (_settings.EndOfText is { } name)
        {
            AddedToken token = added.Values.FirstOrDefault(token => token.Content == name)
                ?? throw Refused(_settings.EndOfTextPlace, $"is {JsonText.Quote(name)}, which is no added token", "add it to added_tokens as a special token");
            // Whatever ends a document is special, as transformers has it.
            added[token.Id] = token with { IsSpecial = true };
            return token.Id;
        }
        foreach (int id in _settings.EndIds)
            if (added.TryGetValue(id, out AddedToken? token) && token.IsSpecial) return id;
        return BytePairModel.DefaultEndOfText(added) ?? throw Refused("added_tokens",
            $"has {added.Values.Count(token => token.IsSpecial)} special tokens and none is {BytePairModel.EndOfTextName}, so which one ends a document is not known",
            $"name it as eos_token in a tokenizer_config.json in the same folder, or add {BytePairModel.EndOfTextName} as a special token");
    }

    private sealed record Vocabulary(Dictionary<string, int> Ids, Dictionary<int, string> Names);
}
