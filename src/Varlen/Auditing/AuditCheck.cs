using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>What came of a check.</summary>
public enum AuditOutcome
{
    /// <summary>What is claimed was seen to hold.</summary>
    Holds,

    /// <summary>It does not hold; the detail names the first case.</summary>
    Fails,

    /// <summary>It could not be looked at here; the detail says why.</summary>
    NotRun,
}

/// <summary>What is checked.</summary>
public enum AuditArea
{
    /// <summary>Other documents of a batch change nothing.</summary>
    Isolation,

    /// <summary>Every strategy computes what each document alone gives.</summary>
    Equivalence,

    /// <summary>Targets stay in their documents, and ignored ones do not count.</summary>
    Labels,

    /// <summary>Every token is where it belongs, once.</summary>
    Ledger,
}

/// <summary>How far a result is from what it should be.</summary>
/// <param name="What">The quantity.</param>
/// <param name="Error">The largest error, relative to the largest value; 0 where nothing differs.</param>
/// <param name="Threshold">The error that is allowed; 0 where the same bits are asked for.</param>
public readonly record struct AuditMeasurement(string What, double Error, double Threshold);

/// <summary>One claim of an audit, and whether it holds.</summary>
/// <param name="Area">What it belongs to.</param>
/// <param name="Claim">What should hold.</param>
/// <param name="Outcome">Whether it does.</param>
/// <param name="Detail">What was looked at, or the first case in which it fails.</param>
/// <param name="Measurements">What was measured; empty where the claim is right or wrong without a measure.</param>
public sealed record AuditCheck(AuditArea Area, string Claim, AuditOutcome Outcome, string Detail, IReadOnlyList<AuditMeasurement> Measurements)
{
    internal static AuditCheck NotRun(AuditArea area, string claim, string why) => new(area, claim, AuditOutcome.NotRun, why, []);
}

/// <summary>A way to batch sequences that is audited: its name and what makes its batches.</summary>
/// <param name="Name">In a few words.</param>
/// <param name="Collator">Makes the batches.</param>
public sealed record AuditedStrategy(string Name, ICollator Collator)
{
    /// <summary>Why a batch is not one sequence for each document; null when it is.</summary>
    internal string? WrongSequences(IReadOnlyList<TokenSequence> documents, Device device)
    {
        using TokenBatch batch = Collator.Collate(documents, device);
        int[] lengths = [.. documents.Select(document => document.Tokens.Length)];
        return batch.Layout.Lengths.SequenceEqual(lengths) ? null : $"the batch has sequences of {string.Join(", ", batch.Layout.Lengths.ToArray())} tokens, and the documents have {string.Join(", ", lengths)}";
    }

    /// <summary>The native form: what training uses.</summary>
    public static AuditedStrategy Packed { get; } = new("packed", new ConcatCollator());

    /// <summary>All strategies.</summary>
    /// <param name="paddedLength">What the one that pads to a maximum pads to: at least the longest sequence.</param>
    public static IReadOnlyList<AuditedStrategy> All(int paddedLength) =>
    [
        Packed, new("flattened", new FlattenCollator()), new("block-diagonal", new BlockDiagonalCollator()), new("nested", new NestedCollator()),
        new("padded to the longest", new PadToLongestCollator()), new($"padded to {paddedLength}", new PadToMaximumCollator(paddedLength)),
        new("padded, unpadded around attention", new PadAndUnpadCollator(paddedLength)), new("dense document mask", new DocumentMaskCollator()),
    ];
}
