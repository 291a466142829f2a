using Varlen.Text;

namespace Varlen.Training;

/// <summary>The files of a model's folder beside weights and configuration, which a model trained from it has as well.</summary>
internal static class PretrainedFiles
{
    private static readonly string[] OfTheTokenizer = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja"];
    private static readonly string[] OfTheModel = ["generation_config.json"];

    /// <summary>Writes the tokenizer into a model's folder, with what belongs to it.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="folder">The folder to fill.</param>
    /// <param name="pretrained">The model that training begins from; null when there is none.</param>
    /// <param name="isItsOwn">Whether the tokenizer is that model's own.</param>
    public static void Write(Tokenizer tokenizer, string folder, string? pretrained, bool isItsOwn)
    {
        if (pretrained is not null)
        {
            foreach (string name in isItsOwn ? [.. OfTheTokenizer, .. OfTheModel] : OfTheModel)
                if (File.Exists(Path.Combine(pretrained, name))) File.Copy(Path.Combine(pretrained, name), Path.Combine(folder, name), overwrite: true);
        }
        // Its own file as it is: it may say more than what is read here.
        string own = Path.Combine(folder, "tokenizer.json");
        if (!isItsOwn || !File.Exists(own)) tokenizer.Save(own);
    }
}
