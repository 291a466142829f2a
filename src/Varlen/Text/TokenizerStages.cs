using System.Text.Json;

namespace Varlen.Text;

/// <summary>The stages around the model, as <c>tokenizer.json</c> has them.</summary>
internal static class TokenizerStages
{
    public static void WritePreTokenizer(Utf8JsonWriter writer, BytePairModel model)
    {
        if (model.Splitter is Gpt2Splitter { Digits: DigitSplit.None } && model.PrefixSpace != PrefixSpace.Words)
        {
            WriteByteLevel(writer, "pre_tokenizer", model.PrefixSpace == PrefixSpace.Texts);
            return;
        }
        writer.WriteStartObject("pre_tokenizer");
        writer.WriteString("type", "Sequence");
        writer.WriteStartArray("pretokenizers");
        bool digits = model.Splitter is Gpt2Splitter { Digits: not DigitSplit.None };
        writer.WriteStartObject();
        if (digits)
        {
            writer.WriteString("type", "Digits");
            writer.WriteBoolean("individual_digits", model.Splitter is Gpt2Splitter { Digits: DigitSplit.Each });
        }
        else
        {
            writer.WriteString("type", "Split");
            writer.WriteStartObject("pattern");
            writer.WriteString("Regex", SplitPatterns.ExpressionOf(model.Splitter));
            writer.WriteEndObject();
            writer.WriteString("behavior", "Isolated");
            writer.WriteBoolean("invert", false);
        }
        writer.WriteEndObject();
        WriteByteLevel(writer, null, model.PrefixSpace == PrefixSpace.Words, splits: digits);
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    public static void WritePostProcessor(Utf8JsonWriter writer, BytePairModel model)
    {
        if (model.Prefix.Length + model.Suffix.Length == 0)
        {
            WriteByteLevel(writer, "post_processor");
            return;
        }
        writer.WriteStartObject("post_processor");
        writer.WriteString("type", "Sequence");
        writer.WriteStartArray("processors");
        WriteByteLevel(writer, null);
        writer.WriteStartObject();
        writer.WriteString("type", "TemplateProcessing");
        writer.WriteStartArray("single");
        WriteTemplate(writer, model, "A", 0);
        writer.WriteEndArray();
        writer.WriteStartArray("pair");
        WriteTemplate(writer, model, "A", 0);
        WriteTemplate(writer, model, "B", 1);
        writer.WriteEndArray();
        writer.WriteStartObject("special_tokens");
        foreach (int id in model.Prefix.Concat(model.Suffix).Distinct())
        {
            string name = model.Added[id].Content;
            writer.WriteStartObject(name);
            writer.WriteString("id", name);
            writer.WriteStartArray("ids");
            writer.WriteNumberValue(id);
            writer.WriteEndArray();
            writer.WriteStartArray("tokens");
            writer.WriteStringValue(name);
            writer.WriteEndArray();
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
        writer.WriteEndObject();
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    public static void WriteByteLevel(Utf8JsonWriter writer, string? stage, bool prefixSpace = false, bool splits = true)
    {
        if (stage is null) writer.WriteStartObject();
        else writer.WriteStartObject(stage);
        writer.WriteString("type", "ByteLevel");
        writer.WriteBoolean("add_prefix_space", prefixSpace);
        writer.WriteBoolean("trim_offsets", true);
        writer.WriteBoolean("use_regex", splits);
        writer.WriteEndObject();
    }

    private static void WriteTemplate(Utf8JsonWriter writer, BytePairModel model, string text, int type)
    {
        foreach (int id in model.Prefix) WritePiece(writer, "SpecialToken", model.Added[id].Content, type);
        WritePiece(writer, "Sequence", text, type);
        foreach (int id in model.Suffix) WritePiece(writer, "SpecialToken", model.Added[id].Content, type);
    }

    private static void WritePiece(Utf8JsonWriter writer, string kind, string id, int type)
    {
        writer.WriteStartObject();
        writer.WriteStartObject(kind);
        writer.WriteString("id", id);
        writer.WriteNumber("type_id", type);
        writer.WriteEndObject();
        writer.WriteEndObject();
    }
}
