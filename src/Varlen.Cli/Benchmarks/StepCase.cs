using System.Diagnostics;
using Varlen.Autograd;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Cli.Benchmarks;

/// <summary>One strategy in one mode: a model, an optimiser and a batch of its own, stepped again and again.</summary>
internal sealed class StepCase : IDisposable
{
    private const double LearningRate = 1e-4;
    private readonly TokenBatch _batch;
    private readonly Decoder _model;
    private readonly AdamW? _optimizer;
    private readonly StepState _state;
    private readonly List<double> _milliseconds = [], _losses = [];
    private readonly double _operations;
    private long _steps, _ownBytes, _peakBytes;

    public StepCase(StepWorkload workload, StepMode mode, StepStrategy strategy)
    {
        long before = MemoryDiagnostics.LiveBytes;
        (Mode, Strategy, _operations) = (mode, strategy, workload.Operations(strategy.Attended(workload), mode));
        _batch = strategy.Collator(workload).Collate(workload.Sequences(), workload.Device);
        _model = workload.CreateModel(mode);
        _state = new StepState(workload.Device, workload.Seed);
        if (mode == StepMode.Train) _optimizer = new AdamW(_model.NamedParameters(), LearningRate);
        else _model.Eval();
        _ownBytes = MemoryDiagnostics.LiveBytes - before;
    }

    public StepMode Mode { get; }

    public StepStrategy Strategy { get; }

    /// <summary>Takes a step.</summary>
    /// <param name="counted">Whether its time counts.</param>
    public void Step(bool counted)
    {
        // What the other cases hold is no part of this one's peak.
        long before = MemoryDiagnostics.LiveBytes, others = before - _ownBytes;
        MemoryDiagnostics.ResetPeak();
        long start = Stopwatch.GetTimestamp();
        double loss = _optimizer is null ? Evaluate() : Train(_optimizer);
        double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        _peakBytes = Math.Max(_peakBytes, MemoryDiagnostics.PeakBytes - others);
        _ownBytes += MemoryDiagnostics.LiveBytes - before;
        _losses.Add(loss / _batch.TargetCount);
        if (counted) _milliseconds.Add(milliseconds);
    }

    /// <summary>What was measured so far.</summary>
    public StepRow Row() => new(Mode, Strategy, _batch.RealTokens, _batch.Rows, [.. _milliseconds], _peakBytes, [.. _losses], _operations);

    public void Dispose()
    {
        _optimizer?.Dispose();
        _state.Dispose();
        _model.Dispose();
        _batch.Dispose();
    }

    private double Evaluate()
    {
        using GradMode.Region off = GradMode.NoGrad();
        using TensorScope scope = TensorScope.Begin();
        return _model.LossSum(_batch).Item();
    }

    // The loss is read last: on a device that runs beside the host this is what waits for the step.
    private double Train(AdamW optimizer)
    {
        using TensorScope scope = TensorScope.Begin();
        _state.Begin(++_steps, LearningRate, 1.0 / _batch.TargetCount);
        optimizer.ZeroGrad();
        Tensor loss = _model.LossSum(_batch);
        loss.Backward(_state.LossGradient);
        optimizer.Step(_state);
        return loss.Item();
    }
}
