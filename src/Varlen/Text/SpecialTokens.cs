namespace Varlen.Text;

/// <summary>What an encoding does about special tokens.</summary>
[Flags]
public enum SpecialTokens
{
    /// <summary>Text is text: one that spells a special token is encoded as any other. For data, and for what users wrote.</summary>
    None = 0,

    /// <summary>Where the text spells a special token, it becomes that token. For prompts in a chat format.</summary>
    InText = 1,

    /// <summary>The tokens that the tokenizer's template puts around a text, such as Llama-3's <c>&lt;|begin_of_text|&gt;</c>, are added.</summary>
    Around = 2,

    /// <summary>Both: what HuggingFace's <c>encode</c> does by default.</summary>
    All = InText | Around,
}
