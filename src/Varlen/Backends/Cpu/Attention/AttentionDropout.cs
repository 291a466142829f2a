namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// Which links of one sequence are dropped: a function of seed, step, layer, document, head, query and key alone, so that packed,
/// padded and permuted batches drop the same ones.
/// </summary>
internal readonly struct AttentionDropout
{
    /// <summary>Key of the document's own stream.</summary>
    internal readonly uint Key0, Key1;
    /// <summary>A link is dropped iff its word is below this; never more than the largest word.</summary>
    internal readonly uint Threshold;
    /// <summary>What a kept link is multiplied by.</summary>
    internal readonly double Keep;

    internal AttentionDropout(in AttentionProblem problem, in AttentionSequence sequence)
    {
        ulong document = sequence.DocumentKey, step = (ulong)problem.DropoutStep;
        uint domain = ((uint)(step >> 32) << 16) | ((uint)problem.DropoutLayer & 0xFFFF);
        (Key0, Key1, _, _) = Philox.Block((uint)document, (uint)(document >> 32), (uint)step, domain,
            (uint)problem.DropoutSeed, (uint)(problem.DropoutSeed >> 32));
        Threshold = (uint)Math.Min(Math.Floor(problem.Dropout * 4294967296.0), uint.MaxValue);
        Keep = 1 / (1 - problem.Dropout);
    }

    /// <summary>Whether the link is dropped.</summary>
    internal bool Drops(int head, int query, int key)
    {
        (uint w0, uint w1, uint w2, uint w3) = Philox.Block((uint)key >> 2, (uint)query, (uint)head, 0, Key0, Key1);
        uint word = (key & 3) switch { 0 => w0, 1 => w1, 2 => w2, _ => w3 };
        return word < Threshold;
    }
}
