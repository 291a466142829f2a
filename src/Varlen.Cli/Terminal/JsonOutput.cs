using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Varlen.Cli.Terminal;

/// <summary>JSON on the standard output: one object a line.</summary>
internal static class JsonOutput
{
    // Paths and messages stay readable; the output is no part of a web page.
    private static readonly JsonSerializerOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes one object and a line end.</summary>
    public static void Write(JsonObject value) => Console.Out.WriteLine(value.ToJsonString(Options));

    /// <summary>A number, or null where JSON has none (NaN and the infinities).</summary>
    public static JsonNode? Number(double value, int digits = 4) => double.IsFinite(value) ? JsonValue.Create(Math.Round(value, digits)) : null;
}
