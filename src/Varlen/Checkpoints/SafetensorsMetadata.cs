using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>The strings of a header's <c>__metadata__</c>, decoded when asked for.</summary>
internal sealed class SafetensorsMetadata(ReadOnlyMemory<byte> json, JsonKeyTable keys, int[] valueStarts) : IReadOnlyDictionary<string, string>
{
    public int Count => keys.Count;

    public IEnumerable<string> Keys => Enumerable.Range(0, Count).Select(index => keys[index]);

    public IEnumerable<string> Values => Enumerable.Range(0, Count).Select(ValueAt);

    public string this[string key] => TryGetValue(key, out string? value)
        ? value
        : throw new KeyNotFoundException($"the metadata has no key {JsonText.Quote(key)}; it has {Count} others");

    public bool ContainsKey(string key) => keys.IndexOf(key) >= 0;

    public bool TryGetValue(string key, [MaybeNullWhen(false)] out string value)
    {
        int index = keys.IndexOf(key);
        value = index < 0 ? null : ValueAt(index);
        return index >= 0;
    }

    public IEnumerator<KeyValuePair<string, string>> GetEnumerator()
    {
        for (int i = 0; i < Count; i++) yield return new(keys[i], ValueAt(i));
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private string ValueAt(int index)
    {
        var reader = new Utf8JsonReader(json.Span[valueStarts[index]..]);
        reader.Read();
        return reader.GetString()!;
    }
}
