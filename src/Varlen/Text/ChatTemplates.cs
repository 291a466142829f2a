using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Varlen.Text;

/// <summary>The chat template of a model's folder, recognised by its SHA-256.</summary>
internal static class ChatTemplates
{
    private const string TemplateFile = "chat_template.jinja", Key = "chat_template";

    // Of templates as they are in use, with line feeds as such and as escapes of the template.
    private static readonly FrozenDictionary<string, string> Known = new Dictionary<string, string>
    {
        ["153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3"] = "chatml",
        ["fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e"] = "chatml",
        ["e9a55165c917b5ca690dd6547ab7ac75bd627fd038ad90bcd5e388fe9197b1ab"] = "chatml",
        ["81693fe4b9b493936757765507bb74421ffb200593bb75d179cee623be224ba1"] = "chatml",
        ["7efc46ad1c5f20cfe0c709f7e289e87870c1724dee63504949bf7cca9a108fc5"] = "chatml",
        ["6a701a28df2efbdaffb777fe809e7b8a77fa5343c0055a00a4308d06ee36350d"] = "chatml",
        ["58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7"] = "chatml",
        ["d7b5b8c7b58f7a6bf868aa46a5f73ee976d7292f40fcb9c3e7a1defd8d235cfb"] = "chatml",
        ["ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122"] = "llama3",
        ["4f46ecd43418f216df8c26936c60e5d04bcc81db47db5d86fbe889f64212dd4c"] = "llama3",
        ["b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2"] = "llama3",
        ["b75e17085cfc511ead6d4fab84b86ab3c168ec7a332568a91d0889cdcba94394"] = "llama3",
        ["47d5a7b4840c2ff2dfa0828b2465a654bef3a6cdfe032e5e105f395e4ceee812"] = "llama3",
        ["25d9364ce09288ed874ade392dfd082b81d3ea3b4d887f008fdcfd8427c7186b"] = "llama3",
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The name of a folder's format; null when it has no template.</summary>
    /// <exception cref="TextFormatException">The template is not known, or the file that should hold it is damaged.</exception>
    public static string? FormatOf(string folder)
    {
        string file = Path.Combine(folder, TemplateFile), settings = Path.Combine(folder, TokenizerSettings.FileName);
        if (File.Exists(file)) return Recognise(file, Encoding.UTF8.GetString(BoundedFile.Read(file)));
        if (!File.Exists(settings)) return null;
        try
        {
            using JsonDocument document = JsonDocument.Parse(BoundedFile.Read(settings));
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty(Key, out JsonElement template) || template.ValueKind == JsonValueKind.Null) return null;
            // Several templates by name: the one for conversations is called default.
            if (template.ValueKind == JsonValueKind.Array)
                template = template.EnumerateArray().FirstOrDefault(entry => entry.ValueKind == JsonValueKind.Object && entry.TryGetProperty("name", out JsonElement name) && name.ValueEquals("default"));
            if (template.ValueKind == JsonValueKind.Object && template.TryGetProperty("template", out JsonElement inner)) template = inner;
            return template.ValueKind == JsonValueKind.String ? Recognise(settings, template.GetString()!) : throw Unknown(settings, $"{Key} is no template");
        }
        catch (Exception cause) when (cause is JsonException or InvalidOperationException)
        {
            throw new TextFormatException("the tokenizer's settings cannot be used", settings, 0, 0, cause.Message, "copy the file again, or remove it", cause);
        }
    }

    private static string Recognise(string path, string template)
    {
        string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(template)));
        return Known.TryGetValue(hash, out string? format) ? format : throw Unknown(path, $"its SHA-256 {hash} is that of no known template, and templates are never executed");
    }

    private static TextFormatException Unknown(string path, string reason)
        => new("the chat template is not known", path, 0, 0, reason, $"name the format: --chat-format {string.Join(" or ", ChatFormat.Names)}");
}
