using System.Diagnostics;
using System.Globalization;
using Varlen.Backends.Cuda;
using Varlen.Ops;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>This program as another process, whose driver and libraries are broken or whose kernels fault: both are found and lost once a process.</summary>
internal static class CudaTarget
{
    public const string Command = "cuda-target";
    private static readonly string Program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "Varlen.Tests.exe" : "Varlen.Tests");

    /// <summary>Runs it with some variables changed, and gives what it wrote.</summary>
    public static (int ExitCode, string Output, string Error) Start(string mode, params (string Name, string? Value)[] variables)
    {
        var start = new ProcessStartInfo(Program, [Command, mode]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string? value) in variables) start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    /// <summary>What the other process does.</summary>
    public static int Run(string mode)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        switch (mode)
        {
            case "why":
                Console.WriteLine($"{Device.CudaCount} devices");
                Say(() => Device.Cuda());
                Say(() => Device.Cuda(3));
                return 0;
            case "fault":
                Fault();
                return 0;
            case "kernels":
                using (Tensor x = Tensor.Ones([100], device: Device.Cuda()))
                using (Tensor y = x.To(dtype: DType.BFloat16)) Console.WriteLine(y.ToArray<float>().Sum());
                return 0;
            default:
                return 2;
        }
    }

    private static void Fault()
    {
        Device device = Device.Cuda();
        var backend = (CudaBackend)device.Backend;
        Tensor x = Tensor.Ones([4, 4], device: device), y = Tensor.Zeros([4, 4], DType.BFloat16, device);
        device.Synchronize();
        Say(() =>
        {
            // An operand in the first page, which no device has.
            backend.Multiply(new Matrix(4096, DType.Float32, 4, 4, 4), Matrix.From(x), Matrix.From(y), accumulate: false, null, 1, 1);
            x.Fill(3);
            device.Synchronize();
        });
        Say(() => x.ToArray<float>());
        Say(() => Tensor.Ones([4], device: device));
        x.Dispose();
        y.Dispose();
        Console.WriteLine($"disposed; lost: {backend.IsLost}");
    }

    private static void Say(Action action)
    {
        try
        {
            action();
            Console.WriteLine("done");
        }
        catch (Exception e)
        {
            Console.WriteLine($"{e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}");
        }
    }
}
