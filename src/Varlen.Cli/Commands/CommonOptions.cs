using System.CommandLine;
using System.Globalization;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>Options that mean the same in every command that has them.</summary>
internal static class CommonOptions
{
    /// <summary>--json.</summary>
    public static Option<bool> Json { get; } = new("--json") { Description = "Print the result as JSON on the standard output, errors included.", Recursive = true };

    /// <summary>--verbose.</summary>
    public static Option<bool> Verbose { get; } = new("--verbose") { Description = "Show where an error came from.", Recursive = true };

    /// <summary>--threads.</summary>
    public static Option<int?> Threads() => OptionParsers.Integer("--threads", 1, 1024, "CPU threads; all available processors by default. Results do not depend on it.");

    /// <summary>--window.</summary>
    public static Option<AttentionWindow?> Window() => OptionParsers.Make<AttentionWindow?>("--window", "L,R",
        "Keys visible before and after the aligned one, -1 for all of that side; full by default.", ParseWindow);

    /// <summary>--dtype.</summary>
    public static Option<DType?> ElementType(string description) => OptionParsers.Choice("--dtype", description,
        ("float64", DType.Float64), ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));

    /// <summary>--device.</summary>
    public static Option<DeviceChoice> DeviceName() => OptionParsers.Make("--device", "auto|cpu|cuda[:n]", "Where to compute; cpu by default.", DeviceChoice.Parse);

    /// <summary>Applies --threads.</summary>
    public static void UseThreads(int? threads)
    {
        if (threads is { } count) Device.CpuThreads = count;
    }

    private static AttentionWindow? ParseWindow(string text)
    {
        string[] parts = text.Split(',');
        if (parts.Length == 2 && Bound(parts[0], out int left) && Bound(parts[1], out int right)) return new AttentionWindow(left, right);
        throw OptionParsers.Bad("--window", text, "two whole numbers L,R, negative for no bound, for example 128,0 or -1,0");
    }

    private static bool Bound(string text, out int value)
        => int.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out value);
}
