using Varlen.Autograd;

namespace Varlen;

public sealed partial class Tensor
{
    /// <summary>The same elements under another shape, without a copy.</summary>
    /// <param name="shape">Sizes; one of them may be -1 and is then worked out.</param>
    /// <exception cref="ArgumentException">The sizes do not fit, or the strides do not allow it without a copy (use <see cref="Reshape"/>).</exception>
    public Tensor View(params ReadOnlySpan<int> shape)
    {
        Shape target = Resolve(shape);
        long[] strides = StridesFor(target)
            ?? throw new ArgumentException($"a tensor {Shape} with strides [{string.Join(", ", _strides)}] cannot be viewed as {target} without a copy; use Reshape", nameof(shape));
        return Aliasing(target, strides, Offset);
    }

    /// <summary>The same elements under another shape: a view where the strides allow it, else a copy.</summary>
    /// <param name="shape">Sizes; one of them may be -1 and is then worked out.</param>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public Tensor Reshape(params ReadOnlySpan<int> shape)
        => StridesFor(Resolve(shape)) is null ? Contiguous().View(shape) : View(shape);

    /// <summary>A range of one dimension, as a view.</summary>
    /// <param name="dimension">The dimension; negative numbers count from the end.</param>
    /// <param name="start">First index.</param>
    /// <param name="length">How many.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the dimension.</exception>
    public Tensor Narrow(int dimension, int start, int length)
    {
        int axis = Shape.Axis(dimension);
        if (start < 0 || length < 0 || (long)start + length > Shape[axis])
            throw new ArgumentOutOfRangeException(nameof(start), $"[{start}, {(long)start + length}) is not within dimension {axis} of {Shape}");
        int[] sizes = Shape.Dimensions.ToArray();
        sizes[axis] = length;
        return Aliasing(new Shape(sizes), _strides, Offset + start * _strides[axis]);
    }

    /// <summary>Equal parts of one dimension, as views: the q, k and v of a fused projection, for example.</summary>
    /// <param name="parts">How many parts; must divide the dimension.</param>
    /// <param name="dimension">The dimension; negative numbers count from the end.</param>
    /// <exception cref="ArgumentException">The dimension is not a multiple of <paramref name="parts"/>.</exception>
    public Tensor[] Chunk(int parts, int dimension = -1)
    {
        int size = Shape[dimension];
        ArgumentOutOfRangeException.ThrowIfLessThan(parts, 1);
        if (size % parts != 0) throw new ArgumentException($"dimension {dimension} of {Shape} is not a multiple of {parts}", nameof(parts));
        var chunks = new Tensor[parts];
        for (int i = 0; i < parts; i++) chunks[i] = Narrow(dimension, i * (size / parts), size / parts);
        return chunks;
    }

    /// <summary>Two dimensions exchanged, as a view.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such dimension.</exception>
    public Tensor Transpose(int first, int second)
    {
        int a = Shape.Axis(first), b = Shape.Axis(second);
        int[] sizes = Shape.Dimensions.ToArray();
        long[] strides = [.. _strides];
        (sizes[a], sizes[b]) = (sizes[b], sizes[a]);
        (strides[a], strides[b]) = (strides[b], strides[a]);
        return Aliasing(new Shape(sizes), strides, Offset);
    }

    /// <summary>The same values outside of the autograd graph, as a view.</summary>
    public Tensor Detach() => Alias(Shape, _strides, Offset);

    /// <summary>A view that shares this tensor's gradient slot while recording: gradients of views land in their base's buffer.</summary>
    private Tensor Aliasing(Shape shape, long[] strides, long offset)
        => Alias(shape, strides, offset, GradMode.IsEnabled ? Slot : null);

    private Shape Resolve(ReadOnlySpan<int> shape)
    {
        int unknown = shape.IndexOf(-1);
        if (unknown >= 0)
        {
            int[] sizes = shape.ToArray();
            sizes[unknown] = 1;
            long rest = new Shape(sizes).Count;
            sizes[unknown] = rest == 0 ? 0 : checked((int)(Count / rest));
            shape = sizes;
        }
        var target = new Shape(shape);
        if (target.Count != Count) throw new ArgumentException($"{Shape} has {Count} elements, {target} has {target.Count}", nameof(shape));
        return target;
    }

    /// <summary>Strides that give the elements the target shape in order, or null when only a copy can.</summary>
    private long[]? StridesFor(Shape target)
    {
        if (Count == 0 || IsContiguous) return target.ContiguousStrides();
        var strides = new long[target.Rank];
        int source = Shape.Rank - 1, t = target.Rank - 1;
        while (source >= 0)
        {
            // Merge source dimensions into one run while they are laid out as if they were one, then cut the run into target sizes.
            long run = Shape[source], stride = _strides[source];
            while (source > 0 && (Shape[source - 1] == 1 || _strides[source - 1] == run * stride || run == 1))
            {
                source--;
                if (run == 1) stride = _strides[source];
                run *= Shape[source];
            }
            source--;
            long cut = 1;
            while (t >= 0 && cut < run)
            {
                strides[t] = stride * cut;
                cut *= target[t--];
            }
            if (cut != run) return null;
            while (t >= 0 && target[t] == 1) strides[t--] = stride * run;
        }
        return strides;
    }
}
