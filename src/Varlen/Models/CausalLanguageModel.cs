using Varlen.Data;
using Varlen.Nn;
using Varlen.Ops;
using Varlen.Optim;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>A model that predicts each token's successor: a batch of any kind to logits <c>[rows, vocabulary]</c>.</summary>
public abstract class CausalLanguageModel : Module<TokenBatch, Tensor>
{
    /// <summary>Number of token ids.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Longest sequence.</summary>
    public abstract int MaxLength { get; }

    /// <summary>Blocks, each with one attention layer.</summary>
    public abstract int Layers { get; }

    /// <summary>Attention heads of a layer.</summary>
    public abstract int Heads { get; }

    /// <summary>Heads of keys and values; fewer than <see cref="Heads"/> where queries share them.</summary>
    public virtual int KeyValueHeads => Heads;

    /// <summary>Ids that end a text, as far as the configuration says.</summary>
    public virtual IReadOnlyList<int> EndOfText => [];

    /// <summary>Width of the activations.</summary>
    public int Width => Head.Weight.Shape[1];

    /// <summary>Features of an attention head.</summary>
    public abstract int HeadDim { get; }

    /// <summary>
    /// Seed and step that dropout draws from: the ones of the optimiser. Needed in training mode by a model with dropout, and by no other. Not owned.
    /// </summary>
    public StepState? StepState { get; set; }

    /// <summary>Device of the weights.</summary>
    public Device Device => Head.Weight.Master.Device;

    /// <summary>Element type that the model computes in.</summary>
    public DType DType => Head.Weight.Value.DType;

    /// <summary>The output layer's weight, <c>[vocabulary, width]</c>, and bias.</summary>
    protected abstract (Parameter Weight, Parameter? Bias) Head { get; }

    /// <summary>Reads a model from a folder that <see cref="SavePretrained"/> or <c>transformers</c> wrote.</summary>
    /// <param name="folder">Holds <c>config.json</c>, whose <c>model_type</c> decides, and <c>model.safetensors</c>, or shards and their index.</param>
    /// <param name="device">Where to put it; the CPU when null.</param>
    /// <param name="dtype">What it computes in.</param>
    /// <exception cref="CheckpointFormatException">A file breaks its format, asks for what is not supported, or the weights do not fit; the message says where.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static CausalLanguageModel FromPretrained(string folder, Device? device = null, DType dtype = DType.Float32)
        => ModelConfigFile.Open(folder).ModelType switch
        {
            Gpt2Config.ModelType => Gpt2Model.FromPretrained(folder, device, dtype),
            LlamaConfig.Llama or LlamaConfig.Qwen2 or LlamaConfig.Mistral => LlamaModel.FromPretrained(folder, device, dtype),
            DecoderConfig.ModelType => Decoder.FromPretrained(folder, device, dtype),
            _ => throw ModelConfigFile.Open(folder).UnknownModel(),
        };

    /// <summary>Makes a model with initial weights from the <c>config.json</c> of a folder.</summary>
    /// <param name="folder">Holds <c>config.json</c>.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="CheckpointFormatException">The file breaks its format or asks for what is not supported; the message says where.</exception>
    /// <exception cref="IOException">The file is missing or cannot be read.</exception>
    public static CausalLanguageModel FromConfig(string folder, ulong seed = 0)
    {
        ModelConfigFile file = ModelConfigFile.Open(folder);
        return file.ModelType switch
        {
            Gpt2Config.ModelType => new Gpt2Model(Gpt2Config.Read(file), seed),
            LlamaConfig.Llama or LlamaConfig.Qwen2 or LlamaConfig.Mistral => new LlamaModel(LlamaConfig.Read(file), seed),
            DecoderConfig.ModelType => new Decoder(DecoderConfig.Read(file), seed),
            _ => throw file.UnknownModel(),
        };
    }

    /// <summary>Writes <c>config.json</c> and <c>model.safetensors</c>; each file is replaced whole or left as it was.</summary>
    /// <param name="folder">Made when missing.</param>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void SavePretrained(string folder)
    {
        PretrainedWeights.Save(this, folder);
        SaveConfig(folder);
    }

    /// <summary>Writes <c>config.json</c> alone: what <see cref="FromConfig"/> reads.</summary>
    /// <param name="folder">An existing folder.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public abstract void SaveConfig(string folder);

    /// <summary>Where the tensors of a saved model lie in the parameters: each a parameter under its own name, or rows of a fused one.</summary>
    internal virtual IEnumerable<PretrainedTensor> PretrainedTensors() => NamedParameters().Select(entry => PretrainedTensor.Whole(entry.Key, entry.Value));

    /// <summary>
    /// Sum of the cross entropies of the batch's targets, in nats; divide by <see cref="TokenBatch.TargetCount"/>. Logits never exist beside
    /// their gradient.
    /// </summary>
    /// <param name="batch">The batch.</param>
    /// <param name="embeddings">What stands in for <see cref="InputEmbeddings"/>, of their shape and type; the batch's own when null.</param>
    /// <exception cref="ArgumentException">An id is not in the vocabulary, a sequence is longer than the model's positions, or the embeddings do not fit.</exception>
    public Tensor LossSum(TokenBatch batch, Tensor? embeddings = null)
    {
        Check(batch);
        using var frame = TensorScope.Begin();
        return frame.Return(F.LinearCrossEntropy(Features(batch, Fitting(batch, embeddings)), Head.Weight, Head.Bias, batch.Targets, PackedBatch.IgnoreIndex));
    }

    /// <summary>What the first block reads, <c>[rows, width]</c>: the tokens' embeddings, and those of learned positions. HuggingFace's <c>inputs_embeds</c>.</summary>
    /// <exception cref="ArgumentException">An id is not in the vocabulary, or a sequence is longer than the model's positions.</exception>
    public Tensor InputEmbeddings(TokenBatch batch)
    {
        Check(batch);
        using var frame = TensorScope.Begin();
        return frame.Return(Embed(batch));
    }

    /// <summary>Logits of every row as <see cref="Module{TokenBatch, Tensor}.Forward"/> gives them, from other embeddings.</summary>
    /// <param name="batch">The batch; its tokens are not read.</param>
    /// <param name="embeddings">What stands in for <see cref="InputEmbeddings"/>, of their shape and type.</param>
    /// <exception cref="ArgumentException">A sequence is longer than the model's positions, or the embeddings do not fit.</exception>
    public Tensor Logits(TokenBatch batch, Tensor embeddings)
    {
        ArgumentNullException.ThrowIfNull(embeddings);
        Check(batch);
        using var frame = TensorScope.Begin();
        return frame.Return(F.Linear(Features(batch, Fitting(batch, embeddings)), Head.Weight, Head.Bias?.Value));
    }

    /// <summary>Logits of what follows each sequence, <c>[sequences, vocabulary]</c>: only their rows go through the output layer.</summary>
    /// <exception cref="ArgumentException">A sequence is empty, an id is not in the vocabulary, or a sequence is longer than the model's positions.</exception>
    public Tensor LastLogits(TokenBatch batch)
    {
        Check(batch);
        int[] rows = new int[batch.Layout.Count], inverse = new int[batch.Rows];
        Array.Fill(inverse, -1);
        for (int i = 0; i < rows.Length; i++) inverse[rows[i] = batch.LastRow(i)] = i;
        using var frame = TensorScope.Begin();
        Tensor features = Features(batch, Embed(batch));
        Tensor last = rows.Length == batch.Rows ? features : RowGather.Run(nameof(LastLogits), features, Indices(rows), Indices(inverse), [rows.Length, features.Shape[1]], 0);
        return frame.Return(F.Linear(last, Head.Weight, Head.Bias?.Value));

        Tensor Indices(int[] of) => Tensor.From(of, [of.Length], features.Device);
    }

    /// <summary>As <see cref="LastLogits(TokenBatch)"/> of a batch whose rows are a sequence each, into memory that was there before and whose rows may lie apart.</summary>
    internal void LastLogits(TokenBatch batch, Tensor logits)
    {
        Check(batch);
        using var frame = TensorScope.Begin();
        Tensor features = Matrix.Fitting(Features(batch, Embed(batch))), weight = Matrix.Fitting(Head.Weight);
        var output = new Matrix(logits.Pointer, logits.DType, logits.Shape[0], logits.Shape[1], logits.Strides[0]);
        Op.Require<IMatrixProductKernels>(nameof(LastLogits), features, weight).Multiply(Matrix.From(features), Matrix.From(weight).Transposed, output, accumulate: false, Head.Bias);
    }

    /// <summary>Logits of every row, <c>[rows, vocabulary]</c>; those of padding mean nothing.</summary>
    protected override Tensor ForwardCore(TokenBatch input)
    {
        Check(input);
        return F.Linear(Features(input, Embed(input)), Head.Weight, Head.Bias?.Value);
    }

    /// <summary>What the first block reads, <c>[rows, width]</c>, before dropout.</summary>
    protected abstract Tensor Embed(TokenBatch batch);

    /// <summary>What the output layer reads, <c>[rows, width]</c>.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="embedded">What <see cref="Embed"/> gave for it, or what stands in for that.</param>
    protected abstract Tensor Features(TokenBatch batch, Tensor embedded);

    private Tensor Fitting(TokenBatch batch, Tensor? embeddings)
    {
        if (embeddings is null) return Embed(batch);
        int width = Head.Weight.Shape[1];
        if (embeddings.Shape.Rank != 2 || embeddings.Shape[0] != batch.Rows || embeddings.Shape[1] != width || embeddings.DType != DType || embeddings.Device != Device)
            throw new ArgumentException($"the embeddings are {embeddings.DType} {embeddings.Shape} on {embeddings.Device}; the model reads {DType} [{batch.Rows}, {width}] on {Device}", nameof(embeddings));
        return embeddings;
    }

    /// <summary>Refuses ids and positions that the model has no rows for: on the host, because no device is asked.</summary>
    internal void Check(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.LargestToken >= VocabularySize)
            throw new ArgumentOutOfRangeException(nameof(batch), batch.LargestToken, $"the batch has the id {batch.LargestToken}, and the model's vocabulary has the ids 0 to {VocabularySize - 1}; tokenizer and model must be of one vocabulary");
        if (batch.LargestPosition >= MaxLength)
            throw new ArgumentException($"the batch has a sequence with position {batch.LargestPosition}, and the model has positions 0 to {MaxLength - 1}; cut sequences to {MaxLength} tokens with TokenSequence.Cut", nameof(batch));
    }
}
