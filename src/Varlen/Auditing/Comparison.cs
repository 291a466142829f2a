namespace Varlen.Auditing;

/// <summary>Gathers what was seen of one claim: the worst error of each quantity, and the first case that is wrong.</summary>
internal sealed class Comparison(AuditArea area, string claim)
{
    private readonly List<AuditMeasurement> _measurements = [];
    private string? _failure;

    /// <summary>Adds a comparison.</summary>
    /// <param name="what">The quantity.</param>
    /// <param name="where">Which document, in words.</param>
    /// <param name="difference">How far it is apart.</param>
    /// <param name="tolerance">Allowed relative error; 0 asks for the same bits.</param>
    /// <param name="floor">Errors are not held against a scale below it.</param>
    public void Add(string what, string where, Difference difference, double tolerance, double floor)
    {
        double error = difference.Error == 0 ? 0 : difference.Error / Math.Max(difference.Scale, floor);
        int known = _measurements.FindIndex(measurement => measurement.What == what);
        if (known < 0) _measurements.Add(new(what, error, tolerance));
        else if (error > _measurements[known].Error) _measurements[known] = new(what, error, tolerance);
        bool holds = tolerance == 0 ? difference.SameBits : error <= tolerance;
        Require(holds, FormattableString.Invariant($"{where}: {what} differ by {error:0.#e-0}, {(tolerance == 0 ? "and should keep their bits" : FormattableString.Invariant($"and {tolerance:0.#e-0} is allowed"))}"));
    }

    /// <summary>Adds something that is right or wrong.</summary>
    public void Require(bool holds, string failure)
    {
        if (!holds) _failure ??= failure;
    }

    /// <summary>The check.</summary>
    /// <param name="detail">What was looked at, for when it holds.</param>
    public AuditCheck ToCheck(string detail) => new(area, claim, _failure is null ? AuditOutcome.Holds : AuditOutcome.Fails, _failure ?? detail, _measurements);
}
