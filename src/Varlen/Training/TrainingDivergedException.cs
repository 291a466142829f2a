namespace Varlen.Training;

/// <summary>Training cannot go on: several steps in a row were not finite. No weight was changed by them.</summary>
/// <param name="step">The last of them.</param>
/// <param name="message">What was not finite.</param>
public sealed class TrainingDivergedException(int step, string message) : Exception(message)
{
    /// <summary>The step that ended training.</summary>
    public int Step => step;
}
