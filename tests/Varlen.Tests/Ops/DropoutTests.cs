using Varlen.Backends.Cpu;
using Varlen.Nn;
using Varlen.Optim;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class DropoutTests
{
    [Theory]
    [InlineData(0, 4)]
    [InlineData(1, 1)]
    [InlineData(3, 5)]
    [InlineData(2, 67)]
    public void GradientsMatchFiniteDifferences(int rows, int features)
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 1);
        GradCheck.Run(x => F.Dropout(x[0], 0.4, state, layer: 3), [Tensor.Randn([rows, features], 1, DType.Float64)]);
    }

    /// <summary>The definition of the mask, word by word: other backends must give the same one.</summary>
    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void DropsWhatTheCountersSay(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        const ulong seed = 0x0123456789ABCDEF, document = 0xFEDCBA9876543210;
        const long step = 0x5_0000_0007;
        const int layer = 21, features = 131;
        using var state = new StepState(seed: seed);
        state.Begin(step, 0.1);
        int[] positions = [5, 0, 70000, 6];
        var keys = new DropoutKeys(Tensor.From([unchecked((long)document), 0, unchecked((long)document), 1], [4]), Tensor.From(positions, [4]));
        double[] y = F.Dropout(Tensor.Ones([4, features], dtype), 0.25, state, layer, keys).ToArray<double>();
        double kept = dtype == DType.BFloat16 ? (float)(BFloat16)(1 / 0.75f) : dtype == DType.Float32 ? (float)(1 / 0.75) : 1 / 0.75;
        for (int row = 0; row < 4; row++)
        {
            ulong key = row is 0 or 2 ? document : row == 1 ? 0UL : 1UL;
            (uint k0, uint k1, _, _) = Philox.Block((uint)key, (uint)(key >> 32), 7, (5u << 16) | layer, (uint)(seed & 0xFFFFFFFF), (uint)(seed >> 32));
            for (int f = 0; f < features; f++)
            {
                (uint w0, uint w1, uint w2, uint w3) = Philox.Block((uint)f >> 2, (uint)positions[row], 0, 1, k0, k1);
                uint word = (f & 3) switch { 0 => w0, 1 => w1, 2 => w2, _ => w3 };
                Assert.Equal(word < 1u << 30 ? 0 : kept, y[row * features + f]);
            }
        }
    }

    /// <summary>Bit for bit: what is dropped, and the rounding of what is kept.</summary>
    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void CudaGivesTheBitsOfTheCpu(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using StepState here = new(seed: 0x0123456789ABCDEF), there = new(cuda, seed: 0x0123456789ABCDEF);
        foreach (StepState state in (StepState[])[here, there]) state.Begin(0x5_0000_0007, 0.1);
        foreach ((int rows, int features) in (ReadOnlySpan<(int, int)>)[(0, 4), (1, 1), (3, 5), (7, 131), (20, 64), (300, 8), (2, 1048)])
        {
            Tensor x = Tensor.Randn([rows, features], 1, dtype), dy = Tensor.Randn([rows, features], 2, dtype);
            long[] documents = [.. Enumerable.Range(0, rows).Select(i => unchecked((long)0xFEDCBA9876543210) + i / 3)];
            int[] positions = [.. Enumerable.Range(0, rows).Select(i => i * 70001 % 131)];
            foreach (bool hasKeys in (bool[])[false, true])
            {
                Tensor[] expected = Compute(x.Clone(), dy, here, hasKeys), actual = Compute(x.To(cuda).Clone(), dy.To(cuda), there, hasKeys);
                for (int i = 0; i < expected.Length; i++) Numeric.AssertSameBits(expected[i], actual[i].To(Device.Cpu));
            }

            Tensor[] Compute(Tensor input, Tensor gradient, StepState state, bool hasKeys)
            {
                DropoutKeys keys = hasKeys ? new(Tensor.From(documents, [rows], input.Device), Tensor.From(positions, [rows], input.Device)) : default;
                input.RequiresGrad = true;
                Tensor y = F.Dropout(input, 0.3, state, 21, keys);
                y.Backward(gradient);
                Tensor once = input.Grad!.Clone();
                F.Dropout(input * 1.0, 0.3, state, 21, keys).Backward(gradient);
                return [y, once, input.Grad!];
            }
        }
    }

    [Fact]
    public void CudaReadsStepAndSeedFromTheDevice()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using StepState state = new(cuda, seed: 3);
        Tensor x = Tensor.Ones([10, 40], device: cuda);
        state.Begin(1, 0.1);
        float[] first = F.Dropout(x, 0.3, state).ToArray<float>(), again = F.Dropout(x, 0.3, state).ToArray<float>();
        state.Begin(2, 0.1);
        Assert.Equal(first, again);
        Assert.NotEqual(first, F.Dropout(x, 0.3, state).ToArray<float>());
        Assert.Equal(F.Dropout(Tensor.Ones([1, 100], device: cuda), 0.5, state).ToArray<float>().Select(v => v == 0 ? 0 : float.NaN), F.Dropout(Tensor.Full([1, 100], double.NaN, device: cuda), 0.5, state).ToArray<float>());
    }

    [Fact]
    public unsafe void BlocksOfCountersMatchSingleOnes()
    {
        uint* words = stackalloc uint[4 * 50];
        foreach (int count in (int[])[0, 1, 7, 8, 12, 16, 27, 50])
        {
            Philox.Columns(uint.MaxValue - 3, 5, 6, 7, 8, 9, count, words);
            for (int i = 0; i < count; i++)
                Assert.Equal(Philox.Block(uint.MaxValue - 3 + (uint)i, 5, 6, 7, 8, 9), (words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]));
        }
    }

    [Fact]
    public void TheMaskFollowsTheToken()
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 2);
        state.Begin(4, 0.1);
        Tensor x = Tensor.Ones([7, 40]);
        using SequenceLayout layout = SequenceLayout.FromLengths([3, 4]).WithDocumentKeys([11, 22]), swapped = SequenceLayout.FromLengths([4, 3]).WithDocumentKeys([22, 11]);
        float[] y = F.Dropout(x, 0.5, state, 1, DropoutKeys.From(layout)).ToArray<float>(), z = F.Dropout(x, 0.5, state, 1, DropoutKeys.From(swapped)).ToArray<float>();
        Assert.Equal(y[..120], z[160..]);
        Assert.Equal(y[120..], z[..160]);
        Assert.NotEqual(y[..120], y[120..240]);
    }

    [Fact]
    public void StepsLayersAndSeedsDropIndependently()
    {
        using TensorScope scope = TensorScope.Begin();
        using StepState state = new(seed: 3), other = new(seed: 4);
        Tensor x = Tensor.Ones([100, 200]);
        state.Begin(1, 0.1);
        float[] first = F.Dropout(x, 0.3, state).ToArray<float>(), layer = F.Dropout(x, 0.3, state, 1).ToArray<float>(), again = F.Dropout(x, 0.3, state).ToArray<float>();
        state.Begin(2, 0.1);
        other.Begin(1, 0.1);
        float[] step = F.Dropout(x, 0.3, state).ToArray<float>(), seed = F.Dropout(x, 0.3, other).ToArray<float>();
        Assert.Equal(first, again);
        // Five standard deviations of a count of 20000 draws.
        double five = 5 * Math.Sqrt(20000 * 0.3 * 0.7);
        Assert.Equal(6000, first.Count(v => v == 0), five);
        foreach (float[] mask in (float[][])[layer, step, seed])
            Assert.Equal(20000 * 0.09, first.Zip(mask).Count(pair => pair.First == 0 && pair.Second == 0), 5 * Math.Sqrt(20000 * 0.09 * 0.91));
    }

    [Fact]
    public void ReturnsTheInputWhenNothingIsDropped()
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState();
        Tensor x = Tensor.Ones([2, 3]);
        Assert.Same(x, F.Dropout(x, 0.5, state, training: false));
        Assert.Same(x, F.Dropout(x, 0, state));
        using var layer = new Dropout(0.5, state);
        layer.Eval();
        Assert.Equal(x.ToArray<float>(), layer.Forward(x).ToArray<float>());
        layer.Train();
        Assert.NotEqual(Tensor.Ones([50, 3]).ToArray<float>(), layer.Forward(Tensor.Ones([50, 3])).ToArray<float>());
    }

    [Fact]
    public void ADroppedElementIsZeroWhateverItWas()
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 5);
        float[] y = F.Dropout(Tensor.Full([1, 100], double.NaN), 0.5, state).ToArray<float>(), ones = F.Dropout(Tensor.Ones([1, 100]), 0.5, state).ToArray<float>();
        Assert.Equal(ones.Select(v => v == 0 ? 0 : float.NaN), y);
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 6);
        Tensor x = Tensor.Randn([301, 517], 7);
        Threads.AssertSameBits(() => [F.Dropout(x, 0.1, state)]);
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState();
        Tensor x = Tensor.Ones([2, 3], requiresGrad: true);
        foreach (double p in (double[])[-0.1, 1, double.NaN]) Assert.Throws<ArgumentOutOfRangeException>(() => F.Dropout(x, p, state));
        Assert.Throws<ArgumentOutOfRangeException>(() => F.Dropout(x, 0.5, state, layer: 65536));
        var keys = Assert.Throws<ArgumentException>(() => F.Dropout(x, 0.5, state, 0, new DropoutKeys(Tensor.Zeros([3], DType.Int64), null)));
        Assert.Contains("Dropout: Documents [3] does not fit input [2, 3]; expected a dense [2]", keys.Message, StringComparison.Ordinal);
        Tensor y = F.Dropout(x, 0.5, state);
        state.Begin(9, 0.1);
        var late = Assert.Throws<InvalidOperationException>(() => y.Backward(Tensor.Ones([2, 3])));
        Assert.Contains("step 9 began before the backward pass of step 0", late.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LeavesNothingBehind()
        => Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            using var state = new StepState();
            using SequenceLayout layout = SequenceLayout.FromLengths([2, 3]);
            Tensor x = Tensor.Randn([5, 7], 8, requiresGrad: true);
            F.Dropout(x, 0.5, state, 0, DropoutKeys.From(layout)).Backward(Tensor.Ones([5, 7]));
        });
}
