using System.Runtime.CompilerServices;

namespace Varlen;

/// <summary>The sizes of a tensor's dimensions, outermost first. Immutable.</summary>
[CollectionBuilder(typeof(Shape), nameof(Create))]
public readonly struct Shape : IEquatable<Shape>
{
    private readonly int[]? _dimensions;

    /// <summary>Makes a shape from sizes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative.</exception>
    /// <exception cref="OverflowException">The number of elements exceeds 64 bits.</exception>
    public Shape(params ReadOnlySpan<int> dimensions)
    {
        long count = 1;
        foreach (int size in dimensions)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(dimensions));
            count = checked(count * size);
        }
        _dimensions = dimensions.ToArray();
        Count = count;
    }

    /// <summary>Number of elements; 1 for a scalar.</summary>
    public long Count { get; }

    /// <summary>Number of dimensions.</summary>
    public int Rank => Dimensions.Length;

    /// <summary>The sizes.</summary>
    public ReadOnlySpan<int> Dimensions => _dimensions;

    /// <summary>Size of one dimension; negative numbers count from the end.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such dimension.</exception>
    public int this[int dimension] => Dimensions[Axis(dimension)];

    /// <summary>Makes a shape from a collection expression.</summary>
    public static Shape Create(ReadOnlySpan<int> dimensions) => new(dimensions);

    /// <summary>Sizes compared one by one.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>The opposite of equality.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    /// <summary>Enumerates the sizes.</summary>
    public ReadOnlySpan<int>.Enumerator GetEnumerator() => Dimensions.GetEnumerator();

    /// <inheritdoc/>
    public bool Equals(Shape other) => Dimensions.SequenceEqual(other.Dimensions);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (int size in Dimensions) hash.Add(size);
        return hash.ToHashCode();
    }

    /// <summary>For example "[15, 12, 64]".</summary>
    public override string ToString() => $"[{string.Join(", ", _dimensions ?? [])}]";

    /// <summary>Index of a dimension, with negative numbers counted from the end.</summary>
    internal int Axis(int dimension)
    {
        int axis = dimension < 0 ? dimension + Rank : dimension;
        if ((uint)axis >= (uint)Rank)
            throw new ArgumentOutOfRangeException(nameof(dimension), dimension, $"shape {this} has {Rank} dimensions");
        return axis;
    }

    /// <summary>Strides, in elements, of a dense row-major block.</summary>
    internal long[] ContiguousStrides()
    {
        var strides = new long[Rank];
        long stride = 1;
        for (int i = Rank - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride *= Math.Max(1, Dimensions[i]);
        }
        return strides;
    }
}
