using System.Diagnostics;
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
    private int _notFinite;

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
        static bool Decays(string name, Nn.Parameter parameter) => parameter.Shape.Rank >= 2;
    }

    /// <summary>The optimiser with its state.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>Steps taken, skipped ones included.</summary>
    public int StepCount { get; private set; }

    /// <summary>Steps whose update was skipped because something was not finite.</summary>
    public int SkippedSteps { get; private set; }

    /// <summary>Takes one step: gradients of all micro-batches, clipping, update.</summary>
    /// <exception cref="TrainingDivergedException">The loss or a gradient was not finite for the third time in a row.</exception>
    public TrainingStep Step()
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < _batches.Length; i++) _batches[i] = _loader.Next();
        double waited = Stopwatch.GetElapsedTime(start).TotalSeconds, rate = _schedule.At(++StepCount), loss = 0;
        (int tokens, long targets, long padded) = Count(_batches);
        var outcome = StepOutcome.NoTargets;
        if (targets > 0)
        {
            _state.Begin(StepCount, rate, lossScale: 1.0 / targets);
            Optimizer.ZeroGrad();
            foreach (PackedBatch batch in _batches)
            {
                using TensorScope scope = TensorScope.Begin();
                Tensor lossSum = _model.LossSum(batch);
                lossSum.Backward(_state.LossGradient);
                loss += lossSum.Item();
            }
            GradientClipping.Apply(Optimizer.Parameters, _options.ClipNorm, _state);
            if (double.IsFinite(loss)) Optimizer.Step(_state);
            outcome = double.IsFinite(loss) && _state.ReadFinite() ? StepOutcome.Updated : StepOutcome.NotFinite;
        }
        foreach (PackedBatch batch in _batches) batch.Dispose();
        if (outcome == StepOutcome.NotFinite) Skip(loss);
        else _notFinite = 0;
        return new TrainingStep
        {
            Step = StepCount, Loss = loss / targets, LearningRate = rate, GradientNorm = targets > 0 ? _state.ReadGradientNorm() : 0, Outcome = outcome,
            Tokens = tokens, Targets = targets, PaddedTokens = padded, Seconds = Stopwatch.GetElapsedTime(start).TotalSeconds, DataSeconds = waited,
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_model.StepState == _state) _model.StepState = null;
        Optimizer.Dispose();
        _state.Dispose();
    }

    /// <summary>Goes on as if the steps up to one had been taken here. The optimiser's state and the loader's position are set apart.</summary>
    internal void Continue(int step, int skipped, int notFiniteInARow) => (StepCount, SkippedSteps, _notFinite) = (step, skipped, notFiniteInARow);

    internal int NotFiniteInARow => _notFinite;

    private static (int Tokens, long Targets, long Padded) Count(PackedBatch[] batches)
    {
        int tokens = 0;
        long targets = 0, padded = 0;
        foreach (PackedBatch batch in batches)
        {
            tokens += batch.Layout.TotalTokens;
            targets += batch.TargetCount;
            padded += (long)batch.Layout.Count * batch.Layout.MaxLength;
        }
        return (tokens, targets, padded);
    }

    private void Skip(double loss)
    {
        SkippedSteps++;
        if (++_notFinite < NotFiniteLimit) return;
        string what = double.IsFinite(loss) ? "gradients" : $"the loss ({loss}) and gradients";
        string[] names = [.. GradientClipping.FindNonFinite(_model.NamedParameters())];
        throw new TrainingDivergedException(StepCount,
            $"{what} were not finite in {NotFiniteLimit} steps in a row; at step {StepCount} in {(names.Length == 0 ? "no parameter" : string.Join(", ", names.Take(5)))}{(names.Length > 5 ? $" and {names.Length - 5} more" : "")}");
    }
}
