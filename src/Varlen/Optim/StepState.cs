using System.Runtime.InteropServices;
using Varlen.Backends;
using Varlen.Ops;

namespace Varlen.Optim;

/// <summary>
/// The numbers of one training step that kernels read from device memory: learning rate, step number, loss scale, clip factor, the loss,
/// whether it and all gradients are finite, and the seed of dropout. Because the optimiser, the loss and dropout read them there, skipping an update
/// needs no wait for the device, and a recorded step can be replayed with new numbers.
/// </summary>
public sealed class StepState : IDisposable
{
    private readonly Tensor _buffer, _lossSum;
    private Values _values;

    /// <summary>Makes the state for a device.</summary>
    /// <param name="device">Where the kernels run; the CPU when null.</param>
    /// <param name="seed">Seed of every dropout mask of the run.</param>
    public StepState(Device? device = null, ulong seed = 0)
    {
        _buffer = Tensor.AllocateUntracked([Marshal.SizeOf<Values>() / sizeof(double)], DType.Float64, device ?? Device.Cpu);
        _values = new Values { LossScale = 1, ClipFactor = 1, Finite = 1, Seed = seed };
        Upload();
        LossGradient = Scalar(nameof(Values.LossScale));
        _lossSum = Scalar(nameof(Values.LossSum));
    }

    /// <summary>Number of the present step, from 1; dropout masks depend on it. To go on with a run, begin its next step on a state of the same seed.</summary>
    public long Step => _values.Step;

    /// <summary>Learning rate of the present step.</summary>
    public double LearningRate => _values.LearningRate;

    /// <summary>What the summed loss's gradient is multiplied by: one over the step's count of target tokens.</summary>
    public double LossScale => _values.LossScale;

    /// <summary>
    /// <see cref="LossScale"/> where the device reads it, a scalar: <c>lossSum.Backward(state.LossGradient)</c> divides without a wait.
    /// The state's own.
    /// </summary>
    public Tensor LossGradient { get; }

    /// <summary>Seed of the run's dropout masks.</summary>
    public ulong Seed => _values.Seed;

    internal Tensor Buffer => _buffer;

    /// <summary>Where the state lives.</summary>
    public Device Device => _buffer.Device;

    /// <summary>Starts a step: all its numbers are set at once, and sent to the device without a wait.</summary>
    /// <param name="step">Number of the step, from 1.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="lossScale">One over the number of target tokens of the whole step.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is not finite, or the step is below 1.</exception>
    public void Begin(long step, double learningRate, double lossScale = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        if (!double.IsFinite(learningRate)) throw new ArgumentOutOfRangeException(nameof(learningRate), learningRate, "the learning rate must be finite");
        if (!double.IsFinite(lossScale)) throw new ArgumentOutOfRangeException(nameof(lossScale), lossScale, "the loss scale must be finite");
        _values = new Values { LearningRate = learningRate, LossScale = lossScale, ClipFactor = 1, Step = step, Seed = _values.Seed, Finite = 1 };
        Upload();
    }

    /// <summary>Adds a micro-batch's summed loss to the step's, in double precision and without a wait. A loss that is not finite makes the step's update be skipped.</summary>
    /// <param name="lossSum">A scalar on the state's device.</param>
    public void AddLoss(Tensor lossSum) => ElementwiseCopy.Copy(lossSum, _lossSum, accumulate: true);

    /// <summary>Whether the gradients that the last norm was taken of, and the losses added before, were all finite. Waits for the device.</summary>
    public bool ReadFinite() => Download().Finite != 0;

    /// <summary>The global gradient norm that was computed last. Waits for the device.</summary>
    public double ReadGradientNorm() => Download().GradientNorm;

    /// <inheritdoc/>
    public void Dispose()
    {
        LossGradient.Dispose();
        _lossSum.Dispose();
        _buffer.Dispose();
    }

    /// <summary>Reads the numbers as they are when the work started so far is done, without waiting for that.</summary>
    internal PendingRead StartRead() => _buffer.Device.Backend.StartRead(_buffer.Pointer, Marshal.SizeOf<Values>());

    /// <summary>Waits for a read that <see cref="StartRead"/> began.</summary>
    internal static Values Finish(PendingRead read)
    {
        Values values = default;
        read.Wait(MemoryMarshal.AsBytes(new Span<Values>(ref values)));
        return values;
    }

    private Tensor Scalar(string field) => _buffer.UntrackedView([], [], Marshal.OffsetOf<Values>(field) / sizeof(double)).Keep();

    private void Upload() => _buffer.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(new ReadOnlySpan<Values>(in _values)), _buffer.Pointer);

    private Values Download()
    {
        Values values = default;
        _buffer.Device.Backend.CopyToHost(_buffer.Pointer, MemoryMarshal.AsBytes(new Span<Values>(ref values)));
        return values;
    }

    /// <summary>The layout in device memory, which kernels share.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Values
    {
        public double LearningRate, LossScale, ClipFactor, GradientNorm;
        public long Step;
        public ulong Seed;
        public long Finite;
        public double LossSum;
    }
}
