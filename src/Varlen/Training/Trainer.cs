using System.Diagnostics;
using Varlen.Backends;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>Trains a language model on packed batches, one optimiser step at a time.</summary>
/// <remarks>
/// The result depends on the model, the loader's plan and the options only, not on the number of threads. Not thread-safe. Owns its optimiser;
/// model and loader stay their owners'.
/// </remarks>
public sealed class Trainer : IDisposable
{
    // One bad batch happens; three in a row mean that the weights are lost.
    private const int NotFiniteLimit = 3;

    private readonly CausalLanguageModel _model;
    private readonly PackedLoader _loader;
    private readonly TrainerOptions _options;
    private readonly LearningRateSchedule _schedule;
    private readonly PackedBatch[] _batches;
    private readonly StepState _state;
    private readonly CapturedStep? _captured;
    private readonly Queue<StartedStep> _started = new();
    private StartedStep? _newest;
    private long _completed;

    /// <summary>Prepares training; nothing is trained yet.</summary>
    /// <param name="model">The model.</param>
    /// <param name="loader">Where batches come from.</param>
    /// <param name="options">How to learn.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of range.</exception>
    public Trainer(CausalLanguageModel model, PackedLoader loader, TrainerOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(loader);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (_model, _loader, _options, _schedule) = (model, loader, options, options.Schedule());
        _batches = new PackedBatch[options.MicroBatches];
        _state = model.StepState = new StepState(model.Device, options.Seed);
        Optimizer = options.Optimizer == OptimizerKind.Sgd
            ? new Sgd(model.NamedParameters(), options.LearningRate, new SgdOptions { Momentum = 0.9, WeightDecay = options.WeightDecay, Decays = Decays })
            : new AdamW(model.NamedParameters(), options.LearningRate, new AdamWOptions { Beta2 = 0.95, WeightDecay = options.WeightDecay, Decays = Decays });
        if (options.Capture) _captured = new CapturedStep(model, loader.Limits, Compute, options.MicroBatches);
        static bool Decays(string name, Nn.Parameter parameter) => parameter.Shape.Rank >= 2;
    }

    /// <summary>The optimiser with its state.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>Steps taken, skipped ones included.</summary>
    public int StepCount { get; private set; }

    /// <summary>Steps whose update was skipped, because there was no target or something was not finite.</summary>
    public int SkippedSteps { get; private set; }

    /// <summary>Steps that were begun and not completed.</summary>
    internal int Started => _started.Count;

    internal int NotFiniteInARow { get; private set; }

    /// <summary>Takes one step: gradients of all micro-batches, clipping, update. Waits for the device.</summary>
    /// <exception cref="TrainingDivergedException">The loss or a gradient was not finite for the third time in a row.</exception>
    public TrainingStep Step()
    {
        Begin();
        return Complete();
    }

    /// <summary>Starts a step on the device and returns; what comes of it, <see cref="Complete"/> tells later.</summary>
    internal void Begin()
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < _batches.Length; i++) _batches[i] = _loader.Next();
        var step = new StartedStep(++StepCount, _schedule.At(StepCount), start, Stopwatch.GetElapsedTime(start).TotalSeconds, _batches);
        if (step.Targets > 0)
        {
            _state.Begin(StepCount, step.LearningRate, lossScale: 1.0 / step.Targets);
            if (_captured is null) Compute(_batches);
            else _captured.Run(_batches);
            step.Outcome = _state.StartRead();
        }
        foreach (PackedBatch batch in _batches) batch.Dispose();
        _started.Enqueue(_newest = step);
    }

    // All of the step that the device does.
    private void Compute(IReadOnlyList<TokenBatch> batches)
    {
        Optimizer.ZeroGrad();
        foreach (TokenBatch batch in batches)
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor lossSum = _model.LossSum(batch);
            lossSum.Backward(_state.LossGradient);
            _state.AddLoss(lossSum);
        }
        GradientClipping.Apply(Optimizer.Parameters, _options.ClipNorm, _state);
        Optimizer.Step(_state);
    }

    /// <summary>Waits for the oldest step that was begun, and counts it.</summary>
    /// <exception cref="TrainingDivergedException">The loss or a gradient was not finite for the third time in a row; nothing begun is left.</exception>
    internal TrainingStep Complete()
    {
        StartedStep oldest = _started.Dequeue();
        StepState.Values outcome = oldest.Wait();
        long from = Math.Max(oldest.Start, _completed), time = Stopwatch.GetTimestamp() - from;
        // Steps that the device has finished meanwhile share the time: none of them took none.
        if (_started.Count > 0 && _newest!.IsReady) time /= _started.Count + 1;
        _completed = from + time;
        TrainingStep step = oldest.ToStep(outcome, time);
        if (step.Outcome != StepOutcome.NotFinite)
        {
            if (step.Outcome == StepOutcome.NoTargets) SkippedSteps++;
            else NotFiniteInARow = 0;
            return step;
        }
        SkippedSteps++;
        return ++NotFiniteInARow < NotFiniteLimit ? step : throw Diverged(step);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Abandon();
        _captured?.Dispose();
        if (_model.StepState == _state) _model.StepState = null;
        Optimizer.Dispose();
        _state.Dispose();
    }

    /// <summary>Goes on as if the steps up to one had been taken here. The optimiser's state and the loader's position are set apart.</summary>
    internal void Continue(int step, int skipped, int notFiniteInARow) => (StepCount, SkippedSteps, NotFiniteInARow) = (step, skipped, notFiniteInARow);

    private void Abandon()
    {
        while (_started.TryDequeue(out StartedStep? step)) step.Abandon();
    }

    // The gradients are those of the step that was begun last.
    private TrainingDivergedException Diverged(in TrainingStep step)
    {
        Abandon();
        string what = double.IsFinite(step.Loss) ? "gradients" : $"the loss ({step.Loss}) and gradients";
        string[] names = [.. GradientClipping.FindNonFinite(_model.NamedParameters())];
        return new TrainingDivergedException(step.Step,
            $"{what} were not finite in {NotFiniteLimit} steps in a row; at step {StepCount} in {(names.Length == 0 ? "no parameter" : string.Join(", ", names.Take(5)))}{(names.Length > 5 ? $" and {names.Length - 5} more" : "")}");
    }
}
