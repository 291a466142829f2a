namespace Varlen.Training;

/// <summary>Is told what happens in a <see cref="TrainingRun"/>, on the thread that trains.</summary>
public interface ITrainingObserver
{
    /// <summary>A step has ended.</summary>
    /// <param name="step">The step.</param>
    /// <param name="totals">Sums up to and with it.</param>
    /// <param name="evaluation">The evaluation after it, if there was one.</param>
    void Stepped(in TrainingStep step, RunTotals totals, EvaluationResult? evaluation);

    /// <summary>A checkpoint is durable.</summary>
    void Saved(int step);

    /// <summary>The model wrote a text.</summary>
    void Sampled(int step, string text);

    /// <summary>Something went wrong that does not end the run.</summary>
    void Warned(string message);
}
