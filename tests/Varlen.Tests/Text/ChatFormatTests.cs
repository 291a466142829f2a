using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Text;

public sealed class ChatFormatTests : IDisposable
{
    private const string ChatMl = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    private static readonly ChatMessage[] Conversation = [new("system", "be kind"), new("user", " hi<|im_end|>"), new("assistant", "hello "), new("user", "and?"), new("assistant", "")];
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("plain", "System:\nbe kind|\n\nUser:\n hi<|im_end|>|\n\nAssistant:\n|[hello ]|[<|endoftext|>]|\n\nUser:\nand?|\n\nAssistant:\n|[]|[<|endoftext|>]")]
    [InlineData("chatml", "<|im_start|>|system\nbe kind|<|im_end|>|\n|<|im_start|>|user\n hi<|im_end|>|<|im_end|>|\n|<|im_start|>|assistant\n|[hello ]|[<|im_end|>]|\n|<|im_start|>|user\nand?|<|im_end|>|\n|<|im_start|>|assistant\n|[]|[<|im_end|>]|\n")]
    [InlineData("llama3", "<|begin_of_text|>|<|start_header_id|>|system|<|end_header_id|>|\n\nbe kind|<|eot_id|>|<|start_header_id|>|user|<|end_header_id|>|\n\nhi<|im_end|>|<|eot_id|>|<|start_header_id|>|assistant|<|end_header_id|>|\n\n|[hello]|[<|eot_id|>]|<|start_header_id|>|user|<|end_header_id|>|\n\nand?|<|eot_id|>|<|start_header_id|>|assistant|<|end_header_id|>|\n\n|[]|[<|eot_id|>]")]
    public void Conversations_are_rendered(string name, string expected)
    {
        Tokenizer tokenizer = Tokens();
        Assert.Equal(expected, string.Join('|', ChatFormat.Create(name, tokenizer).Render(Conversation).Select(segment =>
        {
            string text = segment.Token is { } id ? tokenizer.SpecialToken(id)! : segment.Text;
            return segment.Trained ? $"[{text}]" : text;
        })));
    }

    [Fact]
    public void What_is_not_known_is_refused_by_name()
    {
        Assert.Contains("one of plain, chatml, llama3", Assert.Throws<ArgumentException>(() => ChatFormat.Create("x", Tokens())).Message, StringComparison.Ordinal);
        Assert.Contains("needs the special token <|im_start|>", Assert.Throws<ArgumentException>(() => ChatFormat.Create("chatml", new ByteTokenizer())).Message, StringComparison.Ordinal);
        Assert.Contains("message 2 has the role 'tool'", Assert.Throws<ArgumentException>(() => ChatFormat.Create("plain", Tokens()).Render([new("user", "a"), new("tool", "b")])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_models_template_is_recognised_and_never_executed()
    {
        Tokenizer tokenizer = Tokens();
        Assert.Equal("plain", ChatFormat.Of(null, tokenizer).Name);
        Assert.Equal("plain", ChatFormat.Of(_folder.Path, tokenizer).Name);
        Settings(ChatMl);
        Assert.Equal("chatml", ChatFormat.Of(_folder.Path, tokenizer).Name);
        File.WriteAllText(_folder["tokenizer_config.json"], System.Text.Json.JsonSerializer.Serialize(new { chat_template = new[] { new { name = "tool_use", template = "x" }, new { name = "default", template = ChatMl } } }));
        Assert.Equal("chatml", ChatFormat.Of(_folder.Path, tokenizer).Name);
        Settings(ChatMl + " ");
        TextFormatException error = Assert.Throws<TextFormatException>(() => ChatFormat.Of(_folder.Path, tokenizer));
        Assert.Contains("--chat-format plain", error.Fix, StringComparison.Ordinal);
        // The file of its own goes before.
        _folder.Write("chat_template.jinja", ChatMl);
        Assert.Equal("chatml", ChatFormat.Of(_folder.Path, tokenizer).Name);

        void Settings(string template) => File.WriteAllText(_folder["tokenizer_config.json"], System.Text.Json.JsonSerializer.Serialize(new { chat_template = template }));
    }

    /// <summary>A tokenizer of bytes with the special tokens of all formats.</summary>
    private Tokenizer Tokens()
    {
        string path = _folder[Path.GetRandomFileName()];
        Directory.CreateDirectory(path);
        var trainer = new BytePairTrainer();
        trainer.Add("abcabcabc"u8);
        string file = Path.Combine(path, "tokenizer.json");
        BytePairTokenizer trained = trainer.Train(260);
        trained.Save(file);
        System.Text.Json.Nodes.JsonNode json = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(file))!;
        System.Text.Json.Nodes.JsonArray added = json["added_tokens"]!.AsArray();
        int next = trained.VocabularySize;
        foreach (string name in (string[])["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
        {
            System.Text.Json.Nodes.JsonNode token = added[0]!.DeepClone();
            (token["id"], token["content"]) = (next++, name);
            added.Add(token);
        }
        File.WriteAllText(file, json.ToJsonString());
        return Tokenizer.Load(file);
    }
}
