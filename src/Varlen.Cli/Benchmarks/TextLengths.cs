using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Text;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// The lengths of real documents, in tokens of single bytes, in batches that mix them: <c>texts:PATH</c>. Documents longer than the context
/// are cut, as in training.
/// </summary>
internal static class TextLengths
{
    /// <summary>What <see cref="LengthsSpec.Parse"/> tells texts by.</summary>
    private const string Prefix = "texts:";
    private const int Context = 1024, Sequences = 32, MostBatches = 8;

    /// <summary>Whether this is a specification of texts.</summary>
    public static bool Accepts(string text) => text.StartsWith(Prefix, StringComparison.Ordinal);

    /// <summary>Reads them.</summary>
    /// <param name="text">The specification.</param>
    /// <param name="seed">Decides which sequences share a batch.</param>
    /// <exception cref="CommandException">There are no documents (65).</exception>
    public static LengthsSpec Read(string text, ulong seed)
    {
        string path = text[Prefix.Length..], temporary = Path.Combine(Path.GetTempPath(), $"varlen-{Path.GetRandomFileName()}");
        int[] lengths;
        try
        {
            TextCorpus.Tokenize([path], new ByteTokenizer(), temporary);
            using TokenStore store = TokenStore.Open(temporary);
            SequencePlan plan = SequencePlan.ForEvaluation(store, Context);
            lengths = [.. plan.HeldOut.ToArray().Select(chunk => chunk.Length)];
        }
        finally
        {
            File.Delete(temporary);
        }
        if (lengths.Length == 0) throw new CommandException(ExitCode.BadData, "there are no lengths", path, "no document has a token to predict", "give texts");
        for (int last = lengths.Length - 1; last > 0; last--)
        {
            int other = LengthsSpec.Draw(seed, last, 0, last);
            (lengths[last], lengths[other]) = (lengths[other], lengths[last]);
        }
        // Few sequences make one batch; a last batch that would not be full is left out.
        int size = Math.Min(Sequences, lengths.Length), batches = Math.Min(MostBatches, lengths.Length / size);
        int[] used = lengths[..(size * batches)];
        return new LengthsSpec(text, used) { Batches = [.. used.Chunk(size)] };
    }
}
