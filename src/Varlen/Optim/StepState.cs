using System.Runtime.InteropServices;

namespace Varlen.Optim;

/// <summary>
/// The numbers of one training step that kernels read from device memory: learning rate, step number, loss scale, clip factor, whether
/// all gradients are finite, and the seed of dropout. Because the optimiser, the loss and dropout read them there, skipping an update
/// needs no wait for the device, and a recorded step can be replayed with new numbers.
/// </summary>
public sealed class StepState : IDisposable
{
    private readonly Tensor _buffer;
    private Values _values;

    /// <summary>Makes the state for a device.</summary>
    /// <param name="device">Where the kernels run; the CPU when null.</param>
    /// <param name="seed">Seed of every dropout mask of the run.</param>
    public StepState(Device? device = null, ulong seed = 0)
    {
        _buffer = Tensor.AllocateUntracked([Marshal.SizeOf<Values>() / sizeof(double)], DType.Float64, device ?? Device.Cpu);
        _values = new Values { LossScale = 1, ClipFactor = 1, Finite = 1, Seed = seed };
        Upload();
        LossGradient = _buffer.UntrackedView([], [], Marshal.OffsetOf<Values>(nameof(Values.LossScale)) / sizeof(double)).Keep();
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

    /// <summary>Whether the gradients that the last norm was taken of were all finite. Waits for the device.</summary>
    public bool ReadFinite() => Download().Finite != 0;

    /// <summary>The global gradient norm that was computed last. Waits for the device.</summary>
    public double ReadGradientNorm() => Download().GradientNorm;

    /// <inheritdoc/>
    public void Dispose()
    {
        LossGradient.Dispose();
        _buffer.Dispose();
    }

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
    }
}
