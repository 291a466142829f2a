using Varlen.Autograd;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Ops;

public sealed class RowGatherTests
{
    private static readonly int[] Indices = [2, -1, 0, 1, 5, -1], Inverse = [2, 3, 0, -1, -1, 4];

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MovesRowsAndTheirGradients(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (int features in (int[])[0, 1, 5, 8, 64, 67])
            DeviceCheck.Run(TestDevices.Get(device), dtype, x => RowGather.Run("Pad", x[0], Indices, Inverse, [2, 3, features], 0.5), [Tensor.Randn([6, features], 1)]);
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
                    Op.Require<IRowGatherKernels>("Pad", x).GatherRows(x, Indices, y, 1, accumulate: false);
                    Assert.Equal(Enumerable.Range(0, 6 * features).Select(i => Indices[i / features] < 0 ? 1 : (Indices[i / features] * features + i % features) % 2), y.ToArray<int>());
                }
    }
}
