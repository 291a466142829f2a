using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Auditing;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Auditing;

/// <summary>What an audit says, check by check.</summary>
internal sealed class AuditPage
{
    private const int LineWidth = 118;

    private readonly List<AuditCheck> _checks = [];
    private readonly bool _prints;

    /// <param name="prints">Whether each check is printed as it is known.</param>
    public AuditPage(bool prints) => _prints = prints;

    /// <summary>The checks so far.</summary>
    public IReadOnlyList<AuditCheck> Checks => _checks;

    /// <summary>Whether a check fails.</summary>
    public bool Fails => _checks.Exists(check => check.Outcome == AuditOutcome.Fails);

    /// <summary>Prints a line above the checks.</summary>
    public void Head(string name, string text)
    {
        if (_prints) Console.Out.WriteLine($"{name,-8}  {Printable.Text(text)}");
    }

    /// <summary>Adds checks of one kind, under a heading.</summary>
    public void Add(string heading, IEnumerable<AuditCheck> checks)
    {
        bool first = true;
        foreach (AuditCheck check in checks)
        {
            if (_prints && first) Console.Out.WriteLine($"\n{heading}");
            first = false;
            _checks.Add(check);
            if (_prints) Print(check);
        }
    }

    /// <summary>Prints how many hold.</summary>
    public void End()
    {
        if (!_prints) return;
        int fails = Count(AuditOutcome.Fails), notRun = Count(AuditOutcome.NotRun);
        string rest = notRun == 0 ? "" : $"; {notRun} could not be looked at";
        Console.Out.WriteLine(fails == 0 ? $"\n{Count(AuditOutcome.Holds)} checks hold{rest}" : $"\n{fails} of {_checks.Count} checks FAIL{rest}");
    }

    /// <summary>The checks as JSON.</summary>
    public void Describe(JsonObject target)
    {
        target["status"] = Fails ? "fails" : "holds";
        target["holds"] = Count(AuditOutcome.Holds);
        target["fails"] = Count(AuditOutcome.Fails);
        target["not_run"] = Count(AuditOutcome.NotRun);
        target["checks"] = new JsonArray([.. _checks.Select(check => new JsonObject
        {
            ["area"] = check.Area.ToString().ToLowerInvariant(),
            ["claim"] = check.Claim,
            ["outcome"] = check.Outcome switch { AuditOutcome.Holds => "holds", AuditOutcome.Fails => "fails", _ => "not-run" },
            ["detail"] = check.Detail,
            ["measurements"] = new JsonArray([.. check.Measurements.Select(measurement => new JsonObject { ["what"] = measurement.What, ["error"] = JsonOutput.Number(measurement.Error, 12), ["threshold"] = JsonOutput.Number(measurement.Threshold, 12) })]),
        })]);
    }

    private int Count(AuditOutcome outcome) => _checks.Count(check => check.Outcome == outcome);

    private static void Print(AuditCheck check)
    {
        string claim = $"  {check.Outcome switch { AuditOutcome.Holds => "holds", AuditOutcome.Fails => "FAILS", _ => "-" },-6}{Printable.Text(check.Claim)}";
        string measured = check.Measurements.Count > 0 && check.Measurements.All(measurement => measurement is { Threshold: 0, Error: 0 }) ? "same bits" : string.Join(" · ", check.Measurements.Select(Measured));
        string[] more = check.Outcome == AuditOutcome.Holds ? [measured.Length > 0 ? measured : Printable.Text(check.Detail)] : [Printable.Text(check.Detail), .. measured.Length > 0 ? (string[])[measured] : []];
        if (more.Length == 1 && claim.Length + more[0].Length < LineWidth) (claim, more) = ($"{claim} · {more[0]}", []);
        Console.Out.WriteLine(claim);
        foreach (string line in more) Console.Out.WriteLine($"        {line}");
    }

    private static string Measured(AuditMeasurement measurement) => measurement switch
    {
        { Threshold: 0, Error: 0 } => $"{measurement.What} same bits",
        { Threshold: 0 } => $"{measurement.What} {Short(measurement.Error)} apart",
        _ => $"{measurement.What} {Short(measurement.Error)} of {Short(measurement.Threshold)}",
    };

    private static string Short(double value) => value == 0 ? "0" : value.ToString("0.#e-0", CultureInfo.InvariantCulture);
}
