namespace Varlen.Data;

/// <summary>How a <see cref="PackedLoader"/> makes batches.</summary>
public sealed record LoaderOptions
{
    /// <summary>Most tokens of a batch; at least the plan's context.</summary>
    public int BatchTokens { get; init; } = 4096;

    /// <summary>How sequences are grouped.</summary>
    public PackingPolicy Policy { get; init; } = PackingPolicy.BestFit;

    /// <summary>Seed of the order.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Batches that are read ahead; changes no batch.</summary>
    public int Prefetch { get; init; } = 2;
}

/// <summary>Where a <see cref="PackedLoader"/> stands: the next batch it gives. To be stored with a checkpoint.</summary>
/// <param name="Plan">Fingerprint of all that decides the batches, so that a position is not used with other data or settings.</param>
/// <param name="Epoch">The epoch of the next batch, from 0.</param>
/// <param name="Batch">The next batch in its epoch, from 0.</param>
/// <param name="Batches">Batches given so far, in all epochs.</param>
/// <param name="Tokens">Their tokens.</param>
public sealed record LoaderPosition(string Plan, int Epoch, int Batch, long Batches, long Tokens);
