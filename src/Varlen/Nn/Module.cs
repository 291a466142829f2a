namespace Varlen.Nn;

/// <summary>
/// State with a forward computation: parameters and child modules under names, which are the keys of the state dictionary and equal
/// PyTorch's.
/// </summary>
/// <remarks>Not thread-safe. Disposing a module disposes its parameters and children.</remarks>
public abstract class Module : IDisposable
{
    private readonly List<(string Name, Parameter Parameter)> _parameters = [];
    private readonly List<(string Name, Module Module)> _children = [];

    /// <summary>Whether the module is in training mode: dropout is active. True at first.</summary>
    public bool IsTraining { get; private set; } = true;

    /// <summary>All parameters with their full names, depth first in the order of registration. A tied parameter appears once per name.</summary>
    public IEnumerable<KeyValuePair<string, Parameter>> NamedParameters()
    {
        foreach ((string name, Parameter parameter) in _parameters) yield return new(name, parameter);
        foreach ((string name, Module child) in _children)
            foreach ((string inner, Parameter parameter) in child.NamedParameters()) yield return new($"{name}.{inner}", parameter);
    }

    /// <summary>Every parameter once.</summary>
    public IReadOnlyList<Parameter> Parameters() => [.. NamedParameters().Select(entry => entry.Value).Distinct()];

    /// <summary>The masters by full name: what a checkpoint holds. The tensors stay the module's own.</summary>
    public IReadOnlyDictionary<string, Tensor> StateDict() => NamedParameters().ToDictionary(entry => entry.Key, entry => entry.Value.Master);

    /// <summary>Overwrites all parameters from a state dictionary. Nothing is changed unless everything fits.</summary>
    /// <exception cref="ArgumentException">Names are missing or unknown, or shapes differ; all of them are listed.</exception>
    public void LoadStateDict(IReadOnlyDictionary<string, Tensor> state)
    {
        ArgumentNullException.ThrowIfNull(state);
        var problems = new List<string>();
        Dictionary<string, Parameter> own = NamedParameters().ToDictionary();
        foreach ((string name, Parameter parameter) in own)
            if (!state.TryGetValue(name, out Tensor? value)) problems.Add($"{name} {parameter.Shape} is missing");
            else if (value.Shape != parameter.Shape) problems.Add($"{name} is {value.Shape}, expected {parameter.Shape}");
        problems.AddRange(state.Keys.Where(name => !own.ContainsKey(name)).Select(name => $"{name} {state[name].Shape} is not a parameter of {GetType().Name}"));
        if (problems.Count > 0) throw new ArgumentException($"the state does not fit {GetType().Name}: {string.Join("; ", problems)}", nameof(state));
        foreach ((string name, Parameter parameter) in own) parameter.Load(state[name]);
    }

    /// <summary>Switches training mode on or off, for the children too.</summary>
    public void Train(bool training = true)
    {
        IsTraining = training;
        foreach ((_, Module child) in _children) child.Train(training);
    }

    /// <summary>Switches to evaluation mode.</summary>
    public void Eval() => Train(false);

    /// <summary>Forgets all gradients; nothing is filled with zeros.</summary>
    public void ZeroGrad()
    {
        foreach (Parameter parameter in Parameters()) parameter.ZeroGrad();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what a derived module owns beyond its registered parts.</summary>
    protected virtual void Dispose(bool disposing)
    {
        foreach ((_, Parameter parameter) in _parameters) parameter.Dispose();
        foreach ((_, Module child) in _children) child.Dispose();
    }

    /// <summary>Adds a parameter under its name in the state dictionary.</summary>
    /// <returns><paramref name="parameter"/>.</returns>
    /// <exception cref="ArgumentException">The name is empty or taken.</exception>
    protected Parameter Register(string name, Parameter parameter)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        CheckName(name);
        _parameters.Add((name, parameter));
        return parameter;
    }

    /// <summary>Adds a child module under its name in the state dictionary.</summary>
    /// <returns><paramref name="module"/>.</returns>
    /// <exception cref="ArgumentException">The name is empty or taken.</exception>
    protected TModule Register<TModule>(string name, TModule module) where TModule : Module
    {
        ArgumentNullException.ThrowIfNull(module);
        CheckName(name);
        _children.Add((name, module));
        return module;
    }

    private void CheckName(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (_parameters.Exists(entry => entry.Name == name) || _children.Exists(entry => entry.Name == name))
            throw new ArgumentException($"{GetType().Name} has a part named \"{name}\" already", nameof(name));
    }
}
