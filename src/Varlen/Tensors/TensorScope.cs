using System.Runtime.CompilerServices;

namespace Varlen;

/// <summary>Several tensors that a module returns as one value; a frame hands every one of them to its caller.</summary>
public interface ITensorBundle
{
    /// <summary>The tensors; absent ones are null.</summary>
    IEnumerable<Tensor?> Tensors { get; }
}

/// <summary>
/// Releases the tensors made on this thread since it began, when it is disposed. One <c>using (TensorScope.Begin())</c> per training
/// step is all that user code needs: modules open a frame of their own for each forward call and hand their result to the caller.
/// </summary>
/// <remarks>A ref struct, so that the compiler refuses to hold it across an await or capture it in a lambda.</remarks>
public readonly ref struct TensorScope : IDisposable
{
    [ThreadStatic] private static List<Tensor>? t_live;
    [ThreadStatic] private static int t_depth;

    private readonly int _mark, _depth;
    private readonly string _name;

    private TensorScope(string name)
    {
        _mark = (t_live ??= []).Count;
        _name = name;
        _depth = ++t_depth;
    }

    /// <summary>Opens a scope on the calling thread.</summary>
    /// <param name="name">Named in the error of a tensor used after its release; the calling method by default.</param>
    public static TensorScope Begin([CallerMemberName] string name = "") => new($"the scope of {name}");

    internal static TensorScope Frame(string name) => new(name);

    internal static void Track(Tensor tensor)
    {
        if (t_depth > 0) t_live!.Add(tensor);
    }

    /// <summary>Hands a result to the enclosing scope: it survives this one. Without an enclosing scope its receiver owns it.</summary>
    /// <typeparam name="T">A tensor, a tuple of tensors, or an <see cref="ITensorBundle"/>; other values pass through.</typeparam>
    public T Return<T>(T value)
    {
        switch (value)
        {
            case Tensor tensor: tensor.ReturningFrom = _depth; break;
            case ITensorBundle bundle:
                foreach (Tensor? tensor in bundle.Tensors) tensor?.ReturningFrom = _depth;
                break;
            case ITuple tuple:
                for (int i = 0; i < tuple.Length; i++) (tuple[i] as Tensor)?.ReturningFrom = _depth;
                break;
            case IEnumerable<Tensor> tensors:
                foreach (Tensor tensor in tensors) tensor.ReturningFrom = _depth;
                break;
        }
        return value;
    }

    /// <summary>Releases what was made in this scope, newest first.</summary>
    public void Dispose()
    {
        List<Tensor> live = t_live!;
        t_depth--;
        int kept = _mark;
        for (int i = _mark; i < live.Count; i++)
        {
            Tensor tensor = live[i];
            if (tensor.IsReleased || tensor.IsKept) continue;
            if (tensor.ReturningFrom == _depth)
            {
                if (t_depth > 0) live[kept++] = tensor;
            }
            else
            {
                tensor.Release(_name);
            }
        }
        live.RemoveRange(kept, live.Count - kept);
    }
}
