using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Auditing;

/// <summary>Runs a model on batches for comparison, with gradients for the embeddings that it reads.</summary>
internal sealed class AuditedModel(CausalLanguageModel model)
{
    private readonly IReadOnlyList<Parameter> _parameters = model.Parameters();

    public Device Device => model.Device;

    public int VocabularySize => model.VocabularySize;

    public CausalLanguageModel Model => model;

    /// <summary>Whether the same bits are promised for whatever else a batch holds.</summary>
    public bool IsExact => model.Device == Device.Cpu || model.Device.IsDeterministic;

    /// <summary>Forward and backward of a batch.</summary>
    /// <param name="batch">The batch; disposed.</param>
    /// <param name="change">Changes the embeddings on the host before the model reads them: row after row of the model's width.</param>
    /// <param name="gradients">Whether there is a backward pass.</param>
    public BatchResult Run(TokenBatch batch, Action<double[]>? change = null, bool gradients = true)
    {
        model.ZeroGrad();
        BatchResult result = Pass(batch, change, gradients);
        result = result with { ParameterGradients = gradients ? Gradients() : [] };
        model.ZeroGrad();
        return result;
    }

    /// <summary>Each sequence in a batch of its own, as if the results were those of one packed batch: gradients added up.</summary>
    public BatchResult RunAlone(IReadOnlyList<TokenSequence> sequences)
    {
        model.ZeroGrad();
        using TensorScope scope = TensorScope.Begin();
        List<BatchResult> each = [.. sequences.Select(sequence => Pass(PackedBatch.Create([sequence], Device), null, gradients: true))];
        var rows = new (int, int)[each.Count];
        for (int i = 0, first = 0; i < rows.Length; first += each[i].Logits.Shape[0], i++) rows[i] = (first, each[i].Logits.Shape[0]);
        using GradMode.Region region = GradMode.NoGrad();
        var result = new BatchResult(rows, F.Concat([.. each.Select(one => one.Logits)]).Keep(), each.Sum(one => one.Loss), F.Concat([.. each.Select(one => one.InputGradient!)]).Keep(), Gradients());
        foreach (BatchResult one in each) one.Dispose();
        model.ZeroGrad();
        return result;
    }

    private BatchResult Pass(TokenBatch batch, Action<double[]>? change, bool gradients)
    {
        using (batch)
        using (TensorScope.Begin())
        {
            var rows = new (int, int)[batch.Layout.Count];
            for (int i = 0; i < rows.Length; i++) rows[i] = RowsOf(batch, i);
            Tensor embeddings = Embeddings(batch, change);
            Tensor logits = Logits(batch, embeddings);
            if (!gradients) return new(rows, logits, 0, null, []);
            embeddings.RequiresGrad = true;
            Tensor loss = model.LossSum(batch, embeddings);
            loss.Backward();
            Tensor input = (embeddings.Grad ?? Tensor.Zeros(embeddings.Shape, embeddings.DType, Device)).Clone().Keep();
            return new(rows, logits, loss.Item(), input, []);
        }
    }

    /// <summary>Rows of a sequence: under every strategy they follow each other.</summary>
    public static (int First, int Count) RowsOf(TokenBatch batch, int sequence)
    {
        int count = batch.Layout[sequence].Length;
        return count == 0 ? (0, 0) : (batch.LastRow(sequence) - count + 1, count);
    }

    private Tensor Logits(TokenBatch batch, Tensor embeddings)
    {
        using GradMode.Region region = GradMode.NoGrad();
        return model.Logits(batch, embeddings).Keep();
    }

    private Tensor?[] Gradients() => [.. _parameters.Select(parameter => parameter.Grad?.Clone().Keep())];

    private Tensor Embeddings(TokenBatch batch, Action<double[]>? change)
    {
        using GradMode.Region region = GradMode.NoGrad();
        Tensor embeddings = model.InputEmbeddings(batch);
        if (change is null) return embeddings.Clone();
        double[] values = embeddings.ToArray<double>();
        change(values);
        // Converted on the host: a GPU has no doubles.
        return Tensor.From(values, embeddings.Shape).To(dtype: embeddings.DType).To(Device).Clone();
    }
}
