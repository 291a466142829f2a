using System.Runtime.InteropServices;
using Varlen.Models;
using Varlen.Text;

namespace Varlen.Generation;

/// <summary>
/// Continues token sequences with what a model finds likely. Prompts of different lengths go on together without padding, and as one ends
/// the next begins. When the model's positions are used up, the older half of a sequence is forgotten and the rest is read again.
/// </summary>
/// <remarks>
/// A prompt's tokens are a function of the prompt, the options and the model on one machine: on the CPU to the bit, on a GPU as far as the
/// logits are, which deterministic mode makes independent of the batch.
/// </remarks>
public sealed class TextGenerator
{
    // Rows of a pass over prompts: more gain nothing, and activations grow with them.
    private const int MostPromptTokens = 8192;

    private readonly CausalLanguageModel _model;
    private readonly Tokenizer? _tokenizer;
    private readonly HashSet<int> _ends;

    /// <summary>A generator of ids.</summary>
    /// <param name="model">The model, which stays its owner's.</param>
    /// <param name="endOfText">Ids that end a text; the model's when there are none.</param>
    public TextGenerator(CausalLanguageModel model, params ReadOnlySpan<int> endOfText)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _ends = endOfText.IsEmpty ? [.. model.EndOfText] : [.. endOfText];
    }

    /// <summary>A generator of ids and texts. A text ends with the ids that the model names, and with the tokenizer's.</summary>
    /// <param name="model">The model, which stays its owner's.</param>
    /// <param name="tokenizer">Makes texts of ids.</param>
    public TextGenerator(CausalLanguageModel model, Tokenizer tokenizer) : this(model)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
        _ends.Add(tokenizer.EndOfText);
    }

    /// <summary>Continues one prompt, each token as it is asked for. The same seed gives the same tokens on one machine.</summary>
    /// <param name="prompt">At least one id; of a prompt longer than the model's positions only the end is read.</param>
    /// <param name="options">How; defaults when null.</param>
    /// <returns>The added ids, without the end of the text. Those of a stop string are among them.</returns>
    /// <exception cref="ArgumentException">The prompt is empty or holds an id that is not in the vocabulary, or an option is wrong.</exception>
    public IEnumerable<int> Generate(ReadOnlySpan<int> prompt, GenerationOptions? options = null)
    {
        GenerationPrompt[] prompts = [prompt.ToArray()];
        Check(prompts[0], 0);
        return Stream(prompts, Checked(options)).Where(token => token.Id >= 0 && token.End != GenerationEnd.EndOfText).Select(token => token.Id);
    }

    /// <summary>Continues many prompts together; tokens come as they are drawn, those of one prompt in order.</summary>
    /// <param name="prompts">Taken one by one as there is room, so that they may be read from anywhere.</param>
    /// <param name="options">How; defaults when null.</param>
    /// <returns>Each token with the number of its prompt; the last of each says why it is.</returns>
    /// <exception cref="ArgumentException">
    /// An option is wrong; or, as it is taken, a prompt is empty or holds an id that is not in the vocabulary: the message names its number.
    /// </exception>
    public IEnumerable<GeneratedToken> Generate(IEnumerable<GenerationPrompt> prompts, GenerationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        return Stream(prompts, Checked(options));
    }

    private GenerationOptions Checked(GenerationOptions? options)
    {
        options ??= new GenerationOptions();
        options.Validate();
        if (options.Stop.Count > 0 && _tokenizer is null) throw new ArgumentException("stop strings need a tokenizer; make the generator with one", nameof(options));
        return options;
    }

    private void Check(GenerationPrompt prompt, int number)
    {
        if (prompt.Ids.IsEmpty) throw new ArgumentException($"prompt {number} is empty; give at least one token", nameof(prompt));
        for (int i = 0; i < prompt.Ids.Length; i++)
            if ((uint)prompt.Ids.Span[i] >= (uint)_model.VocabularySize)
                throw new ArgumentException($"token {i} of prompt {number} is {prompt.Ids.Span[i]}, and the model's vocabulary has the ids 0 to {_model.VocabularySize - 1}; tokenizer and model must be of one vocabulary", nameof(prompt));
    }

    private IEnumerable<GeneratedToken> Stream(IEnumerable<GenerationPrompt> prompts, GenerationOptions options)
    {
        var slots = new GenerationSequence?[options.BatchSize];
        using var cache = new KvCache(_model, slots.Length);
        using DeviceSampler? sampler = DeviceSampler.For(_model, options);
        using IEnumerator<GenerationPrompt> waiting = prompts.GetEnumerator();
        bool more = true;
        for (int number = 0; ;)
        {
            for (int slot = 0; slot < slots.Length && more; slot++)
            {
                if (slots[slot] is not null || !(more = waiting.MoveNext())) continue;
                Check(waiting.Current, number);
                var sequence = new GenerationSequence(number++, waiting.Current, options, _model.MaxLength, _ends, _tokenizer is null ? null : new TextTail(_tokenizer, options.Stop));
                if (options.MaxTokens == 0)
                {
                    yield return sequence.Nothing;
                    continue;
                }
                slots[slot] = sequence;
                sampler?.Begin(slot, waiting.Current.Ids.Span);
            }
            int[] group = NextGroup(slots, cache);
            if (group.Length == 0 && more) continue;
            if (group.Length == 0) yield break;
            (int[] ids, float[] logits) = Read(cache, sampler, slots, group);
            for (int i = 0; i < group.Length; i++)
            {
                GeneratedToken token = Next(slots[group[i]]!, ids, logits, i);
                if (token.End != GenerationEnd.None)
                {
                    slots[group[i]] = null;
                    cache.Clear(group[i]);
                }
                yield return token;
            }
        }
    }

    // New prompts first, up to a number of tokens: they are read without the cache. Else all that go on.
    private static int[] NextGroup(GenerationSequence?[] slots, KvCache cache)
    {
        var fresh = new List<int>();
        int tokens = 0;
        for (int slot = 0; slot < slots.Length; slot++)
        {
            if (slots[slot] is not { IsFresh: true } sequence) continue;
            if (fresh.Count > 0 && tokens + sequence.Unread.Length > MostPromptTokens) break;
            tokens += sequence.Unread.Length;
            cache.Clear(slot);
            fresh.Add(slot);
        }
        return fresh.Count > 0 ? [.. fresh] : [.. Enumerable.Range(0, slots.Length).Where(slot => slots[slot] is not null)];
    }

    // Ids that a device drew; -1, and logits, where the host draws.
    private static (int[] Ids, float[] Logits) Read(KvCache cache, DeviceSampler? sampler, GenerationSequence?[] slots, int[] group)
    {
        using TensorScope scope = TensorScope.Begin();
        var tokens = new ReadOnlyMemory<int>[slots.Length];
        foreach (int slot in group) tokens[slot] = slots[slot]!.Unread;
        Tensor logits = cache.Advance(tokens);
        var ids = new int[group.Length];
        if (sampler is null) Array.Fill(ids, -1);
        else sampler.Draw(logits, [.. group.Select(slot => slots[slot]!.Row(slot))], ids);
        return (ids, ids.Contains(-1) ? Values(logits) : []);
    }

    private GeneratedToken Next(GenerationSequence sequence, int[] ids, float[] logits, int row)
        // Where logits are damaged, too, the host says so.
        => ids[row] >= 0 ? sequence.Take(ids[row]) : sequence.Draw(logits.AsSpan(row * _model.VocabularySize, _model.VocabularySize));

    private static float[] Values(Tensor logits)
    {
        logits = logits.To(dtype: DType.Float32);
        float[] values = GC.AllocateUninitializedArray<float>(checked((int)logits.Count));
        logits.Device.Backend.CopyToHost(logits.Pointer, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}
