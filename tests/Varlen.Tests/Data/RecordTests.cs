using System.Text;
using System.Text.Json;
using Varlen.Data;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Data;

/// <summary>Records of prompts with completions, and of messages.</summary>
public sealed class RecordTests : IDisposable
{
    private static readonly ByteTokenizer Bytes = new();
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Completions_and_their_end_are_trained_and_prompts_are_not()
    {
        string file = Lines("""{"prompt":"ab","completion":"xyz"}""", """{"completion":"x","id":1,"prompt":""}""", """{"prompt":"a","completion":""}""", """{"prompt":"","completion":""}""", """{"text":"t\n"}""");
        (CorpusSummary summary, string[] documents) = Read(file);
        Assert.Equal(["ab[xyz$]", "[x$]", "a[$]", "[t\n$]"], documents);
        Assert.Equal(1, summary.EmptyDocuments);
        Assert.Equal([new(RecordKind.Text, 1, 3, 2), new(RecordKind.Completion, 3, 10, 6)], summary.Records);
    }

    /// <summary>Every token of the text across the boundary would merge.</summary>
    [Fact]
    public void The_boundary_never_merges()
    {
        BytePairTokenizer tokenizer = TextCorpus.TrainTokenizer([_folder.Write("t.txt", string.Concat(Enumerable.Repeat("abcabcabcabc ", 50)))], 270);
        Assert.Single(tokenizer.Encode("abc"));
        string file = Lines("""{"prompt":"abcab","completion":"cabc"}""");
        TextCorpus.Tokenize([file], tokenizer, _folder["s"]);
        using TokenStore store = TokenStore.Open(_folder["s"]);
        Assert.Equal([.. tokenizer.Encode("abcab"), .. tokenizer.Encode("cabc"), tokenizer.EndOfText], store.Read(0));
        Assert.NotEqual(tokenizer.Encode("abcabcabc").Length + 1, store.Read(0).Length);
        Assert.Equal(0, store.CountTrained(0, 0, tokenizer.Encode("abcab").Length));
    }

    [Theory]
    [InlineData("""{"prompt":"a"}""", 15, "the record has a prompt and no completion")]
    [InlineData("""{"completion":"a"}""", 19, "the record has a completion and no prompt")]
    [InlineData("""{"prompt":["a"],"completion":"b"}""", 11, "the field 'prompt' is no string")]
    [InlineData("""{"prompt":"a","completion":null}""", 28, "the field 'completion' is no string")]
    [InlineData("""{"prompt":"a","completion":"b","text":"c"}""", 39, "the record has 'completion' and 'text'")]
    [InlineData("""{"messages":[],"prompt":"a"}""", 25, "the record has 'messages' and 'prompt'")]
    [InlineData("""{"messages":"a"}""", 13, "the field 'messages' is no array")]
    [InlineData("""{"messages":["a"]}""", 14, "a message is an object with a role and a content")]
    [InlineData("""{"messages":[{"role":"assistant"}]}""", 34, "message 1 has no 'content'")]
    [InlineData("""{"messages":[{"role":"user","content":"a"},{"content":"a"}]}""", 59, "message 2 has no 'role'")]
    [InlineData("""{"messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}]}""", 44, "the field 'content' is no string")]
    [InlineData("""{"messages":[{"role":"assistant","role":"user","content":"a"}]}""", 40, "the key 'role' appears twice")]
    [InlineData("""{"messages":[{"role":"assistant","content":"a","weight":0}]}""", 57, "a message has 'weight', which is not supported")]
    [InlineData("""{"messages":[{"role":"user","content":"a"}]}""", 45, "no message of the assistant")]
    [InlineData("""{"messages":[]}""", 16, "no message of the assistant")]
    [InlineData("""{"messages":[{"role":"tool","content":"a"},{"role":"assistant","content":"a"}]}""", 80, "the role 'tool'")]
    [InlineData("""{"other":1}""", 12, "the record has no field 'text', nor 'prompt' and 'completion', nor 'messages'")]
    public void A_bad_record_is_placed(string line, int column, string reason)
    {
        string file = Lines("""{"prompt":"a","completion":"b"}""", line, """{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}""");
        TextFormatException error = Assert.Throws<TextFormatException>(() => Read(file));
        Assert.StartsWith($"{file}:2:{column}: ", error.Reason, StringComparison.Ordinal);
        Assert.Contains(reason, error.Reason, StringComparison.Ordinal);
        (CorpusSummary summary, string[] documents) = Read(file, BadLines.Skip);
        Assert.Equal((1, 2), ((int)summary.BadLineCount, documents.Length));
        Assert.Equal("a[b$]", documents[0]);
    }

    [Fact]
    public void Of_conversations_what_the_assistant_says_is_trained()
    {
        string file = Lines("""{"messages":[{"content":"be kind","role":"system"},{"role":"user","content":"hi","name":"x"},{"role":"assistant","content":"hello"},{"role":"user","content":"and"},{"role":"assistant","content":""}]}""");
        (CorpusSummary summary, string[] documents) = Read(file);
        Assert.Matches("""^[^\[]*be kind[^\[]*hi[^\[]*\[hello\$\][^\[]*and[^\[]*\[\$\]$""", documents[0]);
        Assert.Equal(7, Assert.Single(summary.Records).TrainedTargets);
        // A field that is named is all that is read.
        (_, documents) = Read(Lines("""{"text":"t","prompt":5,"messages":[]}"""), textField: "text");
        Assert.Equal(["[t$]"], documents);
    }

    [Fact]
    public void Without_a_format_messages_are_bad_lines()
    {
        string file = Lines("""{"messages":[{"role":"assistant","content":"b"}]}""");
        TextFormatException error = Assert.Throws<TextFormatException>(() => TextCorpus.Tokenize([file], Bytes, _folder["s"]));
        Assert.Contains("no chat format", error.Reason, StringComparison.Ordinal);
    }

    /// <summary>Parts of any length and any text, read through blocks, in both orders of the keys.</summary>
    [Fact]
    public void Parts_of_any_length_come_back()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        var examples = new List<(string Prompt, string Completion)>();
        for (int i = 0; i < 60; i++) examples.Add((Draw(random, i == 5 ? 700_000 : random.Next(200)), Draw(random, i == 9 ? 700_000 : random.Next(200))));
        string file = Lines([.. examples.Select((example, i) =>
        {
            (string prompt, string completion) = (JsonSerializer.Serialize(example.Prompt), JsonSerializer.Serialize(example.Completion));
            return i % 2 == 0 ? $"{{\"prompt\":{prompt},\"completion\":{completion}}}" : $"{{\"completion\":{completion},\"x\":[1],\"prompt\":{prompt}}}";
        })]);
        TextCorpus.Tokenize([file], Bytes, _folder["s"]);
        using TokenStore store = TokenStore.Open(_folder["s"]);
        (string Prompt, string Completion)[] there = [.. examples.Where(example => example.Prompt.Length + example.Completion.Length > 0)];
        Assert.Equal(there.Length, store.DocumentCount);
        for (int d = 0; d < there.Length; d++)
        {
            int prompt = Encoding.UTF8.GetByteCount(there[d].Prompt);
            Assert.True(store.Read(d).SequenceEqual([.. Bytes.Encode(there[d].Prompt), .. Bytes.Encode(there[d].Completion), Bytes.EndOfText]), $"seed {seed}, document {d}");
            Assert.Equal((0, store.Length(d) - prompt), (store.CountTrained(d, 0, prompt), store.CountTrained(d, 0, store.Length(d))));
        }

        static string Draw(Random random, int length) => string.Concat(Enumerable.Range(0, length).Select(_ => random.Next(4) switch { 0 => "\"", 1 => "\u4e16", 2 => "\n", _ => "a" }));
    }

    [Fact]
    public void An_example_above_the_bound_is_a_bad_line()
    {
        string path = _folder["big.jsonl"];
        using (var writer = new StreamWriter(path))
        {
            writer.Write("{\"prompt\":\"");
            string block = new('a', 1 << 20);
            for (int i = 0; i < 64; i++) writer.Write(block);
            writer.Write("b\",\"completion\":\"c\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}\n");
        }
        (CorpusSummary summary, string[] documents) = Read(path, BadLines.Skip);
        Assert.Equal(["a[b$]"], documents);
        Assert.EndsWith("the example has more than 64 MiB", Assert.Single(summary.BadLines).ToString(), StringComparison.Ordinal);
    }

    private string Lines(params string[] lines) => _folder.Write("a.jsonl", string.Join('\n', lines));

    /// <summary>Documents with brackets around what is trained, and $ for the end of text.</summary>
    private (CorpusSummary Summary, string[] Documents) Read(string file, BadLines bad = BadLines.Stop, string? textField = null)
    {
        CorpusSummary summary = TextCorpus.Tokenize([file], Bytes, _folder["s"], new() { BadLines = bad, TextField = textField, ChatFormat = () => Varlen.Text.ChatFormat.Create("plain", Bytes) });
        using var store = TokenStore.Open(_folder["s"]);
        return (summary, [.. Enumerable.Range(0, store.DocumentCount).Select(Show)]);

        string Show(int document)
        {
            int[] ids = store.Read(document);
            var text = new StringBuilder();
            bool trained = false;
            for (int i = 0; i <= ids.Length; i++)
            {
                bool now = i < ids.Length && store.CountTrained(document, i, 1) == 1;
                if (now != trained) text.Append(now ? '[' : ']');
                trained = now;
                if (i < ids.Length) text.Append(ids[i] == Bytes.EndOfText ? '$' : (char)ids[i]);
            }
            return text.ToString();
        }
    }
}
