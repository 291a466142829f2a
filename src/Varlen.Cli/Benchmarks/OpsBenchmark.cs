using System.Diagnostics;
using Varlen.Backends.Cuda;

namespace Varlen.Cli.Benchmarks;

/// <summary>One measured step.</summary>
/// <param name="Op">Which, and whether forward or backward.</param>
/// <param name="Bytes">What it must read and write at least.</param>
/// <param name="Milliseconds">Median over the rounds.</param>
/// <param name="GigabytesPerSecond">Rate at that median.</param>
/// <param name="Ratio">Median share of the copy bandwidth measured next to it.</param>
/// <param name="BestRatio">Fastest sample as a share of the best copy of the whole run.</param>
internal sealed record OpsRow(string Op, long Bytes, double Milliseconds, double GigabytesPerSecond, double Ratio, double BestRatio);

/// <summary>All rows of a benchmark.</summary>
/// <param name="Tokens">Rows of the activations.</param>
/// <param name="Features">Features of a row.</param>
/// <param name="Rows">One per step.</param>
/// <param name="CopyGigabytesPerSecond">Median of the copies measured in between.</param>
internal sealed record OpsResult(int Tokens, int Features, IReadOnlyList<OpsRow> Rows, double CopyGigabytesPerSecond)
{
    /// <summary>Of the median ratios.</summary>
    public double GeometricMeanRatio => Statistics.GeometricMean(Rows.Select(row => row.Ratio));
}

/// <summary>
/// Memory-bound steps of a Transformer. Each sample stands next to a copy of as many bytes, because bandwidth changes
/// with what else the machine does; steps that compute more than memory moves (an exact GELU, a softmax) show as lower shares.
/// </summary>
internal static class OpsBenchmark
{
    private const double SecondsPerSample = 0.02;

    /// <summary>Times every step.</summary>
    /// <param name="tokens">Rows of the activations.</param>
    /// <param name="features">Features of a row.</param>
    /// <param name="rounds">Passes over all steps.</param>
    /// <param name="device">Where to compute.</param>
    /// <param name="dtype">Type of the activations.</param>
    public static OpsResult Run(int tokens, int features, int rounds, Device device, DType dtype)
    {
        long bytes = Math.Max(4096, (long)dtype.Size() * tokens * features);
        if (device.Backend is CudaBackend cuda)
        {
            using var timer = new CudaTimer(cuda);
            using var deviceCopy = new CudaCopyBandwidth(cuda, timer, bytes);
            return Run(tokens, features, rounds, device, dtype, action => timer.Measure(action) * 1e-3, deviceCopy.Measure);
        }
        using var copy = new CopyBandwidth(bytes);
        return Run(tokens, features, rounds, device, dtype, Seconds, copy.Measure);
    }

    private static OpsResult Run(int tokens, int features, int rounds, Device device, DType dtype, Func<Action, double> clock, Func<double, double> copy)
    {
        using TensorScope scope = TensorScope.Begin();
        using var steps = new OpsCases(tokens, features, device, dtype, clock);
        Case[] cases = [.. steps.Steps.Select(step => new Case(step))];
        var copies = new List<double>();
        // The first round, uncounted, compiles and touches everything.
        for (int round = -1; round < rounds; round++)
        {
            foreach (Case step in cases)
            {
                double before = copy(SecondsPerSample / 4);
                double seconds = step.Sample();
                double bandwidth = Math.Max(before, copy(SecondsPerSample / 4));
                if (round < 0) continue;
                copies.Add(bandwidth);
                step.Count(seconds, bandwidth);
            }
        }
        return new(tokens, features, [.. cases.Select(step => step.Row(copies.Max()))], Statistics.Median(copies) * 1e-9);
    }

    private static double Seconds(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private sealed class Case(OpsCase step)
    {
        private readonly List<double> _seconds = [], _ratios = [];

        /// <summary>Seconds of one run.</summary>
        public double Sample()
        {
            int runs = 0;
            double total = 0;
            long start = Stopwatch.GetTimestamp();
            do
            {
                using TensorScope scope = TensorScope.Begin();
                total += step.Run();
                runs++;
            }
            while (Stopwatch.GetElapsedTime(start).TotalSeconds < SecondsPerSample);
            return total / runs;
        }

        public void Count(double seconds, double bandwidth)
        {
            _seconds.Add(seconds);
            _ratios.Add(step.Bytes / seconds / bandwidth);
        }

        public OpsRow Row(double bestCopy)
        {
            double seconds = Statistics.Median(_seconds);
            return new(step.Name, step.Bytes, seconds * 1e3, step.Bytes / seconds * 1e-9, Statistics.Median(_ratios), step.Bytes / _seconds.Min() / bestCopy);
        }
    }
}
