using Varlen.Backends;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>
/// A step on a model that a device records once and then replays on batch after batch: hundreds of launches become one. Batches may differ in tokens and
/// sequences within limits; the step always computes as many rows as the limit has tokens, and rows without a token influence nothing. On a CPU, where there
/// is nothing to record, the step runs on the same padded rows. Batches are packed, jagged, block-diagonal or padded, all of one kind.
/// </summary>
/// <remarks>
/// <para>The first two runs only prepare and the third records; each is a step like all others, with the same bits. The step must do the same at every
/// run: it may not wait for the device nor send it numbers, and what it gives back it writes into tensors that were made before it, such as a
/// <see cref="StepState"/> or a kept tensor that losses are added to.</para>
/// <para>When the model's parameters lie elsewhere than before, or its mode or the device's changed, the step is recorded anew. Not thread-safe. Holds the
/// memory of one step until it is disposed.</para>
/// </remarks>
public sealed class CapturedStep : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly Action<IReadOnlyList<TokenBatch>> _step;
    private readonly BatchSlot[] _slots;
    private readonly Backend _backend;
    private readonly StepRecording? _recording;

    /// <summary>Prepares a step; nothing runs yet.</summary>
    /// <param name="model">The model, on the device where it will stay.</param>
    /// <param name="limits">What batches may hold.</param>
    /// <param name="step">The step on one run's batches. They hold what the batches given to <see cref="Run"/> hold, and padding; their tensors are always the same.</param>
    /// <param name="batches">Batches of a run.</param>
    /// <exception cref="ArgumentOutOfRangeException">A limit or the number of batches is below 1.</exception>
    public CapturedStep(CausalLanguageModel model, BatchLimits limits, Action<IReadOnlyList<TokenBatch>> step, int batches = 1)
        : this(model, limits, step, batches, captures: true)
    {
    }

    // captures: false runs the padded step as it is on every device, to compare with.
    internal CapturedStep(CausalLanguageModel model, BatchLimits limits, Action<IReadOnlyList<TokenBatch>> step, int batches, bool captures)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(step);
        ArgumentOutOfRangeException.ThrowIfLessThan(batches, 1);
        (_model, _step, Limits, _backend) = (model, step, limits.Checked(nameof(limits)), model.Device.Backend);
        _recording = captures ? StepRecording.Of(model, RunStep) : null;
        _slots = [.. Enumerable.Range(0, batches).Select(_ => new BatchSlot(limits, Math.Min(limits.Tokens, model.MaxLength), model.Device, keepsAddresses: _recording is not null))];
    }

    /// <summary>What batches may hold.</summary>
    public BatchLimits Limits { get; }

    /// <summary>Whether runs are replays by now.</summary>
    public bool IsRecorded => _recording is { IsRecorded: true };

    /// <summary>Runs the step, without a wait once it is recorded. The batches may be disposed right afterwards.</summary>
    /// <param name="batches">As many batches as the step takes, on the model's device or the CPU.</param>
    /// <exception cref="ArgumentException">There are more or fewer batches, or one is above the limits or does not fit the model; the message says which limit. Nothing has run.</exception>
    /// <exception cref="InvalidOperationException">The model is on another device than when this was made.</exception>
    /// <exception cref="NotSupportedException">The step does what cannot be recorded; the message names it.</exception>
    public void Run(params ReadOnlySpan<TokenBatch> batches)
    {
        if (batches.Length != _slots.Length) throw new ArgumentException($"{batches.Length} batches were given, and the step takes {_slots.Length}", nameof(batches));
        if (_model.Device.Backend != _backend) throw new InvalidOperationException($"the model has moved to {_model.Device}, and its step was made for {_backend.Name}; make another CapturedStep there");
        foreach (TokenBatch batch in batches)
        {
            _slots[0].Check(batch);
            _model.Check(batch);
        }
        for (int i = 0; i < batches.Length; i++) _slots[i].Fill(batches[i]);
        if (_recording is null) RunStep();
        else _recording.Run();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _recording?.Dispose();
        foreach (BatchSlot slot in _slots) slot.Dispose();
    }

    private void RunStep() => _step(_slots);
}
