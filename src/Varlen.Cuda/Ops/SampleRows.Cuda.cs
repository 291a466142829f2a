using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ISamplingKernels
{
    // Sums of weights have 64 bits.
    private const int SampleThreads = 512, MostSampledIds = 1 << 22;

    private static readonly KernelFamily SampleRowsKernel = new("sample.cu", "sample_rows", KernelOption.FloatingPoint("ELEMENT"));

    public void SampleRows(Tensor logits, Tensor rows, Tensor? seen, Tensor ids, SamplingRule rule)
    {
        const string op = "SampleRows";
        RequireComputeType(op, logits);
        int classes = logits.Shape[1];
        if (classes > MostSampledIds) throw new NotSupportedException($"{op}: there are {classes} ids, and the kernel takes at most {MostSampledIds}");
        var arguments = new SampleArguments
        {
            Logits = logits.Pointer, Rows = rows.Pointer, Seen = rule.Penalty == 1 ? 0 : seen!.Pointer, Ids = ids.Pointer, Stride = logits.Strides[0], Penalty = rule.Penalty, TopP = rule.TopP,
            // Not infinite, which times the largest logit's distance of 0 would be NaN.
            Sharpness = rule.Temperature == 0 ? 0 : (float)Math.Clamp(1 / (rule.Temperature * Math.Log(2)), float.Epsilon, float.MaxValue), Classes = classes, Words = seen?.Shape[1] ?? 0, TopK = rule.TopK,
        };
        Launch(SampleRowsKernel.With(logits.DType), logits.Shape[0], SampleThreads, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct SampleArguments
    {
        public nint Logits, Rows, Seen, Ids;
        public long Stride;
        public double Penalty, TopP;
        public float Sharpness;
        public int Classes, Words, TopK;
    }
}
