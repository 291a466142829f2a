using System.Runtime.InteropServices;
using Varlen.Backends.Cuda;
using Varlen.Backends.Cuda.Compilation;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class CudaFailureTests
{
    private static readonly KernelFamily Fill = new("copy.cu", "fill_strided");

    [Fact]
    public void OutOfMemoryNamesWhatWasWantedWhatIsFreeAndWhatToChange()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor.Zeros([16 << 20], device: cuda);
        var e = Assert.Throws<OutOfDeviceMemoryException>(() => Tensor.Zeros([1 << 20, 1 << 20], device: cuda));
        Assert.Matches(
            @"^cuda:0 \(.+\) has no room for 4096\.00 GiB: of \d+\.\d\d GiB, tensors hold \d+\.\d\d GiB, \d+\.\d\d GiB are free but perhaps in pieces, and other programs and the driver hold \d+\.\d\d GiB; lower the tokens of a batch \(--batch-tokens\), the context or the model, or compute in bf16$",
            e.Message);
        // The device goes on.
        Assert.Equal(3.0f, Tensor.Full([1], 3, device: cuda).ToArray<float>()[0]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AFaultNamesTheKernelsAndLosesTheDevice(bool synchronous)
    {
        TestDevices.Cuda();
        (int exitCode, string output, string error) = CudaTarget.Start("fault", ("VARLEN_SYNC", synchronous ? "1" : null));
        Assert.True(exitCode == 0, error);
        string[] lines = output.TrimEnd().Split('\n');
        Assert.Equal(4, lines.Length);
        Assert.StartsWith("CudaFaultException: cuda:0 (", lines[0], StringComparison.Ordinal);
        Assert.Contains(") is lost: CUDA_ERROR_", lines[0], StringComparison.Ordinal);
        Assert.Contains("matrix_product<>", lines[0], StringComparison.Ordinal);
        Assert.Equal(!synchronous, lines[0].EndsWith("; run again with VARLEN_SYNC=1 to learn which", StringComparison.Ordinal));
        Assert.Equal(synchronous, lines[0].EndsWith("in matrix_product<>", StringComparison.Ordinal));
        // Everything later fails in the same words; disposing is silent.
        Assert.Equal([lines[0], lines[0], "disposed; lost: True"], lines[1..]);
    }

    [Fact]
    public void AKernelThatDoesNotCompileCarriesTheLog()
    {
        TestDevices.Cuda();
        var e = Assert.Throws<CudaException>(() => KernelCompiler.Compile("column_sums.cu", ["ELEMENT=no_such_type"], "sm_90a"));
        Assert.StartsWith("kernel column_sums.cu (ELEMENT=no_such_type) does not compile for sm_90a: ", e.Message, StringComparison.Ordinal);
        Assert.Contains("no_such_type", e.Message[(e.Message.IndexOf('\n', StringComparison.Ordinal) + 1)..], StringComparison.Ordinal);
    }

    [Fact]
    public void AnArgumentThatIsNotTheKernelsIsRefused()
    {
        var backend = (CudaBackend)TestDevices.Cuda().Backend;
        Assert.SkipWhen(!TestDevices.IsEmulated && CudaPlatform.OfThisMachine.DriverVersion < 12040, "drivers before CUDA 12.4 do not tell what a kernel takes");
        var e = Assert.Throws<InvalidOperationException>(() => backend.Launch(Fill.With(), 1, 256, new TooSmall()));
        Assert.Contains("fill_strided<> takes ", e.Message, StringComparison.Ordinal);
        Assert.Contains("bytes and TooSmall has 8: source and launcher do not declare the same fields", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ArgumentsHaveTheLayoutOfTheirTwins()
    {
        // Sizes as C lays the twins out: kernel.cuh's Target, strided.cuh's StridedWalk<2> and <3>.
        Assert.Equal(16, Marshal.SizeOf<TargetArgument>());
        Assert.Equal(40 + 2 * 64, Marshal.SizeOf<StridedWalk2>());
        Assert.Equal(40 + 3 * 64, Marshal.SizeOf<StridedWalk3>());
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TooSmall
    {
        public long Field;
    }
}
