using Varlen.Autograd;
using Varlen.Backends.Cuda;
using Varlen.Ops;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Where operands and gradients lie: strides, alignment, types, dense batches, masks, caches.</summary>
public sealed class AttentionOperandTests
{
    /// <summary>A destination may be of another type, be added to, lie strided or be missing: the values are the same.</summary>
    [Theory]
    [InlineData(DType.BFloat16, DType.BFloat16, true, 2)]
    [InlineData(DType.BFloat16, DType.Float32, true, 2)]
    [InlineData(DType.Float16, DType.Float16, true, 2)]
    [InlineData(DType.Float32, DType.BFloat16, true, 2)]
    [InlineData(DType.BFloat16, DType.BFloat16, false, 2)]
    [InlineData(DType.BFloat16, DType.Float32, false, 1)]
    [InlineData(DType.Float16, DType.Float16, false, 1)]
    [InlineData(DType.Float16, DType.BFloat16, false, 2)]
    public void Gradient_destinations(DType dtype, DType gradientType, bool portable, int keyHeads)
    {
        Device device = TestDevices.Cuda();
        using PortableKernels? only = portable ? new(device) : null;
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([9, 70, 20]);
        const int heads = 2, dim = 32, tokens = 99;
        Tensor[] x = [.. Enumerable.Range(0, 4).Select(i => Tensor.Randn([tokens, i is 1 or 2 ? keyHeads : heads, dim], (ulong)i, dtype, device))];
        Tensor output = Tensor.Zeros([tokens, heads, dim], dtype, device), lse = Tensor.Zeros([heads, tokens], DType.Float32, device);
        var call = new AttentionCall(layout, layout, new AttentionOptions { Window = AttentionWindow.Causal }, 0.2);
        var backend = (CudaBackend)device.Backend;
        backend.AttentionForward(call, x[0], x[1], x[2], null, output, lse);
        Tensor[] plain = Gradients(Tensor.Zeros([tokens, 3 * heads, dim], dtype, device), accumulate: false, wanted: 7);
        Tensor[] other = Gradients(Tensor.Zeros([tokens, 3 * heads, dim], gradientType, device), accumulate: false, wanted: 7);
        Tensor[] added = Gradients(Tensor.Ones([tokens, 3 * heads, dim], gradientType, device), accumulate: true, wanted: 7);
        for (int i = 0; i < 3; i++)
        {
            double[] p = plain[i].ToArray<double>(), o = other[i].ToArray<double>(), a = added[i].ToArray<double>();
            double unit = (gradientType == DType.BFloat16 || dtype == DType.BFloat16 ? 1.0 / 128 : 1.0 / 1024) * (1 + p.Max(Math.Abs));
            for (int j = 0; j < p.Length; j++)
            {
                Assert.Equal(p[j], o[j], gradientType == dtype ? 0 : unit);
                Assert.Equal(o[j] + 1, a[j], unit);
            }
        }
        for (int wanted = 0; wanted < 7; wanted++)
        {
            Tensor[] some = Gradients(Tensor.Full([tokens, 3 * heads, dim], 7, gradientType, device), accumulate: false, wanted);
            for (int i = 0; i < 3; i++)
                if ((wanted >> i & 1) != 0) Numeric.AssertSameBits(other[i], some[i]);
                else Assert.All(some[i].ToArray<double>(), value => Assert.Equal(7, value));
        }

        Tensor[] Gradients(Tensor fused, bool accumulate, int wanted)
        {
            Tensor[] parts = [.. fused.Chunk(3, dimension: 1).Select((part, i) => part.Narrow(1, 0, i == 0 ? heads : keyHeads))];
            GradientTarget Target(int i) => (wanted >> i & 1) != 0 ? new(parts[i], accumulate) : default;
            backend.AttentionBackward(call, x[0], x[1], x[2], null, output, lse, x[3], null, Target(0), Target(1), Target(2));
            return [.. parts.Select(part => part.Contiguous())];
        }
    }

    /// <summary>Views that start off a vector's boundary, and wide strides, give the bits of dense operands.</summary>
    [Theory]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float32)]
    public void Unaligned_views_give_the_same_bits(DType dtype)
    {
        Device device = TestDevices.Cuda();
        using var only = new PortableKernels(device);
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([9, 70, 20]);
        const int heads = 2, dim = 24, tokens = 99;
        Tensor wide = Tensor.Randn([tokens, heads, (3 * dim) + 5], 3, dtype, device);
        Tensor[] views = [.. Enumerable.Range(0, 3).Select(i => wide.Narrow(2, 1 + (i * dim), dim))], dense = [.. views.Select(view => view.Clone())];
        foreach (Tensor tensor in views.Concat(dense)) Assert.Equal(dense.Contains(tensor), tensor.IsContiguous);
        (Tensor a, Tensor aLse) = F.VarlenAttentionWithLse(views[0], views[1], views[2], layout, AttentionWindow.Causal);
        (Tensor b, Tensor bLse) = F.VarlenAttentionWithLse(dense[0], dense[1], dense[2], layout, AttentionWindow.Causal);
        Numeric.AssertSameBits(b, a);
        Numeric.AssertSameBits(bLse, aLse);
        string explained = ((CudaBackend)device.Backend).ExplainAttention(new AttentionCall(layout, layout, new AttentionOptions(), 1), views[0], views[1], dense[2]);
        Assert.Contains("element by element for query, key", explained, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("none", false)]
    [InlineData("bool", true)]
    [InlineData("additive", false)]
    [InlineData("heads", false)]
    public void Dense_batches_and_masks(string kind, bool causal)
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        const int batch = 2, queries = 40, keys = 50, dim = 16;
        var random = new Random(4);
        Tensor? mask = kind switch
        {
            "bool" => Tensor.From([.. Enumerable.Range(0, queries * keys).Select(i => i / keys != 7 && random.Next(3) > 0)], [queries, keys]),
            "additive" => Tensor.From([.. Enumerable.Range(0, batch * keys).Select(_ => random.Next(4) == 0 ? double.NegativeInfinity : random.NextDouble())], [batch, 1, 1, keys]),
            "heads" => Tensor.Randn([4, queries, keys], 6, DType.Float64),
            _ => null,
        };
        Tensor[] x = [Tensor.Randn([batch, queries, 4, dim], 1, DType.Float64), Tensor.Randn([batch, 2, keys, dim], 2, DType.Float64), Tensor.Randn([batch, 2, keys, dim], 3, DType.Float64)];
        (Tensor expected, Tensor[] expectedGradients) = Run(Device.Cpu, DType.Float64);
        (Tensor actual, Tensor[] actualGradients) = Run(device, DType.Float32);
        Numeric.AssertClose(expected, actual);
        for (int i = 0; i < 3; i++) Numeric.AssertClose(expectedGradients[i], actualGradients[i], 1e-4 * Math.Max(1, expectedGradients[i].ToArray<double>().Max(Math.Abs)));

        (Tensor, Tensor[]) Run(Device on, DType dtype)
        {
            Tensor[] leaves = [.. x.Select(tensor => tensor.To(dtype: dtype).To(on).Clone())];
            foreach (Tensor leaf in leaves) leaf.RequiresGrad = true;
            Tensor y = F.ScaledDotProductAttention(leaves[0].Transpose(1, 2), leaves[1], leaves[2], mask?.To(on), causal, 0.3);
            y.Backward(Tensor.Randn(y.Shape, 9, DType.Float64).To(dtype: dtype).To(on));
            return (y, [.. leaves.Select(leaf => leaf.Grad!)]);
        }
    }

    [Theory]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float32)]
    public void Cached_keys_are_read_up_to_their_lengths(DType dtype)
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        int[] fresh = [1, 0, 7, 3], filled = [61, 5, 7, 120];
        const int capacity = 128;
        using SequenceLayout layout = SequenceLayout.FromLengths(fresh);
        Tensor query = Tensor.Randn([11, 4, 16], 1, dtype), keys = Tensor.Randn([4, capacity, 2, 16], 2, dtype), values = Tensor.Randn([4, capacity, 2, 16], 3, dtype);
        for (int i = 0; i < 4; i++)
            foreach (Tensor cache in new[] { keys, values }) cache.Narrow(0, i, 1).Narrow(1, filled[i], capacity - filled[i]).CopyFrom(Tensor.Full([1, capacity - filled[i], 2, 16], double.NaN, dtype));
        var options = new AttentionOptions { Window = AttentionWindow.Causal };
        Tensor expected = F.VarlenAttention(query.To(dtype: DType.Float64), keys.To(dtype: DType.Float64), values.To(dtype: DType.Float64), layout, KeyPages.Slots(filled), options);
        Tensor actual = F.VarlenAttention(query.To(device), keys.To(device), values.To(device), layout, KeyPages.Slots(filled), options);
        Numeric.AssertClose(expected, actual, dtype == DType.Float32 ? 3e-5 : 0.02);
    }

    [Fact]
    public void Lists_live_as_long_as_their_layout() => Memory.AssertReleasesAll(() =>
    {
        Device device = TestDevices.Cuda();
        using SequenceLayout layout = SequenceLayout.FromLengths([4, 40]);
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([44, 2, 32], 1, DType.Float32, device, requiresGrad: true);
        F.VarlenAttention(x, x, x, layout).Backward(Tensor.Ones([44, 2, 32], DType.Float32, device));
        // Layouts that end before the backward pass.
        Tensor offsets = Tensor.From([0, 4, 44], [3]);
        F.VarlenAttention(x, x, x, offsets, offsets, 40, 40).Backward(Tensor.Ones([44, 2, 32], DType.Float32, device));
    });

    [Fact]
    public void Double_precision_is_refused_by_name()
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([4]);
        Tensor x = Tensor.Zeros([4, 2, 32], DType.Float64, device);
        Assert.Contains("Float64 is the reference precision", Assert.Throws<NotSupportedException>(() => F.VarlenAttention(x, x, x, layout)).Message, StringComparison.Ordinal);
    }
}
