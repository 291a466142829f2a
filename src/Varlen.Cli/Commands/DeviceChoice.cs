using System.Globalization;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>The device that a command line asks for.</summary>
/// <param name="IsCuda">A CUDA device rather than the CPU.</param>
/// <param name="Index">Which CUDA device.</param>
/// <param name="IsAuto">A CUDA device if there is one, else the CPU.</param>
internal readonly record struct DeviceChoice(bool IsCuda, int Index, bool IsAuto = false)
{
    /// <summary>Why there is no CUDA device.</summary>
    public const string NoCuda = "this build of Varlen has no CUDA backend";

    /// <summary>Reads auto, cpu, cuda or cuda:n.</summary>
    /// <exception cref="CommandException">The text is none of these.</exception>
    public static DeviceChoice Parse(string text)
    {
        if (text == "cpu") return default;
        if (text == "auto") return new(false, 0, IsAuto: true);
        if (text == "cuda") return new(true, 0);
        if (text.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out int index)) return new(true, index);
        throw OptionParsers.Bad("--device", text, "auto, cpu, cuda or cuda:n");
    }

    /// <summary>The device itself. What auto decided, and why, goes to the error stream.</summary>
    /// <exception cref="CommandException">It is not available.</exception>
    public Device Open()
    {
        if (IsCuda) throw new CommandException(ExitCode.DeviceUnavailable, $"device {this} is not available", why: NoCuda, fix: "use --device cpu; varlen info lists the devices");
        if (IsAuto) Console.Error.WriteLine($"device auto is cpu: {NoCuda}");
        return Device.Cpu;
    }

    /// <inheritdoc/>
    public override string ToString() => IsCuda ? $"cuda:{Index}" : IsAuto ? "auto" : "cpu";
}
