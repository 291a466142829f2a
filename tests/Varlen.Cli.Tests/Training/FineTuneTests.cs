using System.Text.Json;
using Varlen.Models;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>A model's folder is trained on examples, measured and trained again.</summary>
public sealed class FineTuneTests(StraightRun straight) : IClassFixture<StraightRun>
{
    private readonly Workspace _workspace = straight.Workspace;

    [Fact]
    public void ExamplesAreTrainedOnTheirCompletions()
    {
        string model = straight.CopyModel("base");
        File.WriteAllText(Path.Combine(model, "generation_config.json"), "{\"eos_token_id\":256}");
        File.WriteAllText(Path.Combine(model, "tokenizer_config.json"), "{\"model_max_length\":32,\"eos_token\":\"<|endoftext|>\"}");
        string examples = _workspace.Write("examples.jsonl", string.Concat(Enumerable.Range(0, 40).Select(i => $"{{\"prompt\":\"q{new string('x', i % 7 + (i == 3 ? 90 : 0))}\",\"completion\":\"yes {i % 2}\"}}\n"))
            + "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
        CliResult result = Cli.RunIn(_workspace.Path, "train", examples, "--model", "base", "--steps", "12", "--lr", "0.01", "--batch-tokens", "64", "--out", "tuned", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        foreach (string part in (string[])["40 prompts with completions", "1 conversations", "Chat       plain", "are trained as targets, the others only read", "1 documents are longer than the context of 32 and were cut; sequences without a trained target, 64 tokens, were left out"])
            Assert.Contains(part, result.Error, StringComparison.Ordinal);
        JsonElement tokens = result.Json().GetProperty("tokens");
        Assert.Equal(tokens.GetProperty("inputs").GetInt64(), tokens.GetProperty("trained").GetInt64() + tokens.GetProperty("ignored").GetInt64());
        Assert.InRange(tokens.GetProperty("ignored").GetInt64(), 1, tokens.GetProperty("inputs").GetInt64());
        JsonElement data = JsonDocument.Parse(File.ReadAllText(_workspace["tuned/data.json"])).RootElement;
        Assert.Equal(["completion", "messages"], data.GetProperty("records").EnumerateArray().Select(record => record.GetProperty("kind").GetString()!));
        foreach (string side in (string[])["inputs", "targets"])
        {
            JsonElement count = data.GetProperty("ledger").GetProperty(side);
            Assert.Equal(count.GetProperty("read").GetInt64(), ((string[])["trained", "held_out", "ends", "ignored", "dropped"]).Sum(key => count.GetProperty(key).GetInt64()));
            Assert.Equal(64, count.GetProperty("dropped_by_reason").GetProperty("no_trained_target").GetInt64());
        }
        // What belongs to the model goes with it.
        foreach (string file in (string[])["generation_config.json", "tokenizer_config.json", "tokenizer.json"])
            Assert.Equal(File.ReadAllBytes(Path.Combine(model, file)), File.ReadAllBytes(_workspace[$"tuned/model/{file}"]));

        JsonElement before = Evaluate(model), after = Evaluate(_workspace["tuned"]);
        // Six bytes and an end of each completion, and two of the conversation.
        Assert.Equal((40 * 6 + 2, 40 * 5 + 1), (before.GetProperty("tokens").GetInt32(), before.GetProperty("bytes").GetInt32()));
        Assert.True(after.GetProperty("loss").GetDouble() < before.GetProperty("loss").GetDouble() - 1);
        result = Cli.Run("inspect", examples, "--context", "32", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal((40, 240, 1), (result.Json().GetProperty("records")[0].GetProperty("documents").GetInt32(), result.Json().GetProperty("records")[0].GetProperty("trained_targets").GetInt32(), result.Json().GetProperty("cut").GetInt32()));

        JsonElement Evaluate(string folder)
        {
            CliResult evaluated = Cli.Run("evaluate", folder, examples, "--json");
            Assert.True(evaluated.ExitCode == 0, evaluated.Error);
            return evaluated.Json();
        }
    }

    [Fact]
    public void AnUnknownTemplateIsRefusedWithTheFix()
    {
        string model = straight.CopyModel("templated");
        File.WriteAllText(Path.Combine(model, "chat_template.jinja"), "{{ messages }}");
        string conversations = _workspace.Write("conversations.jsonl", string.Concat(Enumerable.Repeat("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n", 3)));
        Cli.RunIn(_workspace.Path, "train", conversations, "--model", model, "--out", "refused").AssertEnds(65, "the chat template is not known", "--chat-format plain");
        Cli.Run("evaluate", model, conversations).AssertEnds(65, "the chat template is not known");
        CliResult result = Cli.Run("evaluate", model, conversations, "--chat-format", "plain");
        Assert.True(result.ExitCode == 0, result.Error);
        Cli.Run("evaluate", model, conversations, "--chat-format", "chatml").AssertEnds(2, "the chat format chatml needs the special token <|im_start|>");
        Cli.Run("evaluate", model, conversations, "--chat-format", "x").AssertEnds(2, "--chat-format does not know 'x'");
        Cli.Run("evaluate", model, _workspace.Write("half.jsonl", "{\"prompt\":\"a\"}\n")).AssertEnds(65, "1 lines are no valid records", "half.jsonl:1:15", "a prompt and no completion");
    }
}
