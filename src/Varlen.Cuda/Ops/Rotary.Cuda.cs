using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IRotaryKernels
{
    private const int MostFrequencies = RotaryFrequencies.Most, RotaryTable = 2048, RotaryThreads = 256, RotaryUnroll = 2;

    private static readonly KernelFamily RotaryKernel = new("rotary.cu", "rotary", KernelOption.FloatingPoint("ELEMENT"));

    public void Rotate(Tensor input, Tensor positions, Rotation rotation, GradientTarget output)
    {
        RequireComputeType("Rotary", input);
        if (!output.IsWanted || input.Count == 0) return;
        Tensor target = output.Tensor!;
        (int tokens, int heads, int half, int elements) = (input.Shape[0], input.Shape[1], rotation.Frequencies.Values.Length, 16 / input.DType.Size());
        int chunkPairs = Math.Clamp((half + elements - 1) / elements * elements, elements, MostFrequencies), chunks = Math.Max(1, (half + chunkPairs - 1) / chunkPairs);
        int headItems = chunkPairs / elements, tokenItems = checked(heads * headItems);
        // Enough for every thread of a block, and as many tokens as that takes: the more heads, the fewer.
        int tileTokens = Math.Clamp((RotaryThreads * RotaryUnroll + tokenItems - 1) / tokenItems, 1, RotaryTable / chunkPairs);
        var arguments = new RotaryArguments
        {
            Input = input.Pointer, Output = TargetArgument.From(output), Positions = positions.Pointer,
            Tokens = tokens, InputToken = input.Strides[0], InputHead = input.Strides[1], OutputToken = target.Strides[0], OutputHead = target.Strides[1],
            Heads = heads, Dim = input.Shape[2], Half = half, Interleaved = rotation.Interleaved ? 1 : 0, Inverse = rotation.Inverse ? 1 : 0,
            IsVector = half % elements == 0 && (target.DType == input.DType || target.DType == DType.Float32) && Fits(input) && Fits(target) ? 1 : 0,
            TileTokens = tileTokens, ChunkPairs = chunkPairs, Chunks = chunks, TokenItems = new(tokenItems), HeadItems = new(headItems), TablePairs = new(chunkPairs), Theta = rotation.Frequencies.Theta ?? 0,
        };
        rotation.Frequencies.Values[..Math.Min(half, MostFrequencies)].CopyTo(arguments.Frequencies);
        Launch(RotaryKernel.With(input.DType), (tokens + tileTokens - 1L) / tileTokens * chunks, RotaryThreads, in arguments);

        bool Fits(Tensor tensor)
            => IsAligned(tensor.Pointer) && (tokens == 1 || tensor.Strides[0] % elements == 0) && (heads == 1 || tensor.Strides[1] % elements == 0);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct RotaryArguments
    {
        public nint Input;
        public TargetArgument Output;
        public nint Positions;
        public long Tokens, InputToken, InputHead, OutputToken, OutputHead;
        public int Heads, Dim, Half, Interleaved, Inverse, IsVector, TileTokens, ChunkPairs, Chunks;
        public Divider TokenItems, HeadItems, TablePairs;
        public double Theta;
        public FrequencyValues Frequencies;
    }

    [InlineArray(MostFrequencies)]
    private struct FrequencyValues
    {
        private double _first;
    }
}
