// A training step on packed documents, as in PyTorch's tutorial on variable-length attention: three rows of 64 tokens, cut into
// documents by end-of-sequence tokens, go through a small transformer whose attention stays within each document. On the CPU, or with
// "--device cuda" on a GPU, where it prints the same.
using Varlen;
using Varlen.Models;
using Varlen.Optim;

Device device = args switch
{
    [] or ["--device", "cpu"] => Device.Cpu,
    ["--device", "cuda"] => Device.Cuda(),
    _ => throw new ArgumentException($"'{string.Join(' ', args)}' is not understood; the only option is --device cpu|cuda"),
};

const int batchSize = 3, sequenceLength = 64, vocabSize = 1000, embedDim = 128, numHeads = 4, eosId = 2;

// Random tokens, none of which happens to be the end of a document, and documents that end where the tutorial's printed offsets say.
var random = new Random(42);
int[] ids = [.. Enumerable.Range(0, batchSize * sequenceLength).Select(_ => random.Next(eosId + 1, vocabSize))];
int[][] ends = [[31, 46, 63], [27, 38, 63], [39, 48, 63]];
for (int row = 0; row < batchSize; row++)
    foreach (int end in ends[row]) ids[row * sequenceLength + end] = eosId;

using var layout = SequenceLayout.FromEos(ids, batchSize, sequenceLength, eosId);
Console.WriteLine($"cu_seq: [{string.Join(", ", layout.CuSeqlens.ToArray())}], max_len: {layout.MaxLength}");

using var model = new SimpleVarlenTransformer(vocabSize, embedDim, numHeads, seed: 42).To(device);
using var optimizer = new AdamW(model.Parameters(), learningRate: 1e-3);

using (TensorScope.Begin())
{
    Tensor tokens = Tensor.From(ids, [batchSize, sequenceLength], device);
    Tensor output = model.Forward(tokens, layout);
    Console.WriteLine($"output shape: {output.Shape}");

    // The mean of layer-normed features hardly depends on the weights, so a squared distance to a fixed target stands in as the loss.
    Tensor difference = output - Tensor.Randn(output.Shape, seed: 1, device: device);
    Tensor loss = (difference * difference).Mean();
    loss.Backward();
    optimizer.Step();
    Console.WriteLine($"loss: {loss.Item():F4}");
}
