using System.Globalization;

namespace Varlen.Cli.Terminal;

/// <summary>Text from files, made safe for a terminal: it can neither move the cursor nor turn the direction of writing.</summary>
internal static class Printable
{
    /// <summary>The text with control and format characters, other than line ends and tabs when allowed, as U+FFFD.</summary>
    public static string Text(string text, bool lines = false) => string.Concat(text.Select(c => IsHarmless(c, lines) ? c : '\uFFFD'));

    private static bool IsHarmless(char c, bool lines)
        => char.GetUnicodeCategory(c) is not (UnicodeCategory.Control or UnicodeCategory.Format) || (lines && c is '\n' or '\t');
}
