using F = Varlen.Nn.Functional;

namespace Varlen;

public sealed partial class Tensor
{
    /// <inheritdoc cref="F.Sum"/>
    public Tensor Sum(ReadOnlySpan<int> dimensions = default, bool keepDimensions = false) => F.Sum(this, dimensions, keepDimensions);

    /// <inheritdoc cref="F.Mean"/>
    public Tensor Mean(ReadOnlySpan<int> dimensions = default, bool keepDimensions = false) => F.Mean(this, dimensions, keepDimensions);

    /// <inheritdoc cref="F.Max"/>
    public Tensor Max(ReadOnlySpan<int> dimensions = default, bool keepDimensions = false) => F.Max(this, dimensions, keepDimensions);
}
