namespace Varlen.Data;

/// <summary>Where the tokens of a corpus went, as inputs and as targets. Made only when it balances.</summary>
/// <param name="Inputs">Tokens that predict the next one.</param>
/// <param name="Targets">Tokens that are predicted.</param>
public sealed record TokenLedger(TokenCount Inputs, TokenCount Targets)
{
    internal TokenLedger Balanced()
    {
        Inputs.RequireBalance(nameof(Inputs));
        Targets.RequireBalance(nameof(Targets));
        return this;
    }
}

/// <summary>One side of a <see cref="TokenLedger"/>.</summary>
/// <param name="Read">Tokens of the corpus, ends of text included.</param>
/// <param name="Trained">Those of an epoch of training.</param>
/// <param name="HeldOut">Those kept for evaluation.</param>
/// <param name="Ends">Those without a counterpart: the last token of a document predicts nothing, and nothing predicts the first.</param>
/// <param name="Ignored">Targets that count in neither loss nor denominator, such as those of a prompt; as inputs they are read like all others.</param>
/// <param name="Dropped">Those left out, by reason.</param>
public sealed record TokenCount(long Read, long Trained, long HeldOut, long Ends, long Ignored, IReadOnlyDictionary<string, long> Dropped)
{
    /// <summary>The reason of whole sequences that are left out because none of their targets is trained.</summary>
    public const string NoTrainedTarget = "no trained target";

    internal void RequireBalance(string side)
    {
        long known = Trained + HeldOut + Ends + Ignored + Dropped.Values.Sum();
        if (known != Read) throw new InvalidOperationException($"the ledger of {side} does not balance: {Read} tokens were read, and {known} are accounted for ({Trained} trained, {HeldOut} held out, {Ends} ends, {Ignored} ignored, {Dropped.Values.Sum()} dropped)");
    }
}
