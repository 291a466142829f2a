using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Optim;

/// <summary>
/// Updates parameters from their gradients. Its kernels read learning rate, step number, clip factor and the finite flag from a
/// <see cref="StepState"/>; parameters without a gradient are left alone, and nothing changes when the flag says that a gradient is not finite.
/// </summary>
/// <remarks>Owns its state (the moments), in the masters' precision; dispose it. Parameters stay their modules'.</remarks>
public abstract class Optimizer : IDisposable
{
    private readonly string[] _slots;
    private readonly List<Entry> _entries = [];
    private readonly List<ParameterUpdate> _updates = [];
    private double _learningRate;
    private StepState? _own;
    private long _ownSteps;
    // On the parameters' device, where a kernel that skips an update leaves it alone without a wait.
    private Tensor? _updateCount;

    /// <param name="parameters">Parameters under the names that their state is kept by; a tied one counts under its first name.</param>
    /// <param name="learningRate">Learning rate of <see cref="Step(double?)"/>.</param>
    /// <param name="weightDecay">Weight decay.</param>
    /// <param name="decays">Which parameters decay; all when null.</param>
    /// <param name="slots">Names of the values kept per parameter.</param>
    private protected Optimizer(
        IEnumerable<KeyValuePair<string, Parameter>> parameters, double learningRate, double weightDecay, Func<string, Parameter, bool>? decays, params ReadOnlySpan<string> slots)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        _slots = slots.ToArray();
        LearningRate = learningRate;
        OptimizerArguments.NotNegative(weightDecay, nameof(weightDecay));
        var known = new HashSet<Parameter>();
        var names = new HashSet<string>();
        foreach ((string name, Parameter parameter) in parameters)
        {
            if (!known.Add(parameter)) continue;
            if (!names.Add(name)) throw new ArgumentException($"two parameters are named \"{name}\"; give each a name of its own", nameof(parameters));
            _entries.Add(new Entry(name, parameter, decays?.Invoke(name, parameter) == false ? 0 : weightDecay, new Tensor?[_slots.Length]));
        }
        if (_entries.Count == 0) throw new ArgumentException("there is nothing to optimise: the list of parameters is empty", nameof(parameters));
        Parameters = [.. _entries.Select(entry => entry.Parameter)];
    }

    /// <summary>The parameters, each once.</summary>
    public IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>Learning rate of <see cref="Step(double?)"/>; <see cref="Step(StepState)"/> takes the state's.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is negative or not finite.</exception>
    public double LearningRate
    {
        get => _learningRate;
        set => _learningRate = OptimizerArguments.NotNegative(value, nameof(LearningRate));
    }

    /// <summary>Updates made, over all resumed runs; skipped ones do not count. Waits for the device.</summary>
    public long StepCount => (long?)_updateCount?.Item() ?? 0;

    /// <summary>Updates the parameters with the numbers of a step state, on whose device they must be.</summary>
    /// <exception cref="ArgumentException">A parameter is on another device.</exception>
    public void Step(StepState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        _updates.Clear();
        foreach (Entry entry in _entries)
        {
            if (!entry.Parameter.RequiresGrad || entry.Parameter.Grad is not { } gradient) continue;
            if (entry.Parameter.Master.Device != state.Device)
                throw new ArgumentException($"parameter \"{entry.Name}\" is on {entry.Parameter.Master.Device}, the step state on {state.Device}; make the state for the parameters' device", nameof(state));
            PrepareState(entry);
            Tensor value = entry.Parameter.Value, master = entry.Parameter.Master;
            _updates.Add(new ParameterUpdate(entry.Parameter, master, value.DType == master.DType ? null : value, gradient, entry.State, entry.WeightDecay));
        }
        if (_updates.Count == 0) return;
        Update(_updates, state, CountOn(state.Device));
        foreach (ParameterUpdate update in _updates) update.Parameter.MarkUpdated(copyIsFresh: true);
        _updates.Clear();
    }

    /// <summary>
    /// Updates the parameters at <see cref="LearningRate"/> and counts the step: all that a loop of one's own needs.
    /// </summary>
    /// <param name="maxGradientNorm">Clips the gradients' global norm to this, and skips the update when it is not finite; null does neither.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maxGradientNorm"/> is not positive.</exception>
    public void Step(double? maxGradientNorm = null)
    {
        Device device = Parameters[0].Master.Device;
        if (_own?.Device != device)
        {
            _own?.Dispose();
            _own = new StepState(device);
        }
        _own.Begin(++_ownSteps, LearningRate);
        if (maxGradientNorm is not null) GradientClipping.Apply(Parameters, maxGradientNorm, _own);
        Step(_own);
    }

    /// <summary>Forgets all gradients; nothing is filled with zeros.</summary>
    public void ZeroGrad()
    {
        foreach (Parameter parameter in Parameters) parameter.ZeroGrad();
    }

    /// <summary>
    /// What a checkpoint holds: per trained parameter and value a tensor named "parameter.value", and "step", the count of
    /// updates made. The tensors stay the optimiser's own.
    /// </summary>
    public IReadOnlyDictionary<string, Tensor> StateDict()
    {
        var state = new Dictionary<string, Tensor>();
        foreach (Entry entry in _entries)
        {
            if (!entry.Parameter.RequiresGrad) continue;
            PrepareState(entry);
            for (int i = 0; i < _slots.Length; i++) state.Add($"{entry.Name}.{_slots[i]}", entry.State[i]!);
        }
        state.Add("step", CountOn(Parameters[0].Master.Device));
        return state;
    }

    /// <summary>Overwrites the state with what <see cref="StateDict"/> gave. Nothing is changed unless everything fits.</summary>
    /// <exception cref="ArgumentException">Names are missing or unknown, or shapes or types differ; all of them are listed.</exception>
    public void LoadStateDict(IReadOnlyDictionary<string, Tensor> state)
    {
        ArgumentNullException.ThrowIfNull(state);
        IReadOnlyDictionary<string, Tensor> own = StateDict();
        List<string> problems = [];
        foreach ((string name, Tensor tensor) in own)
            if (!state.TryGetValue(name, out Tensor? value)) problems.Add($"{name} {tensor.Shape} is missing");
            else if (value.Shape != tensor.Shape) problems.Add($"{name} is {value.Shape}, expected {tensor.Shape}");
            else if (!IsAs(tensor.DType, value.DType)) problems.Add($"{name} is {value.DType}, expected {tensor.DType}");
        problems.AddRange(state.Where(entry => !own.ContainsKey(entry.Key)).Select(entry => $"{entry.Key} {entry.Value.Shape} is not part of it"));
        if (problems.Count > 0) throw new ArgumentException($"the state does not fit this {GetType().Name}: {string.Join("; ", problems)}", nameof(state));
        foreach ((string name, Tensor tensor) in own) tensor.CopyFrom(state[name]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases the state.</summary>
    protected virtual void Dispose(bool disposing)
    {
        _own?.Dispose();
        _updateCount?.Dispose();
        foreach (Entry entry in _entries)
            foreach (Tensor? tensor in entry.State) tensor?.Dispose();
    }

    /// <summary>Runs the update's kernel on the parameters that have a gradient.</summary>
    private protected abstract void Update(IReadOnlyList<ParameterUpdate> updates, StepState state, Tensor updateCount);

    private Tensor CountOn(Device device)
    {
        if (_updateCount?.Device == device) return _updateCount;
        Tensor count = _updateCount?.UntrackedCopy(DType.Int64, device) ?? Tensor.AllocateUntracked([], DType.Int64, device);
        if (_updateCount is null) ElementwiseCopy.Fill(count, 0);
        _updateCount?.Dispose();
        return _updateCount = count.Keep();
    }

    /// <summary>Zeros at first; afterwards it follows its master to another device or precision.</summary>
    private static void PrepareState(Entry entry)
    {
        Tensor master = entry.Parameter.Master;
        foreach (ref Tensor? tensor in entry.State.AsSpan())
        {
            if (tensor is null)
            {
                tensor = Tensor.AllocateUntracked(master.Shape, master.DType, master.Device).Keep();
                ElementwiseCopy.Fill(tensor, 0);
            }
            else if (tensor.Device != master.Device || tensor.DType != master.DType)
            {
                Tensor moved = tensor.UntrackedCopy(master.DType, master.Device).Keep();
                tensor.Dispose();
                tensor = moved;
            }
        }
    }

    // Moments may come from another precision; a count may not come as anything else.
    private static bool IsAs(DType own, DType given) => own == given || (own is DType.Float32 or DType.Float64 && given is DType.Float32 or DType.Float64);

    private sealed record Entry(string Name, Parameter Parameter, double WeightDecay, Tensor?[] State);
}
