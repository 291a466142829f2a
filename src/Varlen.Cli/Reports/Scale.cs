using System.Globalization;

namespace Varlen.Cli.Reports;

/// <summary>Maps values of one axis to pixels, and chooses round numbers for its ticks.</summary>
internal sealed class Scale
{
    private readonly double _low, _high, _from, _to;

    /// <param name="least">Smallest value shown.</param>
    /// <param name="most">Largest value shown.</param>
    /// <param name="from">Pixel of the smallest.</param>
    /// <param name="to">Pixel of the largest.</param>
    /// <param name="ticks">About how many ticks.</param>
    public Scale(double least, double most, double from, double to, int ticks)
    {
        (_from, _to) = (from, to);
        double step = Step(Math.Max(most - least, Math.Abs(most) * 1e-9 + 1e-12) / ticks);
        _low = Math.Floor(least / step + 1e-9) * step;
        _high = Math.Max(Math.Ceiling(most / step - 1e-9) * step, _low + step);
        int count = (int)Math.Round((_high - _low) / step);
        Ticks = [.. Enumerable.Range(0, count + 1).Select(i => _low + i * step)];
    }

    /// <summary>Round values to mark.</summary>
    public IReadOnlyList<double> Ticks { get; }

    /// <summary>The pixel of a value.</summary>
    public double At(double value) => _from + (value - _low) / (_high - _low) * (_to - _from);

    /// <summary>A tick's label: short, with k and M for thousands and millions.</summary>
    public static string Label(double value)
    {
        double size = Math.Abs(value);
        (double unit, string suffix) = size >= 1e9 ? (1e9, "G") : size >= 1e6 ? (1e6, "M") : size >= 1e4 ? (1e3, "k") : (1.0, "");
        string format = size is > 0 and < 1e-4 ? "0.#e-0" : unit == 1 ? "0.####" : size >= 100 * unit ? "0" : "0.##";
        return (value / unit).ToString(format, CultureInfo.InvariantCulture) + suffix;
    }

    private static double Step(double rough)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        return (rough / power) switch { <= 1 => 1, <= 2 => 2, <= 5 => 5, _ => 10 } * power;
    }
}
