using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class RotaryTests
{
    [Theory]
    [InlineData(0, 2, 4, 4, false)]
    [InlineData(1, 1, 2, 2, true)]
    [InlineData(3, 2, 10, 10, false)]
    [InlineData(3, 2, 10, 10, true)]
    [InlineData(2, 3, 11, 6, false)]
    [InlineData(2, 3, 11, 6, true)]
    [InlineData(2, 1, 3, 0, false)]
    public void GradientsMatchFiniteDifferences(int tokens, int heads, int dim, int rotaryDim, bool interleaved)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor positions = Positions(tokens);
        GradCheck.Run(x => F.Rotary(x[0], positions, 100, rotaryDim, interleaved), [Tensor.Randn([tokens, heads, dim], 1, DType.Float64)]);
        // The middle third of a fused projection, read and written in place.
        GradCheck.Run(x => F.Rotary(x[0].Narrow(1, heads, heads), positions, 100, rotaryDim, interleaved), [Tensor.Randn([tokens, 3 * heads, dim], 2, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float64, false)]
    [InlineData(DType.Float32, false)]
    [InlineData(DType.Float32, true)]
    [InlineData(DType.BFloat16, false)]
    [InlineData(DType.Float16, true)]
    public void MatchesTheRotationMatrix(DType dtype, bool interleaved)
    {
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 9, heads = 3, dim = 70, turned = 64;
        Tensor x = Tensor.Randn([tokens, heads, dim], 3, dtype);
        int[] positions = [0, 1, 2, 0, 1, 100_000, 8191, 3, 131_071];
        double[] y = x.ToArray<double>(), v = [.. y];
        for (int row = 0; row < tokens * heads; row++)
            for (int i = 0; i < turned / 2; i++)
            {
                double angle = positions[row / heads] * Math.Pow(500_000, -2.0 * i / turned);
                (int a, int b) = interleaved ? (2 * i, 2 * i + 1) : (i, i + turned / 2);
                (a, b) = (row * dim + a, row * dim + b);
                y[a] = v[a] * Math.Cos(angle) - v[b] * Math.Sin(angle);
                y[b] = v[b] * Math.Cos(angle) + v[a] * Math.Sin(angle);
            }
        Numeric.AssertClose(Tensor.From(y, x.Shape), F.Rotary(x, Tensor.From(positions, [tokens]), 500_000, turned, interleaved));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach (bool interleaved in (bool[])[false, true])
        {
            foreach ((int tokens, int heads, int dim, int turned) in (ReadOnlySpan<(int, int, int, int)>)[(0, 2, 4, 4), (1, 1, 2, 2), (3, 2, 10, 10), (2, 3, 11, 6), (2, 1, 3, 0), (9, 3, 72, 64), (70, 2, 64, 64), (2, 2, 640, 600)])
            {
                int[] positions = [.. Enumerable.Range(0, tokens).Select(i => i % 5 == 4 ? -7 * i : i % 5 == 3 ? 131_071 - i : i * 7 % 50)];
                Tensor x = Tensor.Randn([tokens, heads, dim], 1), fused = Tensor.Randn([tokens, 3 * heads, dim], 2);
                DeviceCheck.Run(place, dtype, t => F.Rotary(t[0], Tensor.From(positions, [tokens], t[0].Device), 500_000, turned, interleaved), [x]);
                DeviceCheck.Run(place, dtype, t => F.Rotary(t[0].Narrow(1, heads, heads), Tensor.From(positions, [tokens], t[0].Device), 500_000, turned, interleaved), [fused]);
            }
        }
    }

    /// <summary>Frequencies of one's own turn as the same powers of a base do, and others by their own angles.</summary>
    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void TurnsByGivenFrequencies(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        Tensor x = Tensor.Randn([5, 2, 12], 6), positions = Positions(5);
        double[] powers = [.. Enumerable.Range(0, 5).Select(i => Math.Pow(300, -2.0 * i / 10))];
        Numeric.AssertSameBits(F.Rotary(x.To(place, dtype), positions.To(place), 300, 10).To(Device.Cpu), F.Rotary(x.To(place, dtype), positions.To(place), new RotaryFrequencies(powers)).To(Device.Cpu));
        // Angles that grow along the head, as no base gives them.
        double[] own = [0, 0.25, 1.5, 3];
        DeviceCheck.Run(place, dtype, t => F.Rotary(t[0], Positions(5).To(t[0].Device), new RotaryFrequencies(own)), [x]);
        double[] values = x.ToArray<double>(), turned = F.Rotary(x.To(dtype: DType.Float64), positions, new RotaryFrequencies(own)).ToArray<double>();
        for (int i = 0; i < values.Length; i++)
        {
            (int token, int feature) = (i / 24, i % 12);
            double angle = feature < 8 ? own[feature % 4] * (token * 7 % 50) : 0;
            double expected = feature >= 8 ? values[i] : feature < 4 ? values[i] * Math.Cos(angle) - values[i + 4] * Math.Sin(angle) : values[i] * Math.Cos(angle) + values[i - 4] * Math.Sin(angle);
            Assert.Equal(expected, turned[i], 1e-12);
        }
    }

    [Fact]
    public void CudaTurnsATokenAlikeInEveryBatch()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([70, 3, 64], 5, device: cuda), positions = Positions(70).To(cuda);
        Numeric.AssertSameBits(F.Rotary(x, positions).Narrow(0, 10, 50).Clone().To(Device.Cpu), F.Rotary(x.Narrow(0, 10, 50), positions.Narrow(0, 10, 50)).To(Device.Cpu));
    }

    [Fact]
    public void NegativePositionsTurnBack()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([4, 2, 6], 4, DType.Float64);
        Tensor there = F.Rotary(x, Tensor.From([1, 5, 3, 70], [4])), back = F.Rotary(there, Tensor.From([-1, -5, -3, -70], [4]));
        Numeric.AssertClose(x, back);
    }

    [Fact]
    public void BitsDoNotDependOnThreadsOrOnTheOtherTokens()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([700, 3, 64], 5), positions = Positions(700);
        Threads.AssertSameBits(() => [F.Rotary(x, positions)]);
        Tensor part = F.Rotary(x.Narrow(0, 100, 50), positions.Narrow(0, 100, 50));
        Numeric.AssertSameBits(F.Rotary(x, positions).Narrow(0, 100, 50).Clone(), part);
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2, 3, 6]);
        Assert.Contains("Rotary: shape [3] does not fit input [2, 3, 6]; expected [2]", Assert.Throws<ArgumentException>(() => F.Rotary(x, Positions(3))).Message, StringComparison.Ordinal);
        Assert.Contains("5 is not an even number from 0 to 6", Assert.Throws<ArgumentException>(() => F.Rotary(x, Positions(2), rotaryDim: 5)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => F.Rotary(x, Tensor.Zeros([2], DType.Int64)));
        Assert.Throws<ArgumentException>(() => F.Rotary(Tensor.Ones([2, 6]), Positions(2)));
        Assert.Throws<ArgumentOutOfRangeException>(() => F.Rotary(x, Positions(2), theta: 0));
        Assert.Contains("4 pairs are more than a head of 6", Assert.Throws<ArgumentException>(() => F.Rotary(x, Positions(2), new RotaryFrequencies([1, 1, 1, 1]))).Message, StringComparison.Ordinal);
        Assert.Contains("frequency 1 is NaN", Assert.Throws<ArgumentException>(() => new RotaryFrequencies([1, double.NaN])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new RotaryFrequencies(new double[257]));
    }

    private static Tensor Positions(int tokens) => Tensor.From([.. Enumerable.Range(0, tokens).Select(i => i * 7 % 50)], [tokens]);
}
