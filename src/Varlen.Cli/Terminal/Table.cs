namespace Varlen.Cli.Terminal;

/// <summary>A table on the standard output, one row at a time: the first column to the left, the others to the right.</summary>
internal sealed class Table
{
    private readonly int[] _widths;

    /// <summary>Prints the heading.</summary>
    public Table(params (string Heading, int Width)[] columns)
    {
        _widths = [.. columns.Select(column => Math.Max(column.Width, column.Heading.Length))];
        Row([.. columns.Select(column => column.Heading)]);
    }

    /// <summary>Prints a row.</summary>
    public void Row(params string[] cells)
        => Console.Out.WriteLine(string.Join("  ", cells.Select((cell, i) => i == 0 ? cell.PadRight(_widths[i]) : cell.PadLeft(_widths[i]))).TrimEnd());
}
