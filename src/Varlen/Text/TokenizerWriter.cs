using System.Buffers;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Varlen.Text;

/// <summary>Byte-level tokenizers as HuggingFace's <c>tokenizer.json</c>.</summary>
internal static class TokenizerWriter
{
    private static readonly JsonWriterOptions Options = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static void Save(string path, BytePairModel model)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string temporary = $"{Path.GetFullPath(path)}.{Path.GetRandomFileName()}.tmp";
        bool created = false;
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                created = true;
                stream.Write(Write(model));
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

    public static string Fingerprint(BytePairModel model) => Convert.ToHexStringLower(SHA256.HashData(Write(model)));

    public static ReadOnlySpan<byte> Write(BytePairModel model)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, Options))
        {
            writer.WriteStartObject();
            writer.WriteString("version", "1.0");
            writer.WriteNull("truncation");
            writer.WriteNull("padding");
            WriteSpecial(writer, model);
            writer.WriteNull("normalizer");
            foreach (string stage in (string[])["pre_tokenizer", "post_processor", "decoder"]) WriteByteLevel(writer, stage);
            WriteModel(writer, model);
            writer.WriteEndObject();
        }
        return json.WrittenSpan;
    }

    private static void WriteSpecial(Utf8JsonWriter writer, BytePairModel model)
    {
        writer.WriteStartArray("added_tokens");
        foreach ((int id, string name) in model.Special)
        {
            writer.WriteStartObject();
            writer.WriteNumber("id", id);
            writer.WriteString("content", name);
            foreach (string no in (string[])["single_word", "lstrip", "rstrip", "normalized"]) writer.WriteBoolean(no, false);
            writer.WriteBoolean("special", true);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    private static void WriteByteLevel(Utf8JsonWriter writer, string stage)
    {
        writer.WriteStartObject(stage);
        writer.WriteString("type", "ByteLevel");
        writer.WriteBoolean("add_prefix_space", false);
        writer.WriteBoolean("trim_offsets", true);
        writer.WriteBoolean("use_regex", true);
        writer.WriteEndObject();
    }

    // Merges as "a b": every version of the library reads that, and no token spells a space.
    private static void WriteModel(Utf8JsonWriter writer, BytePairModel model)
    {
        writer.WriteStartObject("model");
        writer.WriteString("type", "BPE");
        foreach (string none in (string[])["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"]) writer.WriteNull(none);
        foreach (string no in (string[])["fuse_unk", "byte_fallback", "ignore_merges"]) writer.WriteBoolean(no, false);
        writer.WriteStartObject("vocab");
        for (int id = 0; id < model.Tokens.Length; id++)
        {
            if (model.Special.TryGetValue(id, out string? name)) writer.WriteNumber(name, id);
            else if (model.Tokens[id].Length > 0) writer.WriteNumber(ByteAlphabet.Spell(model.Tokens[id]), id);
        }
        writer.WriteEndObject();
        writer.WriteStartArray("merges");
        foreach (BytePairMerge merge in model.Merges) writer.WriteStringValue($"{ByteAlphabet.Spell(model.Tokens[merge.Left])} {ByteAlphabet.Spell(model.Tokens[merge.Right])}");
        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}
