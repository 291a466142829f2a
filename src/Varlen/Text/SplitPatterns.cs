namespace Varlen.Text;

/// <summary>
/// The splits that are known, by the expression that tokenizer files spell them with. Expressions are compared and never executed: one that
/// differs in a single character is another split.
/// </summary>
internal static class SplitPatterns
{
    private const string AnyCase = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)", Blank = @"\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Capitals = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", Small = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", Before = @"[^\r\n\p{L}\p{N}]?";

    private static readonly (string Expression, WordSplitter Splitter)[] Known =
    [
        // GPT-2; most files name it by ByteLevel's use_regex.
        (@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Gpt2Splitter.Plain),
        // GPT-4, Llama-3
        ($@"{AnyCase}|{Before}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{Blank}", new Gpt4Splitter(3)),
        // Qwen2, Qwen2.5, Qwen3
        ($@"{AnyCase}|{Before}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{Blank}", new Gpt4Splitter(1)),
        // Qwen3.5
        ($@"{AnyCase}|{Before}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{Blank}", new Gpt4Splitter(1, marks: true)),
        // GPT-4o, gpt-oss, Llama-4
        ($@"{Before}{Capitals}*{Small}+{AnyCase}?|{Before}{Capitals}+{Small}*{AnyCase}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{Blank}", new CaseSplitter(3, contractions: true)),
        // Mistral's Tekken
        ($@"{Before}{Capitals}*{Small}+|{Before}{Capitals}+{Small}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{Blank}", new CaseSplitter(1, contractions: false)),
    ];

    /// <summary>The split of Qwen2's tokenizers, which files without a pre-tokenizer have by their class.</summary>
    public static WordSplitter Qwen2 => Known[2].Splitter;

    /// <summary>The split of an expression; null when it is not known.</summary>
    public static WordSplitter? Find(string expression) => Array.Find(Known, known => known.Expression == expression).Splitter;

    /// <summary>The expression of a split; null for those that are not spelled as one.</summary>
    public static string? ExpressionOf(WordSplitter splitter) => Array.Find(Known, known => known.Splitter == splitter).Expression;
}
