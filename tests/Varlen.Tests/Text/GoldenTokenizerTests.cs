using System.Text.Json.Nodes;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Text;

/// <summary>
/// Ids and texts against HuggingFace's tokenizers, on strings that are hard to split; tests/golden/byte_pair_tokenizers.py says how they were made.
/// VARLEN_GOLDEN_TOKENIZERS names another file of it.
/// </summary>
public sealed class GoldenTokenizerTests
{
    private static readonly Lazy<JsonNode> Golden = new(() => JsonNode.Parse(File.ReadAllText(
        Environment.GetEnvironmentVariable("VARLEN_GOLDEN_TOKENIZERS") ?? Path.Combine(AppContext.BaseDirectory, "golden", "tokenizers.json")))!);

    public static TheoryData<string> Names => new(Golden.Value["tokenizers"]!.AsArray().Select(tokenizer => (string)tokenizer!["name"]!));

    [Theory]
    [MemberData(nameof(Names))]
    public void IdsAndTextsAreThose(string name)
    {
        JsonNode golden = Golden.Value["tokenizers"]!.AsArray().Single(tokenizer => (string)tokenizer!["name"]! == name)!;
        using var folder = new TemporaryFolder();
        Tokenizer tokenizer = Tokenizer.Load(folder.Write("tokenizer.json", FileOf(golden)));
        // What we write ourselves must read the same.
        tokenizer.Save(folder["saved.json"]);
        foreach (Tokenizer each in (Tokenizer[])[tokenizer, Tokenizer.Load(folder["saved.json"])])
        {
            foreach (JsonNode? one in golden["cases"]!.AsArray())
            {
                string text = (string)one!["text"]!;
                Same(one["plain"]!, each.Encode(text), text);
                Same(one["special"]!, each.Encode(text, SpecialTokens.InText), text);
                Same(one["framed"]!, each.Encode(text, SpecialTokens.All), text);
                Assert.Equal((string)one["decoded"]!, each.Decode(each.Encode(text)));
            }
        }
    }

    private static void Same(JsonNode expected, int[] actual, string text)
        => Assert.True(expected.AsArray().Select(id => (int)id!).SequenceEqual(actual), $"{JsonValue.Create(text).ToJsonString()}: {expected.ToJsonString()} is [{string.Join(',', actual)}]");

    private static string FileOf(JsonNode golden)
    {
        JsonObject file = golden["stages"]!.DeepClone().AsObject();
        file["model"] = new JsonObject
        {
            ["type"] = "BPE", ["dropout"] = null, ["unk_token"] = null, ["continuing_subword_prefix"] = null, ["end_of_word_suffix"] = null, ["fuse_unk"] = false, ["byte_fallback"] = false,
            ["ignore_merges"] = (bool)golden["ignore_merges"]!, ["vocab"] = Golden.Value["vocab"]!.DeepClone(), ["merges"] = Golden.Value["merges"]!.DeepClone(),
        };
        return file.ToJsonString();
    }
}
