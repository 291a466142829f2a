using Varlen.Cli.Training;
using Varlen.Data;

namespace Varlen.Cli.Inspection;

/// <summary>What was found in data, and what each way to batch it costs.</summary>
internal sealed record DataInspection(CorpusSummary Corpus, SequencePlan Plan, int BatchTokens, PackingReport[] Packings, BatchingWay[] Ways, TokenBudget Budget, WorkModel Work)
{
    /// <summary>Measures a corpus.</summary>
    public static DataInspection Of(CorpusSummary corpus, SequencePlan plan, int batchTokens, int vocabularySize) => new(corpus, plan, batchTokens,
        [.. PackingOption.Choices.Select(choice => PackingReport.Create(plan, batchTokens, choice.Value))],
        [
            .. PackingOption.Choices.Select(choice => new BatchingWay($"packed, {choice.Word}", choice.Word, BatchingCost.Packed(plan, batchTokens, choice.Value))),
            new("padded, sorted by length", "padded-sorted", BatchingCost.Padded(plan, batchTokens, PaddedGrouping.Sorted)),
            new("padded to the longest", "padded-longest", BatchingCost.Padded(plan, batchTokens, PaddedGrouping.ToLongest)),
            new($"padded to {plan.Context}", "padded-maximum", BatchingCost.Padded(plan, batchTokens, PaddedGrouping.ToMaximum)),
        ], TokenBudget.Recommend(plan), new WorkModel(Layers: 12, Width: 768, vocabularySize));

    /// <summary>What others are compared with.</summary>
    public BatchingWay Packed => Ways[0];
}

/// <summary>One way to batch.</summary>
/// <param name="Name">For people.</param>
/// <param name="Word">In JSON.</param>
/// <param name="Cost">What it costs.</param>
internal sealed record BatchingWay(string Name, string Word, BatchingCost Cost);

/// <summary>The operations of a training step of a model of GPT-2's shape, as bench step counts them.</summary>
/// <param name="Layers">Blocks.</param>
/// <param name="Width">Features of a token.</param>
/// <param name="VocabularySize">Ids.</param>
internal sealed record WorkModel(int Layers, int Width, int VocabularySize)
{
    /// <summary>Of linear layers: 2 for each token and weight, three times for forward and backward.</summary>
    public double Linear(BatchingCost cost) => 6.0 * cost.Tokens * (12.0 * Width * Width * Layers + (double)Width * VocabularySize);

    /// <summary>Of attention: 4 times the width for each score and layer, 3.5 times for forward and backward.</summary>
    public double Attention(BatchingCost cost) => 14.0 * Width * Layers * cost.Scores;

    /// <summary>Both.</summary>
    public double Total(BatchingCost cost) => Linear(cost) + Attention(cost);
}
