using System.Globalization;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>The device that a command line asks for.</summary>
/// <param name="IsCuda">A CUDA device rather than the CPU.</param>
/// <param name="Index">Which CUDA device.</param>
/// <param name="IsAuto">A CUDA device if there is one, else the CPU.</param>
internal readonly record struct DeviceChoice(bool IsCuda, int Index, bool IsAuto = false)
{
    /// <summary>The device decided by the machine.</summary>
    public static DeviceChoice Auto { get; } = new(false, 0, IsAuto: true);

    /// <summary>Reads auto, cpu, cuda or cuda:n.</summary>
    /// <exception cref="CommandException">The text is none of these.</exception>
    public static DeviceChoice Parse(string text)
    {
        if (text == "cpu") return default;
        if (text == "auto") return Auto;
        if (text == "cuda") return new(true, 0);
        if (text.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out int index)) return new(true, index);
        throw OptionParsers.Bad("--device", text, "auto, cpu, cuda or cuda:n");
    }

    /// <summary>The device itself. That auto became the CPU, and why, goes to the error stream.</summary>
    /// <param name="deterministic">Whether results must depend on neither the batch nor the run.</param>
    /// <exception cref="CommandException">It is not available.</exception>
    public Device Open(bool deterministic = false)
    {
        Device device = Find();
        if (device == Device.Cpu) return device;
        device.IsDeterministic = deterministic;
        KernelProgress.Show();
        return device;
    }

    /// <inheritdoc/>
    public override string ToString() => IsCuda ? $"cuda:{Index}" : IsAuto ? "auto" : "cpu";

    private Device Find()
    {
        if (!IsCuda && !IsAuto) return Device.Cpu;
        try
        {
            return Device.Cuda(Index);
        }
        catch (CudaUnavailableException e) when (IsAuto)
        {
            Console.Error.WriteLine($"device auto is cpu: {Printable.Text(e.Message)}");
            return Device.Cpu;
        }
        catch (CudaUnavailableException e)
        {
            throw new CommandException(ExitCode.DeviceUnavailable, $"device {this} is not available", why: e.Message, fix: "use --device cpu; varlen info lists the devices", cause: e);
        }
    }
}
