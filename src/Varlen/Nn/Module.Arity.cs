namespace Varlen.Nn;

/// <summary>A module of one input.</summary>
/// <typeparam name="T">Input.</typeparam>
/// <typeparam name="TResult">Result: a tensor, a tuple of tensors, or an <see cref="ITensorBundle"/>.</typeparam>
public abstract class Module<T, TResult> : Module
{
    /// <summary>Runs the module in a frame of its own: tensors that it makes on the way are released when it returns, unless the graph saved them.</summary>
    public TResult Forward(T input)
    {
        using var frame = TensorScope.Frame($"{GetType().Name}.Forward");
        return frame.Return(ForwardCore(input));
    }

    /// <summary>The computation.</summary>
    protected abstract TResult ForwardCore(T input);
}

/// <summary>A module of two inputs.</summary>
/// <typeparam name="T1">First input.</typeparam>
/// <typeparam name="T2">Second input.</typeparam>
/// <typeparam name="TResult">Result: a tensor, a tuple of tensors, or an <see cref="ITensorBundle"/>.</typeparam>
public abstract class Module<T1, T2, TResult> : Module
{
    /// <inheritdoc cref="Module{T, TResult}.Forward"/>
    public TResult Forward(T1 first, T2 second)
    {
        using var frame = TensorScope.Frame($"{GetType().Name}.Forward");
        return frame.Return(ForwardCore(first, second));
    }

    /// <summary>The computation.</summary>
    protected abstract TResult ForwardCore(T1 first, T2 second);
}

/// <summary>A module of three inputs.</summary>
/// <typeparam name="T1">First input.</typeparam>
/// <typeparam name="T2">Second input.</typeparam>
/// <typeparam name="T3">Third input.</typeparam>
/// <typeparam name="TResult">Result: a tensor, a tuple of tensors, or an <see cref="ITensorBundle"/>.</typeparam>
public abstract class Module<T1, T2, T3, TResult> : Module
{
    /// <inheritdoc cref="Module{T, TResult}.Forward"/>
    public TResult Forward(T1 first, T2 second, T3 third)
    {
        using var frame = TensorScope.Frame($"{GetType().Name}.Forward");
        return frame.Return(ForwardCore(first, second, third));
    }

    /// <summary>The computation.</summary>
    protected abstract TResult ForwardCore(T1 first, T2 second, T3 third);
}
