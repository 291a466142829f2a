using Varlen.Backends;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>
/// A step on a model that runs as it is until it can be recorded, and then as a replay: the first run makes what stays, the second measures memory, the
/// third records. When what the recording takes for granted has changed, it begins anew.
/// </summary>
internal sealed class StepRecording : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly Action _step;
    private readonly Backend _backend;
    private Recorder _recorder;
    private Phase _phase;
    private Circumstances? _circumstances;
    private Parameter[] _updated = [];

    private StepRecording(CausalLanguageModel model, Action step, Recorder recorder, bool isKnown)
    {
        (_model, _step, _backend, _recorder) = (model, step, model.Device.Backend, recorder);
        if (isKnown) (_circumstances, _phase) = (new Circumstances(model, _backend), Phase.Warm);
    }

    private enum Phase { Cold, Warm, Measured, Recorded }

    /// <summary>Whether runs are replays by now.</summary>
    public bool IsRecorded => _phase == Phase.Recorded;

    /// <summary>A recording on the model's device; null where there is nothing to record.</summary>
    /// <param name="model">The model.</param>
    /// <param name="step">The step: the same at every run.</param>
    /// <param name="isKnown">Whether a step that makes the same of what stays has run before.</param>
    public static StepRecording? Of(CausalLanguageModel model, Action step, bool isKnown = false) => model.Device.Backend.MakeRecorder() is { } recorder ? new(model, step, recorder, isKnown) : null;

    /// <summary>Runs the step, without a wait once it is recorded.</summary>
    /// <exception cref="NotSupportedException">The step does what cannot be recorded; the message names it.</exception>
    public void Run()
    {
        if (_circumstances is not null && !_circumstances.HoldFor(_model, _backend)) Forget();
        switch (_phase)
        {
            case Phase.Cold:
                // Makes what stays: gradients, the optimiser's state, kernels, plans of products.
                _step();
                _circumstances = new Circumstances(_model, _backend);
                _phase = Phase.Warm;
                break;
            case Phase.Warm:
                _recorder.Measure(_step);
                _phase = Phase.Measured;
                break;
            case Phase.Measured:
                Record();
                _recorder.Replay();
                _phase = Phase.Recorded;
                break;
            case Phase.Recorded:
                _recorder.Replay();
                // The kernels have brought the compute copies up to date.
                foreach (Parameter parameter in _updated) parameter.MarkUpdated(copyIsFresh: true);
                break;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _recorder.Dispose();

    private void Record()
    {
        IReadOnlyList<Parameter> parameters = _model.Parameters();
        int[] versions = [.. parameters.Select(parameter => parameter.Version)];
        _recorder.Record(_step);
        _updated = [.. parameters.Where((parameter, i) => parameter.Version != versions[i])];
    }

    private void Forget()
    {
        _recorder.Dispose();
        _recorder = _backend.MakeRecorder()!;
        (_phase, _circumstances) = (Phase.Cold, null);
    }

    /// <summary>What a recording takes for granted: where the parameters are, and what decides which kernels run.</summary>
    private sealed class Circumstances(CausalLanguageModel model, Backend backend)
    {
        private readonly (Parameter Parameter, Tensor Master, Tensor Value)[] _tensors = [.. model.Parameters().Select(parameter => (parameter, parameter.Master, parameter.Value))];
        private readonly (bool, bool, bool, StepState?) _modes = Modes(model, backend);

        public bool HoldFor(CausalLanguageModel model, Backend backend)
        {
            if (_modes != Modes(model, backend)) return false;
            foreach ((Parameter parameter, Tensor master, Tensor value) in _tensors)
                if (!ReferenceEquals(parameter.Master, master) || !ReferenceEquals(parameter.Value, value)) return false;
            return true;
        }

        private static (bool, bool, bool, StepState?) Modes(CausalLanguageModel model, Backend backend) => (model.IsTraining, GradMode.IsEnabled, backend.Deterministic, model.StepState);
    }
}
