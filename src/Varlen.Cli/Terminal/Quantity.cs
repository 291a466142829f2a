using System.Globalization;

namespace Varlen.Cli.Terminal;

/// <summary>Numbers for people: three or four digits and a unit.</summary>
internal static class Quantity
{
    /// <summary>A count: 812, 8.1k, 1.06M.</summary>
    public static string Short(double value) => Scaled(value, 1000, ["", "k", "M", "G", "T", "P", "E"], "");

    /// <summary>A size in memory or on disk: 640 B, 1.1 MB.</summary>
    public static string Bytes(double value) => Scaled(value, 1000, ["B", "kB", "MB", "GB", "TB"], " ");

    /// <summary>A time in minutes and seconds, or hours and minutes: 4:02, 3h12.</summary>
    public static string Clock(double seconds)
    {
        if (!double.IsFinite(seconds)) return "?";
        var time = TimeSpan.FromSeconds(Math.Clamp(Math.Round(seconds), 0, 1e9));
        return time.TotalHours >= 1 ? $"{(long)time.TotalHours}h{time.Minutes:00}" : $"{time.Minutes}:{time.Seconds:00}";
    }

    private static string Scaled(double value, double step, ReadOnlySpan<string> units, string gap)
    {
        int unit = 0;
        while (Math.Abs(value) >= step * 0.9995 && unit < units.Length - 1) (value, unit) = (value / step, unit + 1);
        string format = unit == 0 || Math.Abs(value) >= 99.95 ? "0" : Math.Abs(value) >= 9.995 ? "0.0" : "0.00";
        return value.ToString(format, CultureInfo.InvariantCulture) + gap + units[unit];
    }
}
