using System.Runtime.InteropServices;
using Varlen.Models;
using Varlen.Ops;
using Varlen.Text;

namespace Varlen.Generation;

/// <summary>
/// Continues token sequences with what a model finds likely. Prompts of different lengths go on together without padding, and as one ends
/// the next begins. When the model's positions are used up, the older half of a sequence is forgotten and the rest is read again.
/// </summary>
/// <remarks>
/// A prompt's tokens are a function of the prompt, the options and the model on one machine: on the CPU to the bit, on a GPU as far as the
/// logits are, which deterministic mode makes independent of the batch. A GPU draws the tokens itself, and records the step that adds one to each text.
/// </remarks>
public sealed class TextGenerator
{
    // Rows of a pass over prompts: more gain nothing, and activations grow with them.
    private const int MostPromptTokens = 8192;

    private readonly CausalLanguageModel _model;
    private readonly Tokenizer? _tokenizer;
    private readonly HashSet<int> _ends;

    /// <summary>Whether steps are recorded where a device can; false runs the same steps as they are, to compare with.</summary>
    internal bool Records { get; init; } = true;

    /// <summary>Why the steps of the latest texts are not recorded, on a device that records; null when they are.</summary>
    internal string? WhyNotRecorded { get; private set; }

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
        var group = new Group(slots.Length);
        using var cache = new KvCache(_model, slots.Length);
        using DeviceSampler? sampler = DeviceSampler.For(_model, options);
        using DecodeStep? step = DecodeStep.For(cache, sampler, Records);
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
                if (step is not null) cache.Expect(slot, sequence.MostTokens);
            }
            bool isFresh = NextGroup(group, slots, cache);
            if (group.Count == 0 && more) continue;
            if (group.Count == 0) yield break;
            if (step is null || isFresh) Read(cache, sampler, slots, group);
            else Decode(step, slots, group);
            WhyNotRecorded ??= step?.WhyNotRecorded;
            for (int i = 0; i < group.Count; i++)
            {
                int slot = group.Slots[i];
                // What no device drew, or could not, because the logits are damaged.
                GeneratedToken token = group.Ids[i] >= 0 ? slots[slot]!.Take(group.Ids[i]) : slots[slot]!.Draw(group.Logits.AsSpan(i * _model.VocabularySize, _model.VocabularySize));
                if (token.End != GenerationEnd.None)
                {
                    slots[slot] = null;
                    cache.Clear(slot);
                }
                yield return token;
            }
        }
    }

    // New prompts first, up to a number of tokens: they are read without the cache. Else all that go on.
    private static bool NextGroup(Group group, GenerationSequence?[] slots, KvCache cache)
    {
        int tokens = 0;
        group.Count = 0;
        for (int slot = 0; slot < slots.Length; slot++)
        {
            if (slots[slot] is not { IsFresh: true } sequence) continue;
            if (group.Count > 0 && tokens + sequence.Unread.Length > MostPromptTokens) break;
            tokens += sequence.Unread.Length;
            cache.Clear(slot);
            group.Add(slot);
        }
        if (group.Count > 0) return true;
        for (int slot = 0; slot < slots.Length; slot++)
            if (slots[slot] is not null) group.Add(slot);
        return false;
    }

    private static void Read(KvCache cache, DeviceSampler? sampler, GenerationSequence?[] slots, Group group)
    {
        using TensorScope scope = TensorScope.Begin();
        var tokens = new ReadOnlyMemory<int>[slots.Length];
        foreach (int slot in group.Slots.AsSpan(0, group.Count)) tokens[slot] = slots[slot]!.Unread;
        Tensor logits = cache.Advance(tokens);
        Span<int> ids = group.Ids.AsSpan(0, group.Count);
        if (sampler is null) ids.Fill(-1);
        else sampler.Draw(logits, group.FillRows(slots), ids);
        if (ids.Contains(-1)) group.Logits = Values(logits);
    }

    private static void Decode(DecodeStep step, GenerationSequence?[] slots, Group group)
    {
        Span<int> ids = group.Ids.AsSpan(0, group.Count);
        step.Run(group.FillRows(slots), ids);
        if (!ids.Contains(-1)) return;
        using TensorScope scope = TensorScope.Begin();
        group.Logits = Values(step.Logits(group.Count));
    }

    private static float[] Values(Tensor logits)
    {
        logits = logits.To(dtype: DType.Float32).Contiguous();
        float[] values = GC.AllocateUninitializedArray<float>(checked((int)logits.Count));
        logits.Device.Backend.CopyToHost(logits.Pointer, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    /// <summary>Slots that go on together, and what came of it; used again for every step.</summary>
    private sealed class Group(int slots)
    {
        private readonly SampledRow[] _rows = new SampledRow[slots];

        public int Count { get; set; }
        public int[] Slots { get; } = new int[slots];

        /// <summary>Tokens that a device drew; -1 where the host is to draw from <see cref="Logits"/>.</summary>
        public int[] Ids { get; } = new int[slots];
        public float[] Logits { get; set; } = [];

        public void Add(int slot) => Slots[Count++] = slot;

        public ReadOnlySpan<SampledRow> FillRows(GenerationSequence?[] slots)
        {
            for (int i = 0; i < Count; i++) _rows[i] = slots[Slots[i]]!.Row(Slots[i]);
            return _rows.AsSpan(0, Count);
        }
    }
}
