using Varlen.Nn;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class SafetensorsTests
{
    [Fact]
    public void TensorsOfEveryTypeSurviveTheRoundTrip()
    {
        string path = Path.GetTempFileName();
        try
        {
            Memory.AssertReleasesAll(() =>
            {
                using TensorScope scope = TensorScope.Begin();
                Tensor values = Tensor.From([0.5, -1, 2, 3, 4, 5], [2, 3]);
                var tensors = new Dictionary<string, Tensor> { ["scalar"] = Tensor.Ones([]), ["empty"] = Tensor.Empty([0, 4]), ["strided"] = values.Transpose(0, 1) };
                foreach (DType dtype in Enum.GetValues<DType>()) tensors[dtype.ToString()] = values.To(dtype: dtype);
                Safetensors.Save(path, tensors);
                IReadOnlyDictionary<string, Tensor> loaded = Safetensors.Load(path);
                Assert.Equal(tensors.Keys.Order(), loaded.Keys.Order());
                foreach ((string name, Tensor tensor) in tensors) Numeric.AssertSameBits(tensor, loaded[name]);
            });
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void AModulesStateSurvivesTheRoundTrip()
    {
        string path = Path.GetTempFileName();
        try
        {
            using Linear layer = new Linear(3, 4, seed: 1), other = new Linear(3, 4, seed: 2);
            Safetensors.Save(path, layer.StateDict());
            using TensorScope scope = TensorScope.Begin();
            other.LoadStateDict(Safetensors.Load(path));
            Assert.Equal(layer.Weight.Master.ToArray<float>(), other.Weight.Master.ToArray<float>());
        }
        finally
        {
            File.Delete(path);
        }
    }
}
