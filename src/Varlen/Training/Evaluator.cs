using Varlen.Data;
using Varlen.Models;
using Varlen.Ops;
using Varlen.Text;

namespace Varlen.Training;

/// <summary>Measures how well a model predicts the held-out sequences of a plan.</summary>
/// <param name="model">The model; its training mode is restored afterwards.</param>
/// <param name="tokenizer">Tells the bytes that a token stands for.</param>
public sealed class Evaluator(CausalLanguageModel model, Tokenizer tokenizer)
{
    /// <summary>Whether the device records the step and replays it on all batches: see <see cref="CapturedStep"/>.</summary>
    public bool Capture { get; init; }

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
            // Summed where the losses are, and read once.
            using Tensor loss = Tensor.AllocateUntracked([], DType.Float64, model.Device).Keep();
            ElementwiseCopy.Fill(loss, 0);
            using CapturedStep? captured = Capture ? new(model, BatchLimits.Of(plan.HeldOut.Span, batchTokens), batches => AddLoss(batches[0], loss)) : null;
            long targets = 0;
            foreach (PackedBatch batch in EvaluationBatches.Read(store, plan, batchTokens, Capture ? Device.Cpu : model.Device))
            {
                using (batch)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    if (captured is null) AddLoss(batch, loss);
                    else captured.Run(batch);
                    targets += batch.TargetCount;
                }
            }
            (long bytes, int documents) = Count(store, plan);
            return new EvaluationResult(loss.Item() / targets, targets, bytes, documents);
        }
        finally
        {
            model.Train(training);
        }
    }

    private void AddLoss(TokenBatch batch, Tensor loss)
    {
        using TensorScope scope = TensorScope.Begin();
        ElementwiseCopy.Copy(model.LossSum(batch), loss, accumulate: true);
    }

    // Bytes of text that the targets stand for, and documents.
    private (long Bytes, int Documents) Count(TokenStore store, SequencePlan plan)
    {
        var targets = new int[plan.Context];
        long bytes = 0;
        int documents = 0, last = -1;
        foreach (SequenceChunk chunk in plan.HeldOut.Span)
        {
            store.CopyTargets(chunk.Document, chunk.Start + 1, targets.AsSpan(0, chunk.Length));
            foreach (int id in targets.AsSpan(0, chunk.Length))
                if (id != PackedBatch.IgnoreIndex) bytes += tokenizer.Bytes(id).Length;
            if (chunk.Document != last) documents++;
            last = chunk.Document;
        }
        return (bytes, documents);
    }
}
