using Varlen.Cli.Terminal;

namespace Varlen.Cli.AttentionFiles;

/// <summary>The checked contents of an attention file. The tensors belong to the scope that was open when it was read.</summary>
/// <param name="Query">[Tq, Hq, D], in the type to compute in.</param>
/// <param name="Key">[Tk, Hkv, D], or [pages, page, Hkv, D] with a table.</param>
/// <param name="Value">The same.</param>
/// <param name="QueryLayout">From cu_seq_q.</param>
/// <param name="KeyLayout">From cu_seq_k, or the queries' when the file has none.</param>
/// <param name="OutputGradient">[Tq, Hq, D], or null.</param>
/// <param name="LseGradient">[Hq, Tq] in the type of the statistics, or null.</param>
/// <param name="AlibiSlopes">[Hq], or null.</param>
internal sealed record AttentionInput(
    Tensor Query, Tensor Key, Tensor Value, SequenceLayout QueryLayout, SequenceLayout KeyLayout, Tensor? OutputGradient, Tensor? LseGradient, Tensor? AlibiSlopes) : IDisposable
{
    private const int MostFeatures = 256;
    private static readonly string[] Names = ["query", "key", "value", "cu_seq_q", "cu_seq_k", "seqused_k", "block_table", "grad_out", "grad_lse", "alibi_slopes"];

    /// <summary>Keys of each sequence that count, from seqused_k; null for all of them.</summary>
    public int[]? KeyLengths { get; init; }

    /// <summary>The pages on which they lie, from block_table; null where keys are packed.</summary>
    public KeyPages? Pages { get; init; }

    /// <summary>Keys of all sequences together.</summary>
    public int KeyTokens => KeyLengths?.Sum() ?? Key.Shape[0];

    /// <summary>Whether a backward pass is asked for.</summary>
    public bool WantsGradients => OutputGradient is not null || LseGradient is not null;

    /// <summary>Reads and checks a file.</summary>
    /// <param name="path">A safetensors file.</param>
    /// <param name="dtype">The type to compute in; null takes the file's.</param>
    /// <param name="tail">Whether tokens after the last offset are legal.</param>
    /// <param name="device">Where to compute.</param>
    /// <exception cref="CommandException">The file cannot be read (66), or a tensor or an offset is wrong (65).</exception>
    public static AttentionInput Read(string path, DType? dtype, TailPolicy tail, Device device)
    {
        using SafetensorsFile file = Open(path);
        var tensors = new AttentionTensors(file, dtype, device);
        bool isCached = tensors.Has("seqused_k"), isPaged = tensors.Has("block_table");
        foreach (string name in file.Names.Except(isPaged ? Names.Except(["cu_seq_k"]) : Names)) Console.Error.WriteLine($"warning: tensor {name} of {path} is not used");

        var query = tensors.Floating("query", "[Tq, Hq, D]", -1, -1, -1);
        (int queryTokens, int heads, int features) = (query[0], query[1], query[2]);
        int[] key = isPaged ? tensors.Floating("key", "[pages, page, Hkv, D], as there is a block_table", -1, -1, -1, features) : tensors.Floating("key", "[Tk, Hkv, D]", -1, -1, features);
        int keyHeads = key[^2];
        tensors.Floating("value", "the shape of key", key);
        tensors.RequireOneType("query", "key", "value");
        if (features is < 1 or > MostFeatures) throw tensors.Bad("query", $"head dim {features} is not supported", $"it is from 1 to {MostFeatures}", "split or pad the heads");
        if (heads < 1) throw tensors.Bad("query", "query has no heads", "Hq is 0", "give at least one head");
        if (keyHeads < 1 || heads % keyHeads != 0)
            throw tensors.Bad("key", $"{heads} query heads cannot share {keyHeads} key heads", "every key head serves equally many query heads", "make Hq a multiple of Hkv");
        if (tensors.Has("grad_out")) tensors.Floating("grad_out", "the shape of query", queryTokens, heads, features);
        if (tensors.Has("grad_lse")) tensors.Floating("grad_lse", "[Hq, Tq]", heads, queryTokens);
        if (tensors.Has("alibi_slopes")) tensors.Floating("alibi_slopes", "[Hq]", heads);

        SequenceLayout queryLayout = tensors.Layout("cu_seq_q", "query", queryTokens, tail);
        if ((isCached || isPaged) && (tensors.Has("grad_out") || tensors.Has("grad_lse")))
            throw tensors.Bad(tensors.Has("grad_out") ? "grad_out" : "grad_lse", "cached keys have no gradients", "attention over a cache is for inference", "leave the gradients out, or seqused_k and block_table");
        int[]? keyLengths = isCached ? tensors.Integers("seqused_k", "[N] for the sequences of cu_seq_q", queryLayout.Count) : null;
        KeyPages? pages = isPaged ? PagesOf(tensors, keyLengths, queryLayout.Count, key) : null;
        SequenceLayout keyLayout = pages?.Layout ?? tensors.Layout(tensors.Has("cu_seq_k") ? "cu_seq_k" : "cu_seq_q", "key", key[0], tail);
        if (queryLayout.Count != keyLayout.Count)
            throw tensors.Bad("cu_seq_k", $"cu_seq_k has {keyLayout.Count} sequences, and cu_seq_q has {queryLayout.Count}", "every query sequence has one key sequence", "make both equally long");

        for (int i = 0; pages is null && keyLengths is not null && i < keyLengths.Length; i++)
            if (keyLengths[i] < 0 || keyLengths[i] > keyLayout.Lengths[i])
                throw tensors.Bad("seqused_k", $"seqused_k[{i}] = {keyLengths[i]}", $"sequence {i} has {keyLayout.Lengths[i]} keys", "give from 0 to as many as it has");

        if (device != Device.Cpu && (dtype ?? tensors.TypeOf("query")) == DType.Float64)
            throw CommandException.Usage($"{path} holds double precision, which {device} does not compute in", "float64 is for the CPU only", "use --device cpu, or give another --dtype");
        DType compute = dtype ?? tensors.TypeOf("query"), statistics = compute == DType.Float64 ? DType.Float64 : DType.Float32;
        return new(tensors.Load("query", compute), tensors.Load("key", compute), tensors.Load("value", compute), queryLayout, keyLayout,
            tensors.Has("grad_out") ? tensors.Load("grad_out", compute) : null,
            tensors.Has("grad_lse") ? tensors.Load("grad_lse", statistics) : null,
            tensors.Has("alibi_slopes") ? tensors.Load("alibi_slopes", statistics) : null)
        {
            KeyLengths = keyLengths, Pages = pages,
        };
    }

    /// <summary>Releases what devices hold for the layouts.</summary>
    public void Dispose()
    {
        QueryLayout.Dispose();
        KeyLayout.Dispose();
    }

    private static KeyPages PagesOf(AttentionTensors tensors, int[]? lengths, int sequences, int[] key)
    {
        if (lengths is null) throw tensors.Bad("block_table", "there is no tensor seqused_k", "the table does not say how many keys a sequence has", "add seqused_k, [N]");
        try
        {
            var pages = new KeyPages(lengths, tensors.Integers("block_table", "[N, pages]", sequences, -1));
            pages.Check("attention", key[0], key[1], "block_table");
            return pages;
        }
        catch (ArgumentException e)
        {
            throw tensors.Bad("block_table", "lengths and pages do not fit", AttentionTensors.Reason(e), "mend seqused_k or block_table", e);
        }
    }

    private static SafetensorsFile Open(string path)
    {
        try
        {
            return SafetensorsFile.Open(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot read the input", path, e.Message, "give a safetensors file that exists and may be read", e);
        }
    }
}
