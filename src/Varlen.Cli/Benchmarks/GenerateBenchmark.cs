using System.Diagnostics;
using Varlen.Backends.Cuda;
using Varlen.Generation;
using Varlen.Models;

namespace Varlen.Cli.Benchmarks;

/// <summary>One measured batch of prompts.</summary>
/// <param name="Prompts">How many went on together.</param>
/// <param name="PromptTokens">Their tokens.</param>
/// <param name="Tokens">Tokens that were added.</param>
/// <param name="FirstTokenMilliseconds">Until the first token of each: the prompts are read.</param>
/// <param name="Milliseconds">Of a further step, which adds a token to each prompt: median.</param>
/// <param name="LeastMilliseconds">The fastest of them.</param>
/// <param name="TokensPerSecond">All added tokens over the whole time, prompts included; of the fastest round.</param>
/// <param name="StepBytes">What a step must read: weights once, and keys and values of each prompt, on average.</param>
/// <param name="Ratio">Rate at the median step as a share of the bandwidth measured next to it.</param>
/// <param name="BestRatio">Rate at the fastest step as a share of the best bandwidth of the whole run.</param>
internal sealed record GenerateRow(
    int Prompts, int PromptTokens, int Tokens, double FirstTokenMilliseconds, double Milliseconds, double LeastMilliseconds, double TokensPerSecond, long StepBytes, double Ratio, double BestRatio);

/// <summary>All rows of a benchmark.</summary>
/// <param name="Rows">The first prompt alone, and all together if there are more.</param>
/// <param name="BytesPerSecond">Median of the bandwidths measured in between: reading on the CPU, copying on a GPU.</param>
/// <param name="WhyNotRecorded">Why a GPU's steps were not recorded; null when they were.</param>
internal sealed record GenerateResult(IReadOnlyList<GenerateRow> Rows, double BytesPerSecond, string? WhyNotRecorded);

/// <summary>Greedy generation, which is bound by reading all weights for each step, beside the bandwidth of memory.</summary>
internal static class GenerateBenchmark
{
    private const long CpuBlock = 1L << 28, GpuBlock = 1L << 30;
    private const double BandwidthSeconds = 0.1;

    /// <summary>Times the first prompt alone, then all together.</summary>
    /// <param name="model">The model, in evaluation mode.</param>
    /// <param name="lengths">Tokens of each prompt, at least 1.</param>
    /// <param name="maxTokens">Tokens to add to each.</param>
    /// <param name="rounds">How often; the first pass, uncounted, compiles and touches everything.</param>
    /// <param name="seed">Decides the prompts.</param>
    public static GenerateResult Run(CausalLanguageModel model, IReadOnlyList<int> lengths, int maxTokens, int rounds, ulong seed)
    {
        var random = new Random((int)seed);
        int[][] prompts = [.. lengths.Select(length => Enumerable.Range(0, length).Select(_ => random.Next(model.VocabularySize)).ToArray())];
        if (model.Device.Backend is CudaBackend cuda)
        {
            using var timer = new CudaTimer(cuda);
            using var copy = new CudaCopyBandwidth(cuda, timer, GpuBlock);
            return Run(model, prompts, maxTokens, rounds, copy.Measure);
        }
        using var read = new ReadBandwidth(CpuBlock);
        return Run(model, prompts, maxTokens, rounds, read.Measure);
    }

    private static GenerateResult Run(CausalLanguageModel model, int[][] prompts, int maxTokens, int rounds, Func<double, double> bandwidth)
    {
        List<Case> cases = [new Case(model, prompts[..1], maxTokens)];
        if (prompts.Length > 1) cases.Add(new Case(model, prompts, maxTokens));
        var bandwidths = new List<double>();
        for (int round = -1; round < rounds; round++)
            foreach (Case batch in cases)
            {
                double before = bandwidth(BandwidthSeconds);
                Sample sample = batch.Measure(round < 0 ? Math.Min(maxTokens, 4) : maxTokens);
                double beside = Math.Max(before, bandwidth(BandwidthSeconds));
                if (round < 0) continue;
                bandwidths.Add(beside);
                batch.Samples.Add(sample with { Bandwidth = beside });
            }
        return new([.. cases.Select(batch => batch.Row(bandwidths.Max()))], Median(bandwidths), cases[0].WhyNotRecorded);
    }

    // Of the tables only the output layer is read whole; a step looks up rows of the others.
    private static long WeightBytes(CausalLanguageModel model)
    {
        long elements = 0;
        bool table = false;
        foreach (Nn.Parameter parameter in model.Parameters())
        {
            bool isVocabulary = parameter.Shape.Rank == 2 && parameter.Shape[0] == model.VocabularySize && parameter.Shape[1] == model.Width;
            bool isPositions = parameter.Shape.Rank == 2 && parameter.Shape[0] == model.MaxLength && parameter.Shape[1] == model.Width;
            if (isPositions || (isVocabulary && table)) continue;
            table |= isVocabulary;
            elements += parameter.Shape.Count;
        }
        return elements * model.DType.Size();
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private sealed record Sample(double FirstSeconds, double[] StepSeconds, double Seconds, double Bandwidth = 0);

    private sealed class Case(CausalLanguageModel model, int[][] prompts, int maxTokens)
    {
        public List<Sample> Samples { get; } = [];

        public string? WhyNotRecorded { get; private set; }

        // Each step's tokens come one after the other, and the first of them takes the time.
        public Sample Measure(int tokens)
        {
            var options = new GenerationOptions { MaxTokens = tokens, Temperature = 0, BatchSize = prompts.Length };
            long start = Stopwatch.GetTimestamp(), last = start;
            var steps = new List<double>();
            double first = 0, step = 0;
            int drawn = 0;
            var generator = new TextGenerator(model, -1);
            foreach (GeneratedToken _ in generator.Generate(prompts.Select(ids => new GenerationPrompt(ids)), options))
            {
                long now = Stopwatch.GetTimestamp();
                step += Stopwatch.GetElapsedTime(last, now).TotalSeconds;
                last = now;
                if (++drawn % prompts.Length != 0) continue;
                if (drawn == prompts.Length) first = step;
                else steps.Add(step);
                step = 0;
            }
            WhyNotRecorded = generator.WhyNotRecorded;
            return new(first, [.. steps], Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        public GenerateRow Row(double bestBandwidth)
        {
            long cacheToken = 2L * model.Layers * model.KeyValueHeads * model.HeadDim * model.DType.Size();
            long bytes = WeightBytes(model) + (long)prompts.Sum(ids => cacheToken * (Math.Min(ids.Length, model.MaxLength) + maxTokens / 2.0));
            double[] steps = [.. Samples.SelectMany(sample => sample.StepSeconds)];
            double median = Median(steps), least = steps.DefaultIfEmpty(double.NaN).Min();
            return new(prompts.Length, prompts.Sum(ids => ids.Length), prompts.Length * maxTokens, Median(Samples.Select(sample => sample.FirstSeconds)) * 1e3, median * 1e3, least * 1e3,
                prompts.Length * maxTokens / Samples.Min(sample => sample.Seconds), bytes, Median(Samples.Select(sample => bytes / Median(sample.StepSeconds) / sample.Bandwidth)), bytes / least / bestBandwidth);
        }
    }
}
