using Varlen.Data;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;

namespace Varlen.Tests.Training;

/// <summary>A small text as tokens with a plan, and a small model for it.</summary>
internal sealed class Corpus : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public Corpus(int context, params string[] documents)
    {
        for (int i = 0; i < documents.Length; i++) _folder.Write($"{i:D3}.txt", documents[i]);
        Summary = TextCorpus.Tokenize([_folder.Path], Tokenizer, _folder["tokens.bin"]);
        Store = TokenStore.Open(_folder["tokens.bin"]);
        Plan = SequencePlan.Create(Store, context, seed: 1);
    }

    public static Tokenizer Tokenizer { get; } = new ByteTokenizer();

    public CorpusSummary Summary { get; }

    public TokenStore Store { get; }

    public SequencePlan Plan { get; }

    public string this[string name] => _folder[name];

    public static Gpt2Model Model(int context, ulong seed = 1, double dropout = 0) => new(
        Gpt2Config.Tiny with { MaxLength = context, Width = 16, Heads = 2, Layers = 1, ResidualDropout = dropout, EmbeddingDropout = dropout, AttentionDropout = dropout }, seed);

    public PackedLoader Loader(int batchTokens, LoaderPosition? position = null) => new(Store, Plan, new LoaderOptions { BatchTokens = batchTokens }, position: position);

    public void Dispose()
    {
        Store.Dispose();
        _folder.Dispose();
    }

    /// <summary>Texts of letters that follow each other in a pattern, of different lengths.</summary>
    public static string[] Patterns(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i => string.Concat(Enumerable.Repeat(i % 2 == 0 ? "ab" : "cde", random.Next(3, 12))))];
    }
}
