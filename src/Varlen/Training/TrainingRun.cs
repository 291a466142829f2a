using System.Globalization;
using System.Text.Json;
using Varlen.Checkpoints;
using Varlen.Data;
using Varlen.Models;
using Varlen.Text;

namespace Varlen.Training;

/// <summary>How a <see cref="TrainingRun"/> ended.</summary>
/// <param name="Step">Steps taken in all.</param>
/// <param name="Finished">Whether the plan was completed, rather than stopped.</param>
/// <param name="Totals">Sums over all steps.</param>
/// <param name="Last">The last evaluation; null before the first.</param>
/// <param name="BestStep">Step of the best evaluation; 0 before the first.</param>
/// <param name="BestLoss">Its loss; null before the first.</param>
/// <param name="SkippedSteps">Steps whose update was skipped.</param>
public sealed record RunResult(int Step, bool Finished, RunTotals Totals, EvaluationResult? Last, int BestStep, double? BestLoss, int SkippedSteps);

/// <summary>
/// Training in a folder: steps, evaluations on held-out text, samples, metrics and checkpoints. A run that was stopped or killed goes on
/// from its newest checkpoint, and on a CPU ends with the same bits as one that never stopped.
/// </summary>
/// <remarks>The folder is locked by its caller (<see cref="RunLock"/>). Not thread-safe.</remarks>
public sealed class TrainingRun : IDisposable
{
    // A full disk may be emptied meanwhile; after three failures in a row it will not be.
    private const int SaveFailureLimit = 3;
    private const int SampleTokens = 200;
    // Enough for the device never to wait for the host, which reads what came of a step when the second after it is under way.
    private const int StepsAhead = 2;
    internal const string ModelFile = "model.safetensors", StateFile = "state.json";
    private const string OptimizerFile = "optimizer.safetensors";

    private readonly RunFolder _folder;
    private readonly RunConfig _config;
    private readonly TokenStore _store;
    private readonly PackedLoader _loader;
    private readonly Trainer _trainer;
    private readonly Evaluator _evaluator;
    private readonly CheckpointFolder _checkpoints;
    private readonly ITrainingObserver? _observer;
    private RunTotals _totals = new();
    private EvaluationResult? _last;
    private int _bestStep, _savedStep, _saveFailures;
    private long _sampleBytes;
    private double? _bestLoss;

    /// <summary>Opens a run whose folder holds settings, tokenizer, tokens and the model's configuration, at its newest checkpoint that is whole.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="device">Where to train; the CPU when null.</param>
    /// <param name="observer">Is told what happens.</param>
    /// <exception cref="FormatException">A file of the folder does not hold what it should.</exception>
    /// <exception cref="ArgumentException">A checkpoint belongs to other settings or data.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public TrainingRun(RunFolder folder, Device? device = null, ITrainingObserver? observer = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        (_folder, _observer) = (folder, observer);
        _config = RunConfig.Load(folder.Config);
        if (device is not null && _config.Deterministic) device.IsDeterministic = true;
        Tokenizer = Tokenizer.Load(folder.Tokenizer);
        _store = TokenStore.Open(folder.Tokens);
        Plan = SequencePlan.Create(_store, _config.Context, _config.Seed);
        _checkpoints = new CheckpointFolder(folder.Checkpoints, message => _observer?.Warned(message));
        using Checkpoint? checkpoint = _checkpoints.OpenNewest();
        RunState? state = checkpoint?.ReadJson(StateFile).Deserialize(RunJson.Default.RunState);
        Model = (_config.Pretrained is { } pretrained && checkpoint is null ? CausalLanguageModel.FromPretrained(pretrained) : CausalLanguageModel.FromConfig(folder.Model, (ulong)_config.Seed))
            .To(device ?? Device.Cpu, _config.Precision);
        _loader = new PackedLoader(_store, Plan, new LoaderOptions { BatchTokens = _config.BatchTokens, Policy = _config.Packing, Seed = _config.Seed }, _config.Training.Capture ? Device.Cpu : device, state?.Loader);
        _trainer = new Trainer(Model, _loader, _config.Training);
        _evaluator = new Evaluator(Model, Tokenizer) { Capture = _config.Training.Capture };
        if (checkpoint is null || state is null) return;
        using TensorScope scope = TensorScope.Begin();
        Model.LoadStateDict(checkpoint.ReadTensors(ModelFile));
        _trainer.Optimizer.LoadStateDict(checkpoint.ReadTensors(OptimizerFile));
        _trainer.Continue(state.Step, state.SkippedSteps, state.NotFiniteInARow);
        (_totals, _last, _bestStep, _bestLoss, _savedStep, _sampleBytes) = (state.Totals, state.Last, state.BestStep, state.BestLoss, state.Step, state.SampleBytes);
    }

    /// <summary>The settings.</summary>
    public RunConfig Config => _config;

    /// <summary>What is trained on and what is held out.</summary>
    public SequencePlan Plan { get; }

    /// <summary>The model in its present state; the run's own.</summary>
    public CausalLanguageModel Model { get; }

    /// <summary>The tokenizer.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>Steps taken.</summary>
    public int Step => _trainer.StepCount;

    /// <summary>Trains to the end of the plan, or until told to stop, and saves.</summary>
    /// <param name="stopAfter">Stops after this step of the plan, without changing the plan; null goes to its end.</param>
    /// <param name="cancellationToken">Stops after the present step.</param>
    /// <exception cref="TrainingDivergedException">The loss or gradients were not finite three times in a row; the last checkpoint is intact.</exception>
    /// <exception cref="IOException">The state could not be saved at the end or three times in a row; earlier checkpoints are intact.</exception>
    public RunResult Run(int? stopAfter = null, CancellationToken cancellationToken = default)
    {
        using var metrics = new MetricsLog(_folder.Path, Step);
        CutSamples();
        int planned = _config.Training.Steps, end = Math.Min(stopAfter ?? planned, planned);
        int ahead = Model.Device == Device.Cpu ? 0 : StepsAhead;
        while (Step < end && !cancellationToken.IsCancellationRequested)
        {
            _trainer.Begin();
            // What is evaluated or saved is the state behind this step: nothing else may be under way.
            bool settles = IsEvaluated(Step) || Step % _config.SaveEvery == 0;
            while (_trainer.Started > (settles ? 0 : ahead)) Complete(metrics, end);
        }
        while (_trainer.Started > 0) Complete(metrics, end);
        if (Step != _savedStep) Save(mayFail: false);
        return new RunResult(Step, Step >= planned, _totals, _last, _bestStep, _bestLoss, _trainer.SkippedSteps);
    }

    /// <summary>
    /// Puts the weights of the best evaluation into the model, when newer weights are worse. Training does not go on from them. Without a sound
    /// checkpoint of them there is a warning, and the model stays as it is.
    /// </summary>
    public void RestoreBest()
    {
        if (_bestStep == 0 || _bestStep == Step) return;
        try
        {
            using Checkpoint checkpoint = _checkpoints.Open(_bestStep);
            using TensorScope scope = TensorScope.Begin();
            Model.LoadStateDict(checkpoint.ReadTensors(ModelFile));
        }
        catch (CheckpointFormatException e)
        {
            _observer?.Warned($"the model of step {Step} is used in place of the best one, of step {_bestStep}: {e.Message}");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
        _loader.Dispose();
        Model.Dispose();
        _store.Dispose();
    }

    private bool IsEvaluated(int step) => step % _config.EvaluateEvery == 0 || step == _config.Training.Steps;

    private void Complete(MetricsLog metrics, int end)
    {
        TrainingStep step = _trainer.Complete();
        _totals = _totals.With(step);
        EvaluationResult? evaluation = IsEvaluated(step.Step) ? Evaluate(step.Step) : null;
        metrics.Write(step, _totals.Tokens, _totals.Seconds, evaluation);
        _observer?.Stepped(step, _totals, evaluation);
        // The best weights are always on the disk, so that what is exported at the end does not depend on where a run was stopped.
        if ((step.Step % _config.SaveEvery == 0 || step.Step == _bestStep) && step.Step != end) Save(mayFail: true);
    }

    private EvaluationResult Evaluate(int step)
    {
        _last = _evaluator.Run(_store, Plan, _config.BatchTokens);
        if (double.IsFinite(_last.Loss) && !(_last.Loss >= _bestLoss)) (_bestStep, _bestLoss) = (step, _last.Loss);
        // A model that predicts nothing finite has nothing to say; the steps that follow tell why.
        string text = double.IsFinite(_last.Loss) ? Sample() : "";
        File.AppendAllText(_folder.Samples, string.Create(CultureInfo.InvariantCulture, $"--- step {step}, validation loss {_last.Loss:F4}\n{text}\n\n"));
        _sampleBytes = new FileInfo(_folder.Samples).Length;
        _observer?.Sampled(step, text);
        return _last;
    }

    private void Save(bool mayFail)
    {
        int step = Step;
        _checkpoints.Best = _bestStep == 0 ? null : _bestStep;
        var state = new RunState
        {
            Step = step, SkippedSteps = _trainer.SkippedSteps, NotFiniteInARow = _trainer.NotFiniteInARow, Loader = _loader.Position, Totals = _totals, BestStep = _bestStep, BestLoss = _bestLoss,
            Last = _last is { } last && double.IsFinite(last.Loss) ? last : null, SampleBytes = _sampleBytes,
        };
        try
        {
            _checkpoints.Save(step, writer =>
            {
                writer.WriteTensors(ModelFile, Model.StateDict());
                writer.WriteTensors(OptimizerFile, _trainer.Optimizer.StateDict());
                writer.WriteJson(StateFile, JsonSerializer.SerializeToNode(state, RunJson.Default.RunState)!);
            });
            (_savedStep, _saveFailures) = (step, 0);
            _observer?.Saved(step);
        }
        catch (IOException e) when (mayFail && ++_saveFailures < SaveFailureLimit)
        {
            _observer?.Warned($"the state of step {step} was not saved, training goes on: {e.Message}");
        }
    }

    private void CutSamples()
    {
        if (!File.Exists(_folder.Samples)) return;
        using FileStream samples = File.OpenWrite(_folder.Samples);
        if (samples.Length > _sampleBytes) samples.SetLength(_sampleBytes);
    }

    private string Sample()
    {
        int[] prompt = [Tokenizer.EndOfText];
        return Tokenizer.Decode(new Generation.TextGenerator(Model, Tokenizer.EndOfText).Generate(prompt, new Generation.GenerationOptions { MaxTokens = SampleTokens }));
    }
}
