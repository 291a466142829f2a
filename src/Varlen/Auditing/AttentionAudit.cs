using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Attention by itself: the same bits on every device, and nothing from behind a causal mask.</summary>
internal sealed class AttentionAudit(AuditedModel model, AuditedStrategy strategy, IReadOnlyList<TokenSequence> documents, ulong seed)
{
    private readonly IReadOnlyList<AskedAttention> _asked = [.. AskedAttention.Of(model, documents[0]).Distinct()];

    /// <summary>All checks.</summary>
    public IReadOnlyList<AuditCheck> Run() => strategy.WrongSequences(documents, model.Device) is null ? [Forward(), Causal()] : [];

    private AuditCheck Forward()
    {
        string claim = $"{strategy.Name}, attention alone: others removed, or NaN";
        using GradMode.Region region = GradMode.NoGrad();
        var comparison = new Comparison(AuditArea.Isolation, claim);
        int probe = documents.Count / 2;
        foreach (AskedAttention asked in _asked)
        {
            using TensorScope scope = TensorScope.Begin();
            using TokenBatch all = strategy.Collator.Collate(documents, model.Device), alone = strategy.Collator.Collate([documents[probe]], model.Device);
            (int first, int count) = AuditedModel.RowsOf(all, probe);
            (int own, _) = AuditedModel.RowsOf(alone, 0);
            double[][] values = [Values(all.Rows * asked.Heads * asked.HeadDim, 0), Values(all.Rows * asked.KeyHeads * asked.HeadDim, 1), Values(all.Rows * asked.KeyHeads * asked.HeadDim, 2)];
            double[][] poisoned = [.. values.Select(part => (double[])part.Clone())];
            for (int other = 0; other < documents.Count; other++)
            {
                (int begin, int rows) = AuditedModel.RowsOf(all, other);
                if (other == probe) continue;
                foreach (double[] part in poisoned) part.AsSpan(begin * (part.Length / all.Rows), rows * (part.Length / all.Rows)).Fill(double.NaN);
            }
            Tensor expected = Attend(all, asked, values).Narrow(0, first, count);
            comparison.Add("attention", $"document {probe} of {count} tokens", Difference.Between(expected, Attend(all, asked, poisoned).Narrow(0, first, count)), 0, 1);
            double[][] kept = [.. values.Select(part =>
            {
                int width = part.Length / all.Rows;
                var moved = new double[alone.Rows * width];
                part.AsSpan(first * width, count * width).CopyTo(moved.AsSpan(own * width));
                return moved;
            })];
            comparison.Add("attention", $"document {probe} of {count} tokens", Difference.Between(expected, Attend(alone, asked, kept).Narrow(0, own, count)), 0, 1);
        }
        return comparison.ToCheck($"a document of {documents[probe].Tokens.Length} tokens among {documents.Count}");
    }

    private AuditCheck Causal()
    {
        string claim = $"{strategy.Name}: no token sees what comes after it";
        int probe = Enumerable.Range(0, documents.Count).MaxBy(i => documents[i].Tokens.Length), length = documents[probe].Tokens.Length;
        if (_asked.Any(asked => !asked.Layer.Causal)) return AuditCheck.NotRun(AuditArea.Isolation, claim, "the model is not causal: each token sees its whole document");
        if (length < 2) return AuditCheck.NotRun(AuditArea.Isolation, claim, "no document has two tokens");
        var comparison = new Comparison(AuditArea.Isolation, claim);
        foreach (int changed in new[] { 1, length / 2, length - 1 }.Distinct())
        {
            int[] tokens = documents[probe].Tokens.ToArray();
            tokens[changed] = (tokens[changed] + 1) % model.VocabularySize;
            TokenSequence[] other = [.. documents];
            other[probe] = other[probe] with { Tokens = tokens };
            using BatchResult expected = model.Run(strategy.Collator.Collate(documents, model.Device), gradients: false), actual = model.Run(strategy.Collator.Collate(other, model.Device), gradients: false);
            using TensorScope scope = TensorScope.Begin();
            int first = expected.Rows[probe].First;
            comparison.Add("logits", $"document {probe} of {length} tokens, before token {changed}", Difference.Between(expected.Logits.Narrow(0, first, changed), actual.Logits.Narrow(0, first, changed)), 0, 1);
        }
        return comparison.ToCheck($"a document of {length} tokens");
    }

    private Tensor Attend(TokenBatch batch, AskedAttention asked, double[][] values)
    {
        return batch.Attention.Attend(Rows(values[0], asked.Heads), Rows(values[1], asked.KeyHeads), Rows(values[2], asked.KeyHeads), asked.Layer);

        // Converted on the host: a GPU has no doubles.
        Tensor Rows(double[] part, int heads) => Tensor.From(part, [batch.Rows, heads, asked.HeadDim]).To(dtype: model.Model.DType).To(model.Device);
    }

    private double[] Values(int count, ulong part)
    {
        var random = new Randomness(seed + part);
        var values = new double[count];
        foreach (ref double value in values.AsSpan()) value = random.Next(4001) / 1000.0 - 2;
        return values;
    }
}
