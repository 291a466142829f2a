using System.Diagnostics.CodeAnalysis;

namespace Varlen.Text;

/// <summary>A message of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">What is said.</param>
public readonly record struct ChatMessage(string Role, string Content);

/// <summary>A part of a conversation as a model reads it: a text, or a special token.</summary>
/// <param name="Text">The text; empty for a token.</param>
/// <param name="Token">The id of a special token; null for a text.</param>
/// <param name="Trained">Whether the model learns to write it.</param>
public readonly record struct ChatSegment(string Text, int? Token, bool Trained);

/// <summary>How a conversation becomes text.</summary>
/// <param name="endOfTurn">The token that ends what the assistant says.</param>
public sealed class ChatFormat(int endOfTurn)
{
    /// <summary>The parts of a conversation, in order.</summary>
    /// <exception cref="ArgumentException">A message has a role that the format does not know.</exception>
    [SuppressMessage("Performance", "CA1822", Justification = "formats differ")]
    public IEnumerable<ChatSegment> Render(IReadOnlyList<ChatMessage> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        for (int i = 0; i < messages.Count; i++)
        {
            (string role, string content) = (messages[i].Role, messages[i].Content);
            string name = role switch { "system" => "System", "user" => "User", "assistant" => "Assistant", _ => throw new ArgumentException($"message {i + 1} has the role '{role}', and the format knows system, user and assistant") };
            string before = i > 0 ? "\n\n" : "";
            if (role != "assistant") yield return new($"{before}{name}:\n{content}", null, false);
            else
            {
                yield return new($"{before}{name}:\n", null, false);
                yield return new(content, null, true);
                yield return new("", endOfTurn, true);
            }
        }
    }
}
