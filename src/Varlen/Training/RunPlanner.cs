using System.Diagnostics;
using Varlen.Data;
using Varlen.Models;
using Varlen.Text;
using F = Varlen.Nn.Functional;

namespace Varlen.Training;

/// <summary>A run that is ready to start, and what its plan rests on.</summary>
/// <param name="Config">The settings, all resolved.</param>
/// <param name="Corpus">What was found in the data.</param>
/// <param name="Plan">What is trained on and what is held out.</param>
/// <param name="Packing">How well sequences fill batches.</param>
/// <param name="Parameters">Trained values of the model.</param>
/// <param name="Description">The model in a few words.</param>
/// <param name="EstimatedSeconds">About how long the plan takes on this machine.</param>
public sealed record PlannedRun(RunConfig Config, CorpusSummary Corpus, SequencePlan Plan, PackingReport Packing, long Parameters, string Description, double EstimatedSeconds);

/// <summary>Turns a request into a run's folder: settings, tokenizer, token ids and the model's configuration.</summary>
public static class RunPlanner
{
    // Text below this is learned byte by byte; above, a trained vocabulary makes sequences shorter than the corpus allows to waste.
    private const long ByteTokenizerLimit = 5_000_000;
    private const int LearnedVocabulary = 4096;
    private const int DefaultContext = 128, DefaultBatchTokens = 1024;
    // A pretrained model knows text: it is given whole examples, and little repetition, which it would learn by heart.
    private const int PretrainedContext = 1024, PretrainedEpochs = 3, PretrainedLeastSteps = 20;

    // The default plan ends within five minutes; estimates can be off by a quarter.
    private const double DefaultSeconds = 220;
    private const int LeastSteps = 200, MostSteps = 20_000, MostEpochs = 30;

    // Steps of a small model reach about this share of the speed of a matrix product that is measured before the runtime has optimised it.
    private const double Efficiency = 0.7;

    /// <summary>What a device computes in when nothing is asked for: BFloat16 beside single-precision weights on a GPU, Float32 on the CPU.</summary>
    public static DType DefaultPrecision(Device device) => device == Device.Cpu ? DType.Float32 : DType.BFloat16;

    /// <summary>Reads the data and decides what was left open.</summary>
    /// <param name="folder">An existing folder without a run.</param>
    /// <param name="request">What is asked.</param>
    /// <param name="device">Where the run will train.</param>
    /// <param name="progress">Gets the number of bytes of text that were read.</param>
    /// <param name="cancellationToken">Stops reading.</param>
    /// <exception cref="ArgumentException">Settings do not go together; the message says which.</exception>
    /// <exception cref="TextFormatException">The data is no text.</exception>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public static PlannedRun Prepare(RunFolder folder, RunRequest request, Device device, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(device);
        string? pretrained = Directory.Exists(request.Model) ? request.Model : null;
        (Tokenizer tokenizer, string tokenizerName) = ChooseTokenizer(request, pretrained, progress, cancellationToken);
        tokenizer.Save(folder.Tokenizer);
        string? chatFormat = null;
        TextCorpusOptions reading = request.Reading with { ChatFormat = () => Choose(request, pretrained, tokenizer, out chatFormat) };
        CorpusSummary corpus = TextCorpus.Tokenize(request.Data, tokenizer, folder.Tokens, reading, progress, cancellationToken);

        using CausalLanguageModel model = ChooseModel(request, pretrained, tokenizer, corpus);
        int context = request.Context ?? Math.Min(pretrained is null ? DefaultContext : PretrainedContext, model.MaxLength);
        if (context > model.MaxLength) throw new ArgumentException($"the context of {context} tokens is longer than the model's {model.MaxLength} positions; lower it or choose another model");
        int batchTokens = request.BatchTokens ?? Math.Max(DefaultBatchTokens, context);
        if (context > batchTokens) throw new ArgumentException($"the context of {context} tokens does not fit into batches of {batchTokens}; lower the context or raise the batch");
        Directory.CreateDirectory(folder.Model);
        model.SaveConfig(folder.Model);
        PretrainedFiles.Write(tokenizer, folder.Model, pretrained, request.Tokenizer == "auto");

        using TokenStore store = TokenStore.Open(folder.Tokens);
        SequencePlan plan = SequencePlan.Create(store, context, request.Seed);
        PackingReport packing = PackingReport.Create(plan, batchTokens, request.Packing);
        long parameters = model.Parameters().Sum(parameter => parameter.Master.Count);
        double stepTokens = (double)packing.Tokens / packing.Batches * request.MicroBatches;
        double secondsPerStep = 6.0 * parameters * stepTokens / (MeasureFlops(device) * Efficiency);
        double epochSteps = (double)packing.Batches / request.MicroBatches;
        int steps = request.Steps ?? (int)Math.Clamp(Math.Min(DefaultSeconds / secondsPerStep, epochSteps * (pretrained is null ? MostEpochs : PretrainedEpochs)), Math.Min(pretrained is null ? LeastSteps : PretrainedLeastSteps, DefaultSeconds / secondsPerStep + 1), MostSteps);
        double rate = request.LearningRate ?? (pretrained is null ? 2e-3 : 5e-5);
        int evaluateEvery = request.EvaluateEvery ?? Math.Max(1, (steps + 9) / 10);
        var config = new RunConfig
        {
            Data = request.Data, TextField = request.Reading.TextField, ChatFormat = chatFormat, Tokenizer = tokenizerName, Context = context, BatchTokens = batchTokens, Packing = request.Packing, Seed = request.Seed,
            Precision = request.Precision ?? DefaultPrecision(device), Deterministic = request.Deterministic, EvaluateEvery = evaluateEvery, SaveEvery = request.SaveEvery ?? evaluateEvery, Model = request.Model, Pretrained = pretrained is null ? null : Path.GetFullPath(pretrained),
            Training = new TrainerOptions
            {
                Steps = steps, MicroBatches = request.MicroBatches, LearningRate = rate, FinalLearningRate = rate / 20, WarmupSteps = request.WarmupSteps ?? Math.Min(100, Math.Max(1, steps / 20)),
                Decay = request.Decay, ClipNorm = request.ClipNorm > 0 ? request.ClipNorm : null, WeightDecay = request.WeightDecay, Optimizer = request.Optimizer, Capture = request.Capture, Seed = (ulong)request.Seed,
            },
        };
        config.Save(folder.Config);
        return new PlannedRun(config, corpus, plan, packing, parameters, $"{model.Layers} layers, width {model.Width}, {model.Heads} heads, {model.VocabularySize} ids", steps * secondsPerStep);
    }

    private static (Tokenizer Tokenizer, string Name) ChooseTokenizer(RunRequest request, string? pretrained, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        string name = request.Tokenizer;
        if (name == "auto" && pretrained is not null) return (Tokenizer.Load(pretrained), Path.Combine(pretrained, "tokenizer.json"));
        if (name == "auto") name = TextCorpus.Size(request.Data) < ByteTokenizerLimit ? "byte" : $"bpe:{LearnedVocabulary}";
        if (name == "byte") return (new ByteTokenizer(), name);
        if (!name.StartsWith("bpe:", StringComparison.Ordinal)) return (Tokenizer.Load(name), name);
        int size = int.TryParse(name.AsSpan(4), out int parsed) && parsed >= 257 ? parsed : throw new ArgumentException($"the tokenizer cannot be '{name}'; write bpe:N with N from 257, byte, auto, or the path of a tokenizer.json");
        return (TextCorpus.TrainTokenizer(request.Data, size, request.Reading with { ChatFormat = () => ChatFormat.Create("plain", new ByteTokenizer()) }, progress, cancellationToken), name);
    }

    private static ChatFormat Choose(RunRequest request, string? pretrained, Tokenizer tokenizer, out string? name)
    {
        ChatFormat format = request.ChatFormat == "auto" ? ChatFormat.Of(pretrained, tokenizer) : ChatFormat.Create(request.ChatFormat, tokenizer);
        name = format.Name;
        return format;
    }

    private static CausalLanguageModel ChooseModel(RunRequest request, string? pretrained, Tokenizer tokenizer, CorpusSummary corpus)
    {
        if (pretrained is not null)
        {
            CausalLanguageModel model = CausalLanguageModel.FromPretrained(pretrained);
            if (tokenizer.VocabularySize <= model.VocabularySize) return model;
            int known = model.VocabularySize;
            model.Dispose();
            throw new ArgumentException($"the tokenizer has {tokenizer.VocabularySize} ids and the model {pretrained} knows {known}; use the tokenizer that belongs to it");
        }
        (int vocabulary, int end, ulong seed) = (tokenizer.VocabularySize, tokenizer.EndOfText, (ulong)request.Seed);
        if (request.Model is not ("auto" or "tiny" or "small") && File.Exists(request.Model))
        {
            ModelConfigFile file = ModelConfigFile.OpenFile(request.Model);
            return file.ModelType switch
            {
                Gpt2Config.ModelType => new Gpt2Model(Gpt2Config.Read(file) with { VocabularySize = vocabulary, BeginOfText = end, EndOfText = end }, seed),
                // The padding id is another tokenizer's.
                LlamaConfig.Llama or LlamaConfig.Qwen2 or LlamaConfig.Mistral => new LlamaModel(LlamaConfig.Read(file) with { VocabularySize = vocabulary, BeginOfText = end, EndOfText = [end], Padding = null }, seed),
                _ => throw file.UnknownModel(),
            };
        }
        int context = request.Context ?? (int)Math.Clamp(corpus.Lengths.Longest, 16, DefaultContext);
        Gpt2Config config = request.Model switch
        {
            "auto" or "tiny" => Gpt2Config.Tiny with { MaxLength = context },
            "small" => Gpt2Config.Small with { MaxLength = Math.Max(context, 1024), ResidualDropout = 0, EmbeddingDropout = 0, AttentionDropout = 0 },
            _ => throw new ArgumentException($"there is no model '{request.Model}'; use auto, tiny, small, a config.json or a model's folder"),
        };
        return new Gpt2Model(config with { VocabularySize = vocabulary, BeginOfText = end, EndOfText = end }, seed);
    }

    /// <summary>Floating-point operations a second of a matrix product of a Transformer's size, measured for some hundredths of a second.</summary>
    private static double MeasureFlops(Device device)
    {
        // On the CPU it fits into the caches; on a GPU it takes little longer than its start, as the products of small models do.
        const int repeats = 12;
        const double enough = 0.2;
        int size = device == Device.Cpu ? 384 : 1024;
        DType type = DefaultPrecision(device);
        using var region = GradMode.NoGrad();
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Zeros([size, size], type, device), b = Tensor.Zeros([size, size], type, device);
        double best = double.MaxValue, spent = 0;
        for (int i = 0; i < repeats && spent < enough; i++)
        {
            long start = Stopwatch.GetTimestamp();
            F.MatMul(a, b);
            device.Synchronize();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            (best, spent) = (Math.Min(best, seconds), spent + seconds);
        }
        return 2.0 * size * size * size / best;
    }
}
