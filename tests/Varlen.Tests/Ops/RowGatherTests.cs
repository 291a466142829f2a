using Varlen.Autograd;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Ops;

public sealed class RowGatherTests
{
    private static readonly int[] Indices = [2, -1, 0, 1, 5, -1], Inverse = [2, 3, 0, -1, -1, 4];

    private static Tensor Pad(Tensor rows, Shape shape) => RowGather.Run("Pad", rows, Tensor.From(Indices, [6], rows.Device), Tensor.From(Inverse, [6], rows.Device), shape, 0.5);

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MovesRowsAndTheirGradients(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (int features in (int[])[0, 1, 5, 8, 64, 67])
            DeviceCheck.Run(TestDevices.Get(device), dtype, x => Pad(x[0], [2, 3, features]), [Tensor.Randn([6, features], 1)]);
    }

    /// <summary>A slice of a fused projection moves as it lies, and its gradient lands in the projection's.</summary>
    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MovesSlicesInPlace(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (int dim in (int[])[1, 3, 8])
            foreach (int head in (int[])[0, 3])
                DeviceCheck.Run(TestDevices.Get(device), dtype, x => Pad(x[0].Narrow(1, head, 2), [6, 2, dim]) + Pad(x[0].Narrow(1, 1, 2), [6, 2, dim]), [Tensor.Randn([6, 5, dim], 1)]);
        Tensor fused = Tensor.Randn([6, 5, 4], 2, requiresGrad: true);
        GradientStatistics.Copies = GradientStatistics.StandaloneAdds = 0;
        (Pad(fused.Narrow(1, 0, 2), [6, 2, 4]) * Pad(fused.Narrow(1, 2, 2), [6, 2, 4])).Sum().Backward();
        Assert.Equal((0, 0), (GradientStatistics.Copies, GradientStatistics.StandaloneAdds));
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void MovesEveryTypeAndConverts(string device)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (DType source in Enum.GetValues<DType>())
            foreach (DType destination in (DType[])[source, DType.Float32])
                foreach (int features in (int[])[3, 16])
                {
                    Tensor x = Tensor.From([.. Enumerable.Range(0, 6 * features).Select(i => i % 2)], [6, features]).To(TestDevices.Get(device), source);
                    Tensor y = Tensor.Empty([6, features], destination, TestDevices.Get(device));
                    Op.Require<IRowGatherKernels>("Pad", x).GatherRows(x, Tensor.From(Indices, [6], x.Device), y, 1, accumulate: false);
                    Assert.Equal(Enumerable.Range(0, 6 * features).Select(i => Indices[i / features] < 0 ? 1 : (Indices[i / features] * features + i % features) % 2), y.ToArray<int>());
                }
    }
}
