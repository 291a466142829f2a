using Varlen.Backends.Cpu;
using F = Varlen.Nn.Functional;

namespace Varlen.Nn;

/// <summary>A table of trainable rows, looked up by id, with the key "weight".</summary>
public sealed class Embedding : Module<Tensor, Tensor>
{
    /// <summary>Makes the table with PyTorch's initialisation: normal values, and zeros in the padding row.</summary>
    /// <param name="numEmbeddings">Rows: the size of the vocabulary.</param>
    /// <param name="embeddingDim">Features of a row.</param>
    /// <param name="paddingIndex">A row that starts at zero and takes no gradient; none when null.</param>
    /// <param name="seed">Seed of the initial values.</param>
    /// <param name="std">Standard deviation of the initial values.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is below 1, the padding index is outside of the table, or the deviation is negative or not finite.</exception>
    public Embedding(int numEmbeddings, int embeddingDim, int? paddingIndex = null, ulong seed = 0, double std = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(numEmbeddings, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(embeddingDim, 1);
        if (paddingIndex is { } row && (uint)row >= (uint)numEmbeddings)
            throw new ArgumentOutOfRangeException(nameof(paddingIndex), row, $"the table has rows 0 to {numEmbeddings - 1}");
        if (!(std >= 0 && double.IsFinite(std))) throw new ArgumentOutOfRangeException(nameof(std), std, "the standard deviation must be finite and not negative");
        PaddingIndex = paddingIndex;
        var values = new float[checked((long)numEmbeddings * embeddingDim)];
        RandomStream.Normal(seed, values, std);
        if (paddingIndex is { } padding) values.AsSpan(padding * embeddingDim, embeddingDim).Clear();
        Weight = Register("weight", new Parameter(Tensor.From(values, [numEmbeddings, embeddingDim])));
    }

    /// <summary>The table, <c>[rows, features]</c>.</summary>
    public Parameter Weight { get; }

    /// <summary>The row without a gradient, or null.</summary>
    public int? PaddingIndex { get; }

    /// <inheritdoc/>
    protected override Tensor ForwardCore(Tensor input) => F.Embedding(Weight, input, PaddingIndex);
}
