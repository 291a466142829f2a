using System.Diagnostics;
using Varlen.Autograd;
using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;
using Varlen.Training;

namespace Varlen.Cli.Benchmarks;

/// <summary>Something that takes one step after the other.</summary>
internal interface IStepCase : IDisposable
{
    /// <summary>Takes a step.</summary>
    /// <param name="counted">Whether its time counts.</param>
    void Step(bool counted);
}

/// <summary>One strategy in one mode: a model, an optimiser and batches of its own, stepped again and again.</summary>
internal sealed class StepCase : IStepCase
{
    private readonly StepWorkload[] _workloads;
    private readonly IReadOnlyList<TokenSequence>[] _sequences;
    private readonly TokenBatch[] _batches;
    private readonly CausalLanguageModel _model;
    private readonly Optimizer? _optimizer;
    private readonly StepState _state;
    private readonly double _learningRate, _operations;
    private readonly List<double> _milliseconds = [], _uploadMilliseconds = [], _hostMilliseconds = [], _losses = [];
    private readonly CudaBackend? _cuda;
    // Records the step; its losses go where it can be read behind a replay.
    private readonly CapturedStep? _captured;
    private readonly Tensor? _capturedLoss;
    private long _steps, _ownBytes, _peakBytes;
    private int _next, _launches;

    public StepCase(StepWorkload workload, StepMode mode, StepStrategy strategy)
    {
        _cuda = workload.Device.Backend as CudaBackend;
        long before = LiveBytes;
        _workloads = [.. workload.Batches];
        (Mode, Strategy, _operations) = (mode, strategy, _workloads.Average(batch => batch.Operations(strategy, mode)));
        _sequences = [.. _workloads.Select(batch => batch.Sequences())];
        _batches = [.. _workloads.Select((_, index) => Collate(index))];
        _model = workload.CreateModel(mode);
        _state = new StepState(workload.Device, workload.Seed);
        _learningRate = workload.LearningRate;
        if (mode != StepMode.Train) _model.Eval();
        else if (workload.Optimizer == StepOptimizer.Sgd) _optimizer = new Sgd(_model.NamedParameters(), _learningRate, new SgdOptions());
        else _optimizer = new AdamW(_model.NamedParameters(), _learningRate);
        if (workload.Captures)
        {
            _capturedLoss = Tensor.Zeros([], workload.DType == DType.Float64 ? DType.Float64 : DType.Float32, workload.Device).Keep();
            _captured = new CapturedStep(_model, new BatchLimits(_batches.Max(batch => batch.Rows), _batches.Max(batch => batch.Layout.Count)), batches => Compute(batches[0]));
        }
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

    /// <summary>Takes two: one on a batch that is there, and one that makes its batch and sends it to the device.</summary>
    public void Step(bool counted)
    {
        int index = _next++ % _batches.Length;
        Resident(_batches[index], counted);
        WithUpload(index, counted);
    }

    /// <summary>What was measured so far.</summary>
    public StepRow Row() => new(Mode, Strategy, (int)_batches.Average(batch => (double)batch.RealTokens), _captured?.Limits.Tokens ?? (int)_batches.Average(batch => (double)batch.Rows), [.. _milliseconds], _peakBytes, [.. _losses], _operations)
    {
        UploadMilliseconds = [.. _uploadMilliseconds],
        Device = _cuda is null ? null : new StepDeviceRow(Statistics.Median(_hostMilliseconds), _launches),
    };

    public void Dispose()
    {
        _captured?.Dispose();
        _capturedLoss?.Dispose();
        _optimizer?.Dispose();
        _state.Dispose();
        _model.Dispose();
        foreach (TokenBatch batch in _batches) batch.Dispose();
    }

    private TokenBatch Collate(int index) => Strategy.Collator(_workloads[index]).Collate(_sequences[index], _workloads[index].Device);

    private void Resident(TokenBatch batch, bool counted)
    {
        // What the other cases hold is no part of this one's peak.
        long before = LiveBytes, others = before - _ownBytes;
        if (_cuda is null) MemoryDiagnostics.ResetPeak();
        else _cuda.Pool.ResetPeak();
        int launched = _cuda?.LaunchCount ?? 0;
        long start = Stopwatch.GetTimestamp();
        Tensor loss = Run(batch);
        double host = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        loss.Device.Synchronize();
        double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        _launches = (_cuda?.LaunchCount ?? 0) - launched;
        _peakBytes = Math.Max(_peakBytes, (_cuda?.Pool.PeakBytes ?? MemoryDiagnostics.PeakBytes) - others);
        Record(loss, batch);
        _ownBytes += LiveBytes - before;
        if (!counted) return;
        _milliseconds.Add(milliseconds);
        _hostMilliseconds.Add(host);
    }

    private void WithUpload(int index, bool counted)
    {
        long start = Stopwatch.GetTimestamp();
        using TokenBatch batch = Collate(index);
        Tensor loss = Run(batch);
        loss.Device.Synchronize();
        double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        Record(loss, batch);
        if (counted) _uploadMilliseconds.Add(milliseconds);
    }

    private void Record(Tensor loss, TokenBatch batch)
    {
        _losses.Add(loss.Item() / batch.TargetCount);
        loss.Dispose();
    }

    private Tensor Run(TokenBatch batch)
    {
        _steps++;
        if (_optimizer is not null) _state.Begin(_steps, _learningRate, 1.0 / batch.TargetCount);
        if (_captured is null) return Compute(batch);
        _captured.Run(batch);
        return _capturedLoss!.Clone().Keep();
    }

    // What a captured step records.
    private Tensor Compute(TokenBatch batch)
    {
        Tensor loss = _optimizer is null ? Evaluate(batch) : Train(_optimizer, batch);
        if (_capturedLoss is null) return loss;
        _capturedLoss.CopyFrom(loss);
        loss.Dispose();
        return _capturedLoss;
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
        optimizer.ZeroGrad();
        Tensor loss = _model.LossSum(batch);
        loss.Backward(_state.LossGradient);
        optimizer.Step(_state);
        return loss.Detach().Keep();
    }
}
