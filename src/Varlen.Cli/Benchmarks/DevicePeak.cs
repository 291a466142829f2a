using Varlen.Backends.Cpu;
using Varlen.Backends.Cuda;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// The limit that arithmetic is measured against: on the CPU a loop of fused multiply-adds on registers, on a GPU what cuBLASLt reaches on a
/// large square matrix product in the same type.
/// </summary>
internal static class DevicePeak
{
    private const int LaunchesPerSample = 10, WarmUpSamples = 2, Samples = 5;

    /// <summary>Name of the limit, for a report.</summary>
    public static string Name(Device device) => device == Device.Cpu ? "loop of fused multiply-adds on registers" : "large square matrix product of cuBLASLt";

    /// <summary>GFLOP/s at this moment, of all threads or the whole device.</summary>
    public static double Measure(Device device, DType dtype) => device.Backend is CudaBackend cuda
        ? MatrixProduct(cuda, dtype)
        // A vector holds half as many doubles.
        : PeakFma.Measure(CpuBackend.Instance.Team, Device.CpuThreads) * (dtype == DType.Float64 ? 0.5 : 1);

    private static double MatrixProduct(CudaBackend backend, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        using var timer = new CudaTimer(backend);
        // Large enough to fill every multiprocessor many times.
        int size = 64 * backend.MultiprocessorCount;
        Tensor a = Tensor.Randn([size, size], 1, dtype, backend.Device), b = Tensor.Randn([size, size], 2, dtype, backend.Device);
        double milliseconds = Statistics.Median(Time(timer, Samples, () =>
        {
            using TensorScope each = TensorScope.Begin();
            F.MatMul(a, b);
        }));
        return 2.0 * size * size * size / milliseconds * 1e-6;
    }

    /// <summary>Milliseconds of one launch on the device, by events around several.</summary>
    public static List<double> Time(CudaTimer timer, int rounds, Action launch)
    {
        var samples = new List<double>();
        for (int round = -WarmUpSamples; round < rounds; round++)
        {
            double milliseconds = timer.Measure(() =>
            {
                for (int i = 0; i < LaunchesPerSample; i++) launch();
            });
            if (round >= 0) samples.Add(milliseconds / LaunchesPerSample);
        }
        return samples;
    }
}
