using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Varlen.Auditing;
using Varlen.Cli.Training;
using Varlen.Data;
using Varlen.Text;
using Varlen.Training;

namespace Varlen.Cli.Auditing;

/// <summary>The tokens that an audit looks at, and where they come from.</summary>
internal sealed class AuditData : IDisposable
{
    // Enough that whole documents are held out, and few enough to be read at once.
    private const int RandomDocuments = 40;

    private readonly string? _temporary;

    private AuditData(TokenStore store, SequencePlan plan, string description, IEnumerable<AuditedDocument>? documents, string? missing, string? temporary)
        => (Store, Plan, Description, Documents, Missing, _temporary) = (store, plan, description, documents, missing, temporary);

    /// <summary>The tokens.</summary>
    public TokenStore Store { get; }

    /// <summary>What is trained on, and what is held out.</summary>
    public SequencePlan Plan { get; }

    /// <summary>Where they come from, in a few words.</summary>
    public string Description { get; }

    /// <summary>The documents tokenised one by one; null when they cannot be.</summary>
    public IEnumerable<AuditedDocument>? Documents { get; }

    /// <summary>Why they cannot be; null when they can.</summary>
    public string? Missing { get; }

    /// <summary>Random documents of awkward lengths.</summary>
    public static AuditData Random(int context, int vocabularySize, ulong seed)
    {
        IReadOnlyList<int[]> documents = AuditSample.Random(RandomDocuments, context, vocabularySize, seed);
        return Build("random documents of awkward lengths", path =>
        {
            using var writer = new TokenStoreWriter(path, vocabularySize, new string('0', 64));
            foreach (int[] document in documents)
            {
                writer.Append(document);
                writer.EndDocument();
            }
            writer.Complete();
            return documents.Select((document, i) => new AuditedDocument($"random document {i}", document));
        }, context, seed: 1);
    }

    /// <summary>Texts, tokenised anew.</summary>
    public static AuditData Read(string[] paths, Tokenizer tokenizer, TextCorpusOptions reading, int context, int seed, CancellationToken cancellationToken) => Build(string.Join(", ", paths), path =>
    {
        CorpusSummary corpus = TextCorpus.Tokenize(paths, tokenizer, path, reading, cancellationToken: cancellationToken);
        return AuditedText.Read(corpus.Files.Select(file => file.Path), tokenizer, reading);
    }, context, seed);

    /// <summary>A run's own tokens, and its files if they are still what they were.</summary>
    public static AuditData Of(RunFolder run, RunConfig config, Tokenizer tokenizer)
    {
        TokenStore store = TokenStore.Open(run.Tokens);
        (string Path, string Hash)[] files = [.. RunEnvironment.Read(run.Data)["files"]!.AsArray().Select((JsonNode? file) => ((string)file!["path"]!, (string)file["sha256"]!))];
        string? missing = files.Select(WhyOther).FirstOrDefault(why => why is not null);
        return new(store, SequencePlan.Create(store, config.Context, config.Seed), $"{string.Join(", ", config.Data)}, as in the run", missing is null ? AuditedText.Read(files.Select(file => file.Path), tokenizer, new() { TextField = config.TextField }) : null, missing, null);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Store.Dispose();
        if (_temporary is not null) File.Delete(_temporary);
    }

    private static string? WhyOther((string Path, string Hash) file)
    {
        if (!File.Exists(file.Path)) return $"{file.Path} is not there; go to the folder where the run was started, or name the data";
        using FileStream stream = File.OpenRead(file.Path);
        return Convert.ToHexStringLower(SHA256.HashData(stream)) == file.Hash ? null : $"{file.Path} has changed since the run was started";
    }

    private static AuditData Build(string description, Func<string, IEnumerable<AuditedDocument>> write, int context, int seed)
    {
        string path = Path.Combine(Path.GetTempPath(), $"varlen-{Path.GetRandomFileName()}");
        try
        {
            IEnumerable<AuditedDocument> documents = write(path);
            TokenStore store = TokenStore.Open(path);
            try
            {
                return new(store, SequencePlan.Create(store, context, seed), description, documents, null, path);
            }
            catch
            {
                store.Dispose();
                throw;
            }
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }
}
