namespace Varlen.Text;

/// <summary>A message of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">What is said.</param>
public readonly record struct ChatMessage(string Role, string Content);

/// <summary>A part of a conversation as a model reads it: a text, or a special token. No token stands for text of two parts.</summary>
/// <param name="Text">The text; empty for a token. What it spells is text, never a special token.</param>
/// <param name="Token">The id of a special token; null for a text.</param>
/// <param name="Trained">Whether the model learns to write it.</param>
public readonly record struct ChatSegment(string Text, int? Token, bool Trained);

/// <summary>How a conversation becomes text and special tokens. What the assistant says and the token that ends it is trained, all else is only read.</summary>
public abstract class ChatFormat
{
    private protected ChatFormat(string name) => Name = name;

    /// <summary>The formats there are.</summary>
    public static IReadOnlyList<string> Names { get; } = ["plain", "chatml", "llama3"];

    /// <summary>One of <see cref="Names"/>.</summary>
    public string Name { get; }

    /// <summary>A format by its name.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="tokenizer">Has the format's special tokens.</param>
    /// <exception cref="ArgumentException">There is no such format, or the tokenizer lacks one of its tokens.</exception>
    public static ChatFormat Create(string name, Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return name switch
        {
            "plain" => new PlainChatFormat(tokenizer.EndOfText),
            "chatml" => new MarkedChatFormat(name, null, Token("<|im_start|>"), null, "\n", Token("<|im_end|>"), "\n", trims: false),
            "llama3" => new MarkedChatFormat(name, Token("<|begin_of_text|>"), Token("<|start_header_id|>"), Token("<|end_header_id|>"), "\n\n", Token("<|eot_id|>"), "", trims: true),
            _ => throw new ArgumentException($"there is no chat format '{name}'; it is one of {string.Join(", ", Names)}", nameof(name)),
        };

        int Token(string spelled) => tokenizer.TryGetSpecialToken(spelled, out int id) ? id
            : throw new ArgumentException($"the chat format {name} needs the special token {spelled}, which the tokenizer does not have; use the format plain, or another tokenizer");
    }

    /// <summary>The format of a model's folder: the one whose template the folder holds, or <c>plain</c> when it holds none. Templates are compared, never executed.</summary>
    /// <param name="folder">The model's folder; null for a model without one.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <exception cref="TextFormatException">The folder has a template that is not known.</exception>
    /// <exception cref="ArgumentException">The tokenizer lacks a token of the format.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static ChatFormat Of(string? folder, Tokenizer tokenizer) => Create((folder is null ? null : ChatTemplates.FormatOf(folder)) ?? "plain", tokenizer);

    /// <summary>The parts of a conversation, in order.</summary>
    /// <exception cref="ArgumentException">A message has a role that the format does not know.</exception>
    public IEnumerable<ChatSegment> Render(IReadOnlyList<ChatMessage> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        for (int i = 0; i < messages.Count; i++)
            if (messages[i].Role is not ("system" or "user" or "assistant"))
                throw new ArgumentException($"message {i + 1} has the role '{messages[i].Role}', and the chat format {Name} knows system, user and assistant", nameof(messages));
        return RenderCore(messages);
    }

    private protected abstract IEnumerable<ChatSegment> RenderCore(IReadOnlyList<ChatMessage> messages);
}

/// <summary>Names of roles on lines of their own, for models without special tokens for conversations.</summary>
internal sealed class PlainChatFormat(int endOfText) : ChatFormat("plain")
{
    private protected override IEnumerable<ChatSegment> RenderCore(IReadOnlyList<ChatMessage> messages)
    {
        string before = "";
        foreach ((string role, string content) in messages)
        {
            string heading = before + role switch { "system" => "System:\n", "user" => "User:\n", _ => "Assistant:\n" };
            before = "\n\n";
            if (role != "assistant") yield return new(heading + content, null, false);
            else
            {
                yield return new(heading, null, false);
                yield return new(content, null, true);
                yield return new("", endOfText, true);
            }
        }
    }
}

/// <summary>Special tokens around roles and messages.</summary>
internal sealed class MarkedChatFormat(string name, int? begin, int header, int? headerEnd, string gap, int endOfTurn, string behind, bool trims) : ChatFormat(name)
{
    private protected override IEnumerable<ChatSegment> RenderCore(IReadOnlyList<ChatMessage> messages)
    {
        if (begin is { } first) yield return new("", first, false);
        foreach ((string role, string said) in messages)
        {
            string content = trims ? said.Trim() : said;
            bool trained = role == "assistant";
            yield return new("", header, false);
            if (headerEnd is { } end)
            {
                yield return new(role, null, false);
                yield return new("", end, false);
            }
            string heading = headerEnd is null ? role + gap : gap;
            if (trained)
            {
                yield return new(heading, null, false);
                yield return new(content, null, true);
            }
            else yield return new(heading + content, null, false);
            yield return new("", endOfTurn, trained);
            if (behind.Length > 0) yield return new(behind, null, false);
        }
    }
}
