using System.CommandLine;
using System.Globalization;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>The value of an option that takes the words on and off; a truth value would make it a flag.</summary>
internal enum Switch
{
    /// <summary>off.</summary>
    Off,
    /// <summary>on.</summary>
    On,
}

/// <summary>Options that mean the same in every command that has them.</summary>
internal static class CommonOptions
{
    /// <summary>--json.</summary>
    public static Option<bool> Json { get; } = new("--json") { Description = "Print the result as JSON on the standard output, errors included.", Recursive = true };

    /// <summary>--verbose.</summary>
    public static Option<bool> Verbose { get; } = new("--verbose") { Description = "Show where an error came from, and why a GPU does not record the steps of a text.", Recursive = true };

    /// <summary>--threads.</summary>
    public static Option<int?> Threads() => OptionParsers.Integer("--threads", 1, 1024, "CPU threads; all available processors by default. Results do not depend on it.");

    /// <summary>--window.</summary>
    public static Option<AttentionWindow?> Window() => OptionParsers.Make<AttentionWindow?>("--window", "L,R",
        "Keys visible before and after the aligned one, -1 for all of that side; full by default.", ParseWindow);

    /// <summary>--dtype.</summary>
    public static Option<DType?> ElementType(string description) => OptionParsers.Choice("--dtype", description,
        ("float64", DType.Float64), ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));

    /// <summary>--device, for commands that a user runs on the best there is.</summary>
    public static Option<DeviceChoice> BestDevice()
    {
        Option<DeviceChoice> option = OptionParsers.Make("--device", "auto|cpu|cuda[:n]", "Where to compute; auto by default: a GPU if there is one that can be used, else the CPU.", DeviceChoice.Parse);
        option.DefaultValueFactory = _ => DeviceChoice.Auto;
        return option;
    }

    /// <summary>--device, for commands whose figures are compared.</summary>
    public static Option<DeviceChoice> DeviceName() => OptionParsers.Make("--device", "auto|cpu|cuda[:n]", "Where to compute; cpu by default.", DeviceChoice.Parse);

    /// <summary>--precision; null is auto.</summary>
    public static Option<DType?> Precision() => OptionParsers.Make<DType?>("--precision", "auto|fp32|bf16|fp16", "What activations are computed in; auto is bf16 on a GPU and fp32 on the CPU.", text => text switch
    {
        "auto" => null,
        "fp32" => DType.Float32,
        "bf16" => DType.BFloat16,
        "fp16" => DType.Float16,
        _ => throw CommandException.Usage($"--precision does not know '{text}'", fix: Spelling.Nearest(text, ["auto", "fp32", "bf16", "fp16"]) is { } near ? $"did you mean {near}?" : "use one of auto|fp32|bf16|fp16"),
    });

    /// <summary>--deterministic.</summary>
    public static Option<bool> Deterministic() => new("--deterministic") { Description = "Results that depend on neither the batch nor the run; always so on the CPU, slower on a GPU." };

    /// <summary>--capture.</summary>
    /// <param name="size">How large every batch is computed.</param>
    public static Option<Switch?> Capture(string size)
        => OptionParsers.Choice("--capture", $"Whether a GPU records the step once and replays it; every batch is computed as large as {size} then. Off by default.", ("on", Switch.On), ("off", Switch.Off));

    /// <summary>Refuses double precision where there is none.</summary>
    /// <exception cref="CommandException">The device is a GPU and the type Float64.</exception>
    public static void RequireType(Device device, DType? type, string option)
    {
        if (device != Device.Cpu && type == DType.Float64) throw CommandException.Usage($"{option} float64 does not go with --device {device}", "double precision is for the CPU only", "use --device cpu, or another type");
    }

    /// <summary>Applies --threads.</summary>
    public static void UseThreads(int? threads)
    {
        if (threads is { } count) Device.CpuThreads = count;
    }

    /// <summary>Reads a window.</summary>
    /// <exception cref="CommandException">The text is none.</exception>
    public static AttentionWindow? ParseWindow(string text)
    {
        string[] parts = text.Split(',');
        if (parts.Length == 2 && Bound(parts[0], out int left) && Bound(parts[1], out int right)) return new AttentionWindow(left, right);
        throw OptionParsers.Bad("--window", text, "two whole numbers L,R, negative for no bound, for example 128,0 or -1,0");
    }

    private static bool Bound(string text, out int value)
        => int.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out value);
}
