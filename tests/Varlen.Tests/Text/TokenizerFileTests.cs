using System.Text;
using System.Text.Json.Nodes;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Text;

public sealed class TokenizerFileTests
{
    [Fact]
    public void A_byte_tokenizer_comes_back_as_one()
    {
        using var folder = new TemporaryFolder();
        new ByteTokenizer().Save(folder["tokenizer.json"]);
        Tokenizer loaded = Tokenizer.Load(folder.Path);
        Assert.IsType<ByteTokenizer>(loaded);
        Assert.Equal(new ByteTokenizer().Fingerprint, loaded.Fingerprint);
        Assert.Equal(256, (int)JsonNode.Parse(File.ReadAllText(folder["tokenizer.json"]))!["model"]!["vocab"]!["<|endoftext|>"]!);
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void A_trained_tokenizer_comes_back_the_same()
    {
        using var folder = new TemporaryFolder();
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        BytePairTokenizer trained = BytePairTrainer.Train([Encoding.UTF8.GetBytes(TextSamples.Draw(random, 3000))], 600);
        trained.Save(folder["t.json"]);
        Tokenizer loaded = Tokenizer.Load(folder["t.json"]);
        Assert.Equal((trained.VocabularySize, trained.EndOfText, trained.Fingerprint), (loaded.VocabularySize, loaded.EndOfText, loaded.Fingerprint));
        for (int round = 0; round < 500; round++)
        {
            string text = TextSamples.Draw(random, 20);
            Assert.True(trained.Encode(text).SequenceEqual(loaded.Encode(text)), $"seed {seed}: '{text}'");
        }
    }

    // GPT-2's file with its ids for bytes, and three merges. "low" is l ow: only o+w merges. " low" is _lo w: _+l comes first, then _l+o.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Reads_the_form_of_gpt2(bool pairs)
    {
        Tokenizer tokenizer = Load(Gpt2(pairs));
        Assert.Equal(260, tokenizer.VocabularySize);
        Assert.Equal(259, tokenizer.EndOfText);
        Assert.Equal([75, 258, 257, 86, 33, 0], tokenizer.Encode("low lowB!"));
        Assert.Equal(" lo", tokenizer.Decode([257, 259]));
        Assert.Equal([220, 198, 188], tokenizer.Encode(" \n\0"));
    }

    [Fact]
    public void Settings_that_change_nothing_are_accepted()
    {
        Assert.Equal(260, Load(Changed(json => json["model"]!.AsObject().Remove("type"))).VocabularySize);
        Assert.Equal(260, Load(Changed(json => json["model"]!["unk_token"] = "<|endoftext|>")).VocabularySize);
        Assert.Equal(260, Load(Changed(json => json["post_processor"] = null)).VocabularySize);
        Assert.Equal(262, Load(Changed(json => json["added_tokens"]!.AsArray().Add(Special(261, "<pad>")))).VocabularySize);
    }

    public static TheoryData<string, Action<JsonNode>> Refusals => new()
    {
        { "normalizer is 'NFKC'", json => json["normalizer"] = new JsonObject { ["type"] = "NFKC" } },
        { "pre_tokenizer is 'Whitespace'", json => json["pre_tokenizer"]!["type"] = "Whitespace" },
        { "pre_tokenizer is missing", json => json["pre_tokenizer"] = null },
        { "pre_tokenizer.use_regex is off", json => json["pre_tokenizer"]!["use_regex"] = false },
        { "pre_tokenizer has the key 'pattern'", json => json["pre_tokenizer"]!["pattern"] = "(a+)+$" },
        { "post_processor is 'BertProcessing'", json => json["post_processor"]!["type"] = "BertProcessing" },
        { "decoder is 'Metaspace'", json => json["decoder"]!["type"] = "Metaspace" },
        { "truncation is Object", json => json["truncation"] = new JsonObject { ["max_length"] = 5 } },
        { "padding is Object", json => json["padding"] = new JsonObject() },
        { "model.type is 'WordPiece'", json => json["model"]!["type"] = "WordPiece" },
        { "model.dropout is set", json => json["model"]!["dropout"] = 0.1 },
        { "model.byte_fallback is set", json => json["model"]!["byte_fallback"] = true },
        { "model.end_of_word_suffix is set", json => json["model"]!["end_of_word_suffix"] = "</w>" },
        { "the file has the key 'chat_template'", json => json["chat_template"] = "{{ }}" },
        { "added_tokens has 2 special tokens and none is", json => { json["added_tokens"]![0]!["content"] = "a>"; json["added_tokens"]![0]!["id"] = 260; json["added_tokens"]!.AsArray().Add(Special(261, "b>")); } },
        { "added_tokens[0].id is 5", json => json["added_tokens"]![0]!["id"] = 5 },
        { "has the id 0 of '!'", json => json["model"]!["vocab"]!["low"] = 0 },
        { "is no id from 0", json => json["model"]!["vocab"]!["low"] = -1 },
        { "is no id from 0", json => json["model"]!["vocab"]!["low"] = 1 << 24 },
        { "which leaves more than 65536 ids", json => json["model"]!["vocab"]!["low"] = (1 << 24) - 1 },
        { "has no token for byte 0x41", json => json["model"]!["vocab"]!.AsObject().Remove("A") },
        { "is not spelled in the byte-level alphabet", json => json["model"]!["vocab"]!["\u4e16"] = 260 },
        { "model.merges[3] needs the token 'xyz'", json => json["model"]!["merges"]!.AsArray().Add("xyz l") },
        { "model.merges[3] needs the token 'lw'", json => json["model"]!["merges"]!.AsArray().Add("l w") },
        { "model.merges[3] merges 'o' and 'w' a second time", json => json["model"]!["merges"]!.AsArray().Add("o w") },
        { "model.merges[3] is neither", json => json["model"]!["merges"]!.AsArray().Add("low") },
        { "model.merges[3] is neither", json => json["model"]!["merges"]!.AsArray().Add(new JsonArray("a", "b", "c")) },
        { "model is missing or no Object", json => json.AsObject().Remove("model") },
    };

    [Theory]
    [MemberData(nameof(Refusals), DisableDiscoveryEnumeration = true)]
    public void What_is_not_modelled_is_refused_by_name(string message, Action<JsonNode> change)
        => Assert.Contains(message, Assert.Throws<TextFormatException>(() => Load(Changed(change))).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("{", 1)]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]", 1)]
    [InlineData("\n\n{]", 3)]
    public void Broken_json_is_placed(string json, int line) => Assert.Equal(line, Assert.Throws<TextFormatException>(() => Load(Encoding.UTF8.GetBytes(json))).Line);

    [Theory]
    [InlineData("{\"version\":\"1.0\",\"version\":\"1.0\"}")]
    [InlineData("{\"version\":\"1.0\",\"v\\u0065rsion\":\"1.0\"}")]
    [InlineData("{\"model\":{\"vocab\":{\"a\":0,\"a\":0}}}")]
    public void A_key_twice_is_refused(string json) => Assert.Contains("uplicate", Assert.Throws<TextFormatException>(() => Load(Encoding.UTF8.GetBytes(json))).Reason, StringComparison.Ordinal);

    [Fact]
    public void Other_bytes_and_missing_files_are_named()
    {
        Assert.Contains("is not UTF-8", Assert.Throws<TextFormatException>(() => Load([(byte)'"', 0xFF, (byte)'"'])).Message, StringComparison.Ordinal);
        using var folder = new TemporaryFolder();
        Assert.Throws<FileNotFoundException>(() => Tokenizer.Load(folder["none.json"]));
        Assert.Contains("is empty", Assert.Throws<TextFormatException>(() => Tokenizer.Load(folder.Write("empty.json", ""))).Message, StringComparison.Ordinal);
        Assert.Throws<IOException>(() => new ByteTokenizer().Save(folder["none/tokenizer.json"]));
    }

    [Fact]
    public void Damaged_files_give_tokenizers_or_the_one_exception()
    {
        int seed = Numeric.FreshSeed(), accepted = 0;
        var random = new Random(seed);
        // Few byte tokens would do for speed, but every one is required: the seeds differ in what surrounds them.
        byte[][] seeds = [Gpt2(true), Gpt2(false), Encoding.UTF8.GetBytes("{\"added_tokens\":[{\"id\":1,\"content\":\"\\ud83d\\ude00\",\"special\":true}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}")];
        string[] pieces = ["\\ud800", "\"", "{}", "[]", "null", "-1", "1e999", "16777215", ",", ":", "\\u0061", "\u0120", "true", "[[[[[[[[[[[[[[[[[[", "\"a a\"", "\"vocab\":{}"];
        for (int round = 0; round < 20_000; round++)
        {
            byte[] file = [.. seeds[random.Next(seeds.Length)]];
            // The interesting parts stand outside of the long list of bytes.
            int edge = random.Next(3) == 0 ? file.Length : Math.Min(file.Length, 700);
            for (int edits = random.Next(1, 4); edits > 0; edits--)
            {
                int at = random.Next(2) == 0 ? random.Next(edge) : file.Length - 1 - random.Next(Math.Min(file.Length, 120));
                if (random.Next(2) == 0) file[at] = (byte)random.Next(random.Next(4) == 0 ? 256 : 128);
                else file = [.. file[..at], .. Encoding.UTF8.GetBytes(pieces[random.Next(pieces.Length)]), .. file[(random.Next(2) == 0 ? at : at + 1)..]];
            }
            try
            {
                BytePairModel model = TokenizerReader.Parse(file, "fuzz");
                if (random.Next(20) == 0) new BytePairTokenizer(model).Encode("low lowly\u4e16");
                accepted++;
            }
            catch (TextFormatException)
            {
            }
            catch (Exception other)
            {
                Assert.Fail($"seed {seed}, round {round}: {other} for {Convert.ToBase64String(file)}");
            }
        }
        Assert.InRange(accepted, 20, 19_000);
    }

    private static JsonObject Special(int id, string content, bool special = true) => new() { ["id"] = id, ["content"] = content, ["single_word"] = false, ["special"] = special };

    private static byte[] Changed(Action<JsonNode> change)
    {
        JsonNode json = JsonNode.Parse(Gpt2(false))!;
        change(json);
        return Encoding.UTF8.GetBytes(json.ToJsonString());
    }

    private static Tokenizer Load(byte[] json)
    {
        using var folder = new TemporaryFolder();
        return Tokenizer.Load(folder.Write("tokenizer.json", json));
    }

    private static byte[] Gpt2(bool pairs)
    {
        var vocab = new JsonObject();
        // GPT-2 numbers the alphabet by its characters: first the printable bytes, then those that are shifted.
        foreach (char character in Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharacterOf((byte)value)).Order()) vocab[character.ToString()] = vocab.Count;
        foreach (string token in (string[])["\u0120l", "\u0120lo", "ow", "<|endoftext|>"]) vocab[token] = vocab.Count;
        string[][] merges = [["\u0120", "l"], ["\u0120l", "o"], ["o", "w"]];
        var json = new JsonObject
        {
            ["version"] = "1.0", ["truncation"] = null, ["padding"] = null,
            ["added_tokens"] = new JsonArray(new JsonObject { ["id"] = 259, ["special"] = true, ["content"] = "<|endoftext|>", ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false, ["normalized"] = true }),
            ["normalizer"] = null,
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true },
            ["post_processor"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = true, ["trim_offsets"] = false },
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = true, ["trim_offsets"] = true },
            ["model"] = new JsonObject
            {
                ["type"] = "BPE", ["dropout"] = null, ["unk_token"] = null, ["continuing_subword_prefix"] = "", ["end_of_word_suffix"] = "", ["fuse_unk"] = false, ["vocab"] = vocab,
                ["merges"] = new JsonArray([.. merges.Select(pair => pairs ? (JsonNode)new JsonArray(pair[0], pair[1]) : $"{pair[0]} {pair[1]}")]),
            },
        };
        return Encoding.UTF8.GetBytes(json.ToJsonString());
    }
}
