namespace Varlen.Data;

/// <summary>A run of tokens of one document that trains as one sequence: tokens [Start, Start + Length), whose targets are the tokens behind each.</summary>
/// <param name="Document">Index of the document.</param>
/// <param name="Start">First token, counted from the document's start.</param>
/// <param name="Length">Input tokens, and as many targets.</param>
public readonly record struct SequenceChunk(int Document, long Start, int Length)
{
    /// <summary>The same for this chunk in every batch and epoch: dropout is drawn from it.</summary>
    public ulong Key => Randomness.Mix(Randomness.Mix((ulong)(uint)Document) ^ (ulong)Start);
}
