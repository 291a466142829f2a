using System.Globalization;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>The device that a command line asks for.</summary>
/// <param name="IsCuda">A CUDA device rather than the CPU.</param>
/// <param name="Index">Which CUDA device.</param>
internal readonly record struct DeviceChoice(bool IsCuda, int Index)
{
    /// <summary>Why there is no CUDA device.</summary>
    public const string NoCuda = "this build of Varlen has no CUDA backend";

    /// <summary>Reads cpu, cuda or cuda:n.</summary>
    /// <exception cref="CommandException">The text is none of these.</exception>
    public static DeviceChoice Parse(string text)
    {
        if (text == "cpu") return default;
        if (text == "cuda") return new(true, 0);
        if (text.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out int index)) return new(true, index);
        throw OptionParsers.Bad("--device", text, "cpu, cuda or cuda:n");
    }

    /// <summary>The device itself.</summary>
    /// <exception cref="CommandException">It is not available.</exception>
    public Device Open() => IsCuda
        ? throw new CommandException(ExitCode.DeviceUnavailable, $"device {this} is not available", why: NoCuda, fix: "use --device cpu; varlen info lists the devices")
        : Device.Cpu;

    /// <inheritdoc/>
    public override string ToString() => IsCuda ? $"cuda:{Index}" : "cpu";
}
