namespace Varlen.Backends;

/// <summary>
/// A step of a backend that is recorded once and then started as a whole. Everything that changes from one start to the next must lie in device memory
/// that was there before; what the step allocates has addresses of its own while the recorder lives.
/// </summary>
internal abstract class Recorder : IDisposable
{
    /// <summary>Runs the step as ever, and learns what memory it takes. It must have run before: what it makes once and keeps is no part of it.</summary>
    /// <exception cref="NotSupportedException">The step leaves memory behind.</exception>
    public abstract void Measure(Action step);

    /// <summary>Records the step without running it.</summary>
    /// <exception cref="NotSupportedException">Something in the step cannot be recorded; the message names the op.</exception>
    public abstract void Record(Action step);

    /// <summary>Starts what was recorded, in order with the device's other work, without a wait.</summary>
    public abstract void Replay();

    public abstract void Dispose();
}
