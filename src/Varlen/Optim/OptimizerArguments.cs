using Varlen.Nn;

namespace Varlen.Optim;

/// <summary>Checks that the optimisers share.</summary>
internal static class OptimizerArguments
{
    public static double NotNegative(double value, string parameter)
        => value >= 0 && double.IsFinite(value) ? value : throw new ArgumentOutOfRangeException(parameter, value, $"{parameter} must be finite and at least 0");

    public static double BelowOne(double value, string parameter)
        => value is >= 0 and < 1 ? value : throw new ArgumentOutOfRangeException(parameter, value, $"{parameter} must be at least 0 and below 1");

    /// <summary>Names for parameters that come without: their places in the list.</summary>
    public static IEnumerable<KeyValuePair<string, Parameter>> Numbered(IEnumerable<Parameter> parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        return parameters.Select((parameter, index) => KeyValuePair.Create(index.ToString(System.Globalization.CultureInfo.InvariantCulture), parameter));
    }
}
