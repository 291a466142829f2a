namespace Varlen.Autograd;

/// <summary>
/// A value kept for a backward pass: a view of the storage, stamped with its version, or a recipe to compute it again.
/// </summary>
internal readonly struct Saved : IDisposable
{
    private readonly Tensor? _tensor;
    private readonly Recipe? _recipe;
    private readonly int _version;

    private Saved(Tensor? tensor, Recipe? recipe)
    {
        _tensor = tensor;
        _recipe = recipe;
        _version = tensor?.Storage.Version ?? 0;
    }

    /// <summary>Saves a value: by its recipe when it has one, else by its storage. Null is legal and comes back as an error when read.</summary>
    public static implicit operator Saved(Tensor? tensor) => tensor?.Recipe is { } recipe ? new(null, recipe) : new(tensor, null);

    /// <summary>The graph's own counts, independent of the op's wrappers.</summary>
    public Saved Own() => new(_tensor?.UntrackedAlias(), _recipe?.Share());

    public Tensor Get(string op)
    {
        if (_recipe is not null) return _recipe.Rebuild(op);
        Tensor tensor = _tensor ?? throw new InvalidOperationException($"{op}: reads a value that was not saved");
        if (tensor.Storage.Version != _version)
            throw new InvalidOperationException($"{op}: a value {tensor.Shape} that its backward pass needs was overwritten in place after the forward pass; write into a copy, or run Backward first");
        return tensor;
    }

    public void Dispose()
    {
        _tensor?.Dispose();
        _recipe?.Dispose();
    }
}

/// <summary>
/// How to compute a value again from values that are saved anyway: an activation from its input, for example. Whoever would save the
/// value saves this instead, which costs a pass over memory in the backward and saves the memory of the value between the passes.
/// </summary>
internal sealed class Recipe : IDisposable
{
    private readonly Saved[] _sources;
    private readonly Func<Tensor[], Tensor> _rebuild;

    private Recipe(Saved[] sources, Func<Tensor[], Tensor> rebuild)
    {
        _sources = sources;
        _rebuild = rebuild;
    }

    /// <param name="rebuild">Computes the value, as a tensor of the current scope, from the sources. Must not hold tensors.</param>
    /// <param name="sources">What it is computed from.</param>
    public static Recipe From(Func<Tensor[], Tensor> rebuild, params ReadOnlySpan<Tensor> sources)
    {
        var owned = new Saved[sources.Length];
        for (int i = 0; i < sources.Length; i++) owned[i] = ((Saved)sources[i]).Own();
        return new Recipe(owned, rebuild);
    }

    public Recipe Share() => new(Array.ConvertAll(_sources, source => source.Own()), _rebuild);

    public Tensor Rebuild(string op) => _rebuild(Array.ConvertAll(_sources, source => source.Get(op)));

    public void Dispose()
    {
        foreach (Saved source in _sources) source.Dispose();
    }
}
