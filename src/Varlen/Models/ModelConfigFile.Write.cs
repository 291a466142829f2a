using System.Globalization;
using System.Text.Json;

namespace Varlen.Models;

internal sealed partial class ModelConfigFile
{
    /// <summary>Writes a configuration; the file is replaced whole or left as it was.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void Write(string folder, IReadOnlyDictionary<string, object?> values)
    {
        string path = Path.Combine(folder, Name), temporary = $"{path}.{Path.GetRandomFileName()}.tmp";
        try
        {
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" });
                writer.WriteStartObject();
                foreach ((string key, object? value) in values) WriteValue(writer, key, value);
                writer.WriteEndObject();
                writer.Flush();
                stream.WriteByte((byte)'\n');
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(temporary)) File.Delete(temporary);
            throw new IOException($"cannot write {path}: {cause.Message}", cause);
        }
    }

    private static void WriteValue(Utf8JsonWriter writer, string key, object? value)
    {
        switch (value)
        {
            case null: writer.WriteNull(key); break;
            case bool flag: writer.WriteBoolean(key, flag); break;
            case int number: writer.WriteNumber(key, number); break;
            case double number:
                // With a point, as Python tells a float from an int by it, and transformers checks which it gets.
                string digits = number.ToString("R", CultureInfo.InvariantCulture);
                writer.WritePropertyName(key);
                writer.WriteRawValue(digits.AsSpan().IndexOfAny(".E") >= 0 ? digits : $"{digits}.0");
                break;
            case string text: writer.WriteString(key, text); break;
            case IEnumerable<string> list:
                writer.WriteStartArray(key);
                foreach (string text in list) writer.WriteStringValue(text);
                writer.WriteEndArray();
                break;
            case IEnumerable<int> list:
                writer.WriteStartArray(key);
                foreach (int number in list) writer.WriteNumberValue(number);
                writer.WriteEndArray();
                break;
            case IReadOnlyDictionary<string, object?> section:
                writer.WriteStartObject(key);
                foreach ((string inner, object? item) in section) WriteValue(writer, inner, item);
                writer.WriteEndObject();
                break;
            default: throw new ArgumentException($"{key} is a {value.GetType().Name}, which no configuration holds", nameof(value));
        }
    }
}
