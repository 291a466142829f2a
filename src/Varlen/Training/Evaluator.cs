using Varlen.Data;
using Varlen.Models;
using Varlen.Text;

namespace Varlen.Training;

/// <summary>Measures how well a model predicts the held-out sequences of a plan.</summary>
/// <param name="model">The model; its training mode is restored afterwards.</param>
/// <param name="tokenizer">Tells the bytes that a token stands for.</param>
public sealed class Evaluator(CausalLanguageModel model, Tokenizer tokenizer)
{
    /// <summary>Evaluates. The result does not depend on how sequences are grouped, save for the order of one sum of batch losses.</summary>
    /// <param name="store">The tokens.</param>
    /// <param name="plan">Its <see cref="SequencePlan.HeldOut"/> sequences are taken.</param>
    /// <param name="batchTokens">Most tokens of a batch.</param>
    /// <param name="cancellationToken">Stops between batches.</param>
    /// <exception cref="ArgumentException">A sequence does not fit into a batch or the model.</exception>
    public EvaluationResult Run(TokenStore store, SequencePlan plan, int batchTokens, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(plan);
        bool training = model.IsTraining;
        model.Eval();
        try
        {
            using var region = GradMode.NoGrad();
            double loss = 0;
            long targets = 0, bytes = 0;
            foreach (PackedBatch batch in EvaluationBatches.Read(store, plan, batchTokens, model.Device))
            {
                using (batch)
                using (TensorScope.Begin())
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    loss += model.LossSum(batch).Item();
                    targets += batch.TargetCount;
                    foreach (int id in batch.Targets.ToArray<int>()) bytes += id < 0 ? 0 : tokenizer.Bytes(id).Length;
                }
            }
            int documents = 0, last = -1;
            foreach (SequenceChunk chunk in plan.HeldOut.Span)
            {
                if (chunk.Document != last) documents++;
                last = chunk.Document;
            }
            return new EvaluationResult(loss / targets, targets, bytes, documents);
        }
        finally
        {
            model.Train(training);
        }
    }
}
