using System.Diagnostics;
using Varlen.Autograd;
using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Cli.Benchmarks;

/// <summary>One strategy in one mode: a model, an optimiser and batches of its own, stepped again and again.</summary>
internal sealed class StepCase : IDisposable
{
    private const double AdamWLearningRate = 1e-4, SgdLearningRate = 1e-3;
    private readonly TokenBatch[] _batches;
    private readonly Decoder _model;
    private readonly Optimizer? _optimizer;
    private readonly StepState _state;
    private readonly double _learningRate;
    private readonly List<double> _milliseconds = [], _hostMilliseconds = [], _losses = [];
    private readonly double _operations;
    private readonly CudaBackend? _cuda;
    private long _steps, _ownBytes, _peakBytes;
    private int _launches;

    public StepCase(StepWorkload workload, StepMode mode, StepStrategy strategy)
    {
        _cuda = workload.Device.Backend as CudaBackend;
        long before = LiveBytes;
        (Mode, Strategy, _operations) = (mode, strategy, workload.Batches.Average(batch => batch.Operations(strategy.Attended(batch), mode)));
        _batches = [.. workload.Batches.Select(batch => strategy.Collator(batch).Collate(batch.Sequences(), batch.Device))];
        _model = workload.CreateModel(mode);
        _state = new StepState(workload.Device, workload.Seed);
        _learningRate = workload.Optimizer == StepOptimizer.Sgd ? SgdLearningRate : AdamWLearningRate;
        if (mode != StepMode.Train) _model.Eval();
        else if (workload.Optimizer == StepOptimizer.Sgd) _optimizer = new Sgd(_model.NamedParameters(), _learningRate, new SgdOptions());
        else _optimizer = new AdamW(_model.NamedParameters(), _learningRate);
        _ownBytes = LiveBytes - before;
    }

    public StepMode Mode { get; }

    public StepStrategy Strategy { get; }

    // What the driver's pool has given out, temporary memory of kernels included; on the CPU the tensors.
    private long LiveBytes
    {
        get
        {
            if (_cuda is null) return MemoryDiagnostics.LiveBytes;
            _cuda.Synchronize();
            return _cuda.Pool.UsedBytes;
        }
    }

    /// <summary>Takes a step.</summary>
    /// <param name="counted">Whether its time counts.</param>
    public void Step(bool counted)
    {
        // What the other cases hold is no part of this one's peak.
        long before = LiveBytes, others = before - _ownBytes;
        if (_cuda is null) MemoryDiagnostics.ResetPeak();
        else _cuda.Pool.ResetPeak();
        int launched = _cuda?.LaunchCount ?? 0;
        TokenBatch batch = _batches[_steps++ % _batches.Length];
        long start = Stopwatch.GetTimestamp();
        Tensor loss = _optimizer is null ? Evaluate(batch) : Train(_optimizer, batch);
        double host = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        loss.Device.Synchronize();
        double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        _launches = (_cuda?.LaunchCount ?? 0) - launched;
        _peakBytes = Math.Max(_peakBytes, (_cuda?.Pool.PeakBytes ?? MemoryDiagnostics.PeakBytes) - others);
        _losses.Add(loss.Item() / batch.TargetCount);
        loss.Dispose();
        _ownBytes += LiveBytes - before;
        if (!counted) return;
        _milliseconds.Add(milliseconds);
        _hostMilliseconds.Add(host);
    }

    /// <summary>What was measured so far.</summary>
    public StepRow Row() => new(Mode, Strategy, (int)_batches.Average(batch => (double)batch.RealTokens), (int)_batches.Average(batch => (double)batch.Rows), [.. _milliseconds], _peakBytes, [.. _losses], _operations)
    {
        Device = _cuda is null ? null : new StepDeviceRow(StepRow.Median(_hostMilliseconds), _launches),
    };

    public void Dispose()
    {
        _optimizer?.Dispose();
        _state.Dispose();
        _model.Dispose();
        foreach (TokenBatch batch in _batches) batch.Dispose();
    }

    private Tensor Evaluate(TokenBatch batch)
    {
        using GradMode.Region off = GradMode.NoGrad();
        using TensorScope scope = TensorScope.Begin();
        return _model.LossSum(batch).Keep();
    }

    private Tensor Train(Optimizer optimizer, TokenBatch batch)
    {
        using TensorScope scope = TensorScope.Begin();
        _state.Begin(_steps, _learningRate, 1.0 / batch.TargetCount);
        optimizer.ZeroGrad();
        Tensor loss = _model.LossSum(batch);
        loss.Backward(_state.LossGradient);
        optimizer.Step(_state);
        return loss.Detach().Keep();
    }
}
