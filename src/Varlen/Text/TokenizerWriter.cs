using System.Buffers;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Varlen.Text;

/// <summary>Byte-level tokenizers as HuggingFace's <c>tokenizer.json</c>.</summary>
internal static class TokenizerWriter
{
    private static readonly JsonWriterOptions Options = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static void Save(string path, BytePairModel model)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        Replace(path, Write(model));
        if (BytePairModel.DefaultEndOfText(model.Added) == model.EndOfText) return;
        string settings = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", TokenizerSettings.FileName);
        string name = model.Added[model.EndOfText].Content;
        if (File.Exists(settings) && TokenizerSettings.Beside(path).EndOfText == name) return;
        JsonObject json = File.Exists(settings) ? JsonNode.Parse(File.ReadAllBytes(settings)) as JsonObject ?? [] : new() { ["tokenizer_class"] = "PreTrainedTokenizerFast" };
        json["eos_token"] = name;
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, Options)) json.WriteTo(writer);
        Replace(settings, buffer.ToArray());
    }

    private static void Replace(string path, ReadOnlySpan<byte> bytes)
    {
        string temporary = $"{Path.GetFullPath(path)}.{Path.GetRandomFileName()}.tmp";
        bool created = false;
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                created = true;
                stream.Write(bytes);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
            created = false;
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"cannot write {path}: {cause.Message}", cause);
        }
        finally
        {
            if (created) File.Delete(temporary);
        }
    }

    public static string Fingerprint(BytePairModel model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Write(model));
        if (BytePairModel.DefaultEndOfText(model.Added) != model.EndOfText) hash.AppendData(BitConverter.GetBytes(model.EndOfText));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    public static ReadOnlySpan<byte> Write(BytePairModel model)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, Options))
        {
            writer.WriteStartObject();
            writer.WriteString("version", "1.0");
            writer.WriteNull("truncation");
            writer.WriteNull("padding");
            WriteAdded(writer, model);
            if (model.Composes) WriteType(writer, "normalizer", "NFC");
            else writer.WriteNull("normalizer");
            TokenizerStages.WritePreTokenizer(writer, model);
            TokenizerStages.WritePostProcessor(writer, model);
            TokenizerStages.WriteByteLevel(writer, "decoder");
            WriteModel(writer, model);
            writer.WriteEndObject();
        }
        return json.WrittenSpan;
    }

    private static void WriteType(Utf8JsonWriter writer, string stage, string type)
    {
        writer.WriteStartObject(stage);
        writer.WriteString("type", type);
        writer.WriteEndObject();
    }

    private static void WriteAdded(Utf8JsonWriter writer, BytePairModel model)
    {
        writer.WriteStartArray("added_tokens");
        foreach (AddedToken token in model.Added.Values)
        {
            writer.WriteStartObject();
            writer.WriteNumber("id", token.Id);
            writer.WriteString("content", token.Content);
            writer.WriteBoolean("single_word", token.SingleWord);
            writer.WriteBoolean("lstrip", token.TakesLeft);
            writer.WriteBoolean("rstrip", token.TakesRight);
            writer.WriteBoolean("normalized", token.IsNormalized);
            writer.WriteBoolean("special", token.IsSpecial);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    // Merges as "a b": every version of the library reads that, and no token spells a space.
    private static void WriteModel(Utf8JsonWriter writer, BytePairModel model)
    {
        writer.WriteStartObject("model");
        writer.WriteString("type", "BPE");
        foreach (string none in (string[])["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"]) writer.WriteNull(none);
        foreach (string no in (string[])["fuse_unk", "byte_fallback"]) writer.WriteBoolean(no, false);
        writer.WriteBoolean("ignore_merges", model.IgnoresMerges);
        writer.WriteStartObject("vocab");
        for (int id = 0; id < model.Tokens.Length; id++)
        {
            if (model.Added.TryGetValue(id, out AddedToken? token))
            {
                if (token.IsInVocabulary) writer.WriteNumber(token.Content, id);
            }
            else if (model.Tokens[id].Length > 0) writer.WriteNumber(ByteAlphabet.Spell(model.Tokens[id]), id);
        }
        writer.WriteEndObject();
        writer.WriteStartArray("merges");
        foreach (BytePairMerge merge in model.Merges) writer.WriteStringValue($"{ByteAlphabet.Spell(model.Tokens[merge.Left])} {ByteAlphabet.Spell(model.Tokens[merge.Right])}");
        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}
