using System.Text.Json;

namespace Varlen.Models;

/// <summary>Settings by their kind.</summary>
internal sealed partial class ModelConfigFile
{
    /// <summary>A whole number of at least 1.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="fallback">Its value when absent; null refuses that.</param>
    /// <param name="alias">Another key for the same; both may stand only when they agree.</param>
    public int Size(string key, int? fallback = null, string? alias = null)
    {
        int? own = Whole(key, 1, MaxSize), other = alias is null ? null : Whole(alias, 1, MaxSize);
        if (own is { } a && other is { } b && a != b) throw Bad(key, Find(key)!.Value, $"{alias} is {b}, and both mean the same", "keep one of them");
        return own ?? other ?? fallback ?? throw Bad($"{_prefix}{key} is missing", 0, "it has no default", "use the config.json that was saved with the weights");
    }

    /// <summary>A whole number within bounds, or null when absent.</summary>
    public int? Whole(string key, int minimum, int maximum)
    {
        if (Find(key) is not { } found) return null;
        if (found.Value.ValueKind != JsonValueKind.Number || !found.Value.TryGetInt64(out long value)) throw Bad(key, found, "it is not a whole number", $"write a number from {minimum} to {maximum}");
        return value >= minimum && value <= maximum ? (int)value : throw Bad(key, found, $"it is not from {minimum} to {maximum}", "correct it");
    }

    /// <summary>Whether a key is there, be it as null.</summary>
    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>A whole number or a list of them, within bounds; empty when absent.</summary>
    public IReadOnlyList<int> Wholes(string key, int minimum, int maximum)
    {
        if (Find(key) is not { } found) return [];
        JsonElement[] items = found.Value.ValueKind == JsonValueKind.Array ? [.. found.Value.EnumerateArray()] : [found.Value];
        var numbers = new int[items.Length];
        for (int i = 0; i < items.Length; i++)
        {
            if (items[i].ValueKind != JsonValueKind.Number || !items[i].TryGetInt32(out int number) || number < minimum || number > maximum)
                throw Bad(key, found, $"it is neither a whole number from {minimum} to {maximum} nor a list of them", "correct it");
            numbers[i] = number;
        }
        return numbers;
    }

    /// <summary>A list of strings, or null when absent.</summary>
    public IReadOnlyList<string>? Texts(string key)
    {
        if (Find(key) is not { } found) return null;
        if (found.Value.ValueKind != JsonValueKind.Array || found.Value.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
            throw Bad(key, found, "it is not a list of strings", "correct it");
        return [.. found.Value.EnumerateArray().Select(item => item.GetString()!)];
    }

    /// <summary>An object's settings, or null when it is absent or empty.</summary>
    public ModelConfigFile? Section(string key)
    {
        if (Find(key) is not { } found) return null;
        if (found.Value.ValueKind != JsonValueKind.Object) throw Bad(key, found, "it is not an object", "write settings between { and }");
        var section = new ModelConfigFile(_path, $"{_prefix}{key}.");
        foreach (JsonProperty property in found.Value.EnumerateObject()) section._values.Add(property.Name, (property.Value, found.Offset));
        return section._values.Count == 0 ? null : section;
    }

    public double Number(string key, double fallback, double minimum, double maximum)
    {
        if (Find(key) is not { } found) return fallback;
        if (found.Value.ValueKind != JsonValueKind.Number) throw Bad(key, found, "it is not a number", $"write a number from {minimum:R} to {maximum:R}");
        double value = found.Value.GetDouble();
        return value >= minimum && value <= maximum ? value : throw Bad(key, found, $"it is not from {minimum:R} to {maximum:R}", "correct it");
    }

    public bool Flag(string key, bool fallback) => Find(key) is not { } found ? fallback
        : found.Value.ValueKind is JsonValueKind.True or JsonValueKind.False ? found.Value.GetBoolean() : throw Bad(key, found, "it is neither true nor false", "write true or false");

    /// <summary>One of some strings; the first when absent.</summary>
    public T Choice<T>(string key, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        if (Find(key) is not { } found) return choices[0].Value;
        string? text = found.Value.ValueKind == JsonValueKind.String ? found.Value.GetString() : null;
        var names = new List<string>();
        foreach ((string name, T value) in choices)
        {
            if (name == text) return value;
            names.Add(name);
        }
        throw Bad(key, found, "it is not supported", $"supported are {string.Join(", ", names)}");
    }

    /// <summary>Refuses a flag that is off.</summary>
    public void RequireOn(string key, string reason)
    {
        if (!Flag(key, true)) throw Refused(key, reason, "use a model with it");
    }

    /// <summary>Refuses what stands under a key.</summary>
    public CheckpointFormatException Refused(string key, string reason, string fix)
        => Find(key) is { } found ? Bad(key, found, reason, fix) : Bad($"{_prefix}{key} is missing", 0, reason, fix);

    /// <summary>Refuses a key unless it is absent, null, false or empty.</summary>
    public void RequireOff(string key, string reason)
    {
        if (Find(key) is not { } found) return;
        bool off = found.Value.ValueKind switch
        {
            JsonValueKind.False => true,
            JsonValueKind.Array => found.Value.GetArrayLength() == 0,
            JsonValueKind.Object => !found.Value.EnumerateObject().Any(),
            _ => false,
        };
        if (!off) throw Bad(key, found, reason, "use a model without it");
    }
}
