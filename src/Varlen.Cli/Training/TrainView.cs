using System.Diagnostics;
using System.Globalization;
using Varlen.Cli.Terminal;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>
/// A run as it goes, on the error stream: a line per evaluation and, in between, a progress bar on a terminal or a plain line now and then
/// elsewhere.
/// </summary>
internal sealed class TrainView : ITrainingObserver, IDisposable
{
    // Often enough to see that it goes on; not so often that a log drowns.
    private const double SecondsBetweenLines = 5;
    private const int RedrawsPerSecond = 4;

    private readonly int _steps, _end;
    private readonly ProgressBar? _bar;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private int _first = -1;
    private bool _headed;
    private double _nextLine, _smoothLoss = double.NaN;

    /// <param name="end">The last step of this start.</param>
    /// <param name="steps">The last step of the plan.</param>
    public TrainView(int end, int steps)
    {
        (_end, _steps) = (end, steps);
        if (ErrorTerminal.IsInteractive) _bar = new ProgressBar(RedrawsPerSecond);
    }

    /// <summary>What the model wrote last; empty before the first evaluation.</summary>
    public string LastSample { get; private set; } = "";

    private static string Heading => $"{"step",8}  {"tokens",8}  {"loss",7}  {"valid",7}  {"lr",8}  {"norm",6}  {"tok/s",7}  {"padding avoided",15}  {"left",6}";

    /// <inheritdoc/>
    public void Stepped(in TrainingStep step, RunTotals totals, EvaluationResult? evaluation)
    {
        if (_first < 0) _first = step.Step - 1;
        if (double.IsFinite(step.Loss)) _smoothLoss = double.IsFinite(_smoothLoss) ? 0.9 * _smoothLoss + 0.1 * step.Loss : step.Loss;
        double now = _clock.Elapsed.TotalSeconds, left = now / (step.Step - _first) * (_end - step.Step);
        if (step.Outcome == StepOutcome.NotFinite) Warned($"step {step.Step}: the loss or a gradient is not finite; the update was skipped");
        bool line = step.Step == _first + 1 || step.Step == _end || evaluation is not null;
        if (line || (_bar is null && now >= _nextLine))
        {
            _nextLine = now + SecondsBetweenLines;
            Line(string.Create(CultureInfo.InvariantCulture,
                $"{step.Step,8}  {Quantity.Short(totals.Tokens),8}  {step.Loss,7:F4}  {(evaluation is null ? "-" : evaluation.Loss.ToString("F4", CultureInfo.InvariantCulture)),7}  {step.LearningRate,8:0.0e-0}  {step.GradientNorm,6:F2}  {Quantity.Short(step.Tokens / step.Seconds),7}  {totals.PaddingAvoided,15:P0}  {Quantity.Clock(left),6}"));
        }
        _bar?.Show(now, (double)(step.Step - _first) / (_end - _first), string.Create(CultureInfo.InvariantCulture,
            $"{step.Step}/{_steps}  loss {_smoothLoss:F3}  {Quantity.Short(totals.Tokens / totals.Seconds)} tok/s  padding avoided {totals.PaddingAvoided:P0}  {Quantity.Clock(left)} left"));
    }

    /// <inheritdoc/>
    public void Saved(int step) { }

    /// <inheritdoc/>
    public void Sampled(int step, string text) => LastSample = Printable.Text(text, lines: true);

    /// <inheritdoc/>
    public void Warned(string message) => Line($"warning: {Printable.Text(message)}");

    /// <inheritdoc/>
    public void Dispose() => _bar?.Clear();

    private void Line(string text)
    {
        _bar?.Clear();
        if (!_headed)
        {
            _headed = true;
            Console.Error.WriteLine(Heading);
        }
        Console.Error.WriteLine(text);
    }
}
