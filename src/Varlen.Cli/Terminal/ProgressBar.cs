namespace Varlen.Cli.Terminal;

/// <summary>One line at the bottom of the terminal that is drawn over and over.</summary>
internal sealed class ProgressBar(int redrawsPerSecond)
{
    private const int Cells = 20;

    private double _next;
    private bool _drawn;

    /// <summary>Draws the bar, unless that was just done.</summary>
    /// <param name="now">Seconds of any clock.</param>
    /// <param name="share">How much is done, 0 to 1.</param>
    /// <param name="text">What stands after the bar; cut to the terminal's width.</param>
    public void Show(double now, double share, string text)
    {
        if (now < _next) return;
        _next = now + 1.0 / redrawsPerSecond;
        int full = (int)Math.Round(Math.Clamp(share, 0, 1) * Cells), room = Math.Max(0, ErrorTerminal.Width - Cells - 2);
        Console.Error.Write($"\r\e[2m{new string('━', full)}\e[0m{new string('─', Cells - full)} {(text.Length > room ? text[..room] : text)}\e[K");
        _drawn = true;
    }

    /// <summary>Removes the bar, so that a line can be written; the next call to <see cref="Show"/> draws it again.</summary>
    public void Clear()
    {
        if (!_drawn) return;
        Console.Error.Write("\r\e[K");
        (_drawn, _next) = (false, 0);
    }
}
