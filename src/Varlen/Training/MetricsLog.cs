using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Varlen.Training;

/// <summary>
/// What happened at every step, as <c>metrics.jsonl</c> (one object a line) and <c>metrics.csv</c> (the same as a table). Each line is
/// written whole, so that a reader never sees a part of one.
/// </summary>
/// <remarks>
/// Keys: step, tokens (of the run so far), loss, val_loss, bits_per_byte, lr, grad_norm, outcome, batch_tokens, targets, padded_tokens,
/// tok_s, data_wait (share of the step's time), seconds (of the run so far). Values that are not finite are null.
/// </remarks>
public sealed class MetricsLog : IDisposable
{
    private const string Heading = "step,tokens,loss,val_loss,bits_per_byte,lr,grad_norm,outcome,batch_tokens,targets,padded_tokens,tok_s,data_wait,seconds\n";

    private readonly FileStream _lines, _table;
    private readonly ArrayBufferWriter<byte> _buffer = new(1024);
    private readonly Utf8JsonWriter _json;

    /// <summary>Opens both files of a folder, and cuts them back to a step: lines after it belong to steps that will be repeated.</summary>
    /// <param name="folder">An existing folder.</param>
    /// <param name="lastStep">The last step to keep; 0 begins anew.</param>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public MetricsLog(string folder, int lastStep = 0)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        _lines = Open(Path.Combine(folder, "metrics.jsonl"), lastStep, "", line => JsonStep(line));
        _table = Open(Path.Combine(folder, "metrics.csv"), lastStep, Heading, line => CsvStep(line));
        _json = new Utf8JsonWriter(_buffer);
    }

    /// <summary>Adds one step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="tokens">Tokens of the run so far.</param>
    /// <param name="seconds">Time of the run so far.</param>
    /// <param name="evaluation">The evaluation after it, if there was one.</param>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void Write(in TrainingStep step, long tokens, double seconds, EvaluationResult? evaluation)
    {
        double rate = step.Tokens / step.Seconds, wait = step.DataSeconds / step.Seconds;
        _buffer.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteNumber("step"u8, step.Step);
        _json.WriteNumber("tokens"u8, tokens);
        Number("loss"u8, step.Loss);
        if (evaluation is not null)
        {
            Number("val_loss"u8, evaluation.Loss);
            Number("bits_per_byte"u8, evaluation.BitsPerByte);
        }
        Number("lr"u8, step.LearningRate);
        Number("grad_norm"u8, step.GradientNorm);
        _json.WriteString("outcome"u8, Name(step.Outcome));
        _json.WriteNumber("batch_tokens"u8, step.Tokens);
        _json.WriteNumber("targets"u8, step.Targets);
        _json.WriteNumber("padded_tokens"u8, step.PaddedTokens);
        Number("tok_s"u8, Math.Round(rate, 1));
        Number("data_wait"u8, Math.Round(wait, 4));
        Number("seconds"u8, Math.Round(seconds, 3));
        _json.WriteEndObject();
        _json.Flush();
        "\n"u8.CopyTo(_buffer.GetSpan(1));
        _buffer.Advance(1);
        _lines.Write(_buffer.WrittenSpan);

        Span<char> text = stackalloc char[512];
        text.TryWrite(CultureInfo.InvariantCulture,
            $"{step.Step},{tokens},{step.Loss:R},{evaluation?.Loss:R},{evaluation?.BitsPerByte:R},{step.LearningRate:R},{step.GradientNorm:R},{Name(step.Outcome)},{step.Tokens},{step.Targets},{step.PaddedTokens},{rate:F1},{wait:F4},{seconds:F3}\n", out int written);
        Span<byte> line = stackalloc byte[512];
        _table.Write(line[..Encoding.UTF8.GetBytes(text[..written], line)]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _json.Dispose();
        _lines.Dispose();
        _table.Dispose();
    }

    private static string Name(StepOutcome outcome) => outcome switch { StepOutcome.Updated => "updated", StepOutcome.NoTargets => "no_targets", _ => "not_finite" };

    private void Number(ReadOnlySpan<byte> name, double value)
    {
        if (double.IsFinite(value)) _json.WriteNumber(name, value);
        else _json.WriteNull(name);
    }

    private static FileStream Open(string path, int lastStep, string heading, Func<string, int?> stepOf)
    {
        if (lastStep == 0 || !File.Exists(path))
        {
            File.WriteAllText(path, heading);
        }
        else
        {
            // A torn last line has no step, and goes with those that come after the checkpoint.
            List<string> kept = [.. File.ReadLines(path).Skip(heading.Length > 0 ? 1 : 0).TakeWhile(line => stepOf(line) is { } step && step <= lastStep)];
            string temporary = path + ".tmp";
            File.WriteAllText(temporary, heading + string.Concat(kept.Select(line => line + "\n")));
            File.Move(temporary, path, overwrite: true);
        }
        return new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
    }

    private static int? JsonStep(string line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return document.RootElement.GetProperty("step").GetInt32();
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return null;
        }
    }

    private static int? CsvStep(string line)
        => line.Count(c => c == ',') == Heading.Count(c => c == ',') && int.TryParse(line.AsSpan(0, line.IndexOf(',', StringComparison.Ordinal)), NumberStyles.None, CultureInfo.InvariantCulture, out int step) ? step : null;
}
