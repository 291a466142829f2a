using System.Runtime.InteropServices;
using Varlen.Models;

namespace Varlen.Generation;

/// <summary>Continues token sequences with what a model finds likely.</summary>
/// <param name="model">The model, which stays its owner's.</param>
/// <param name="endOfText">The id that ends a text.</param>
public sealed class TextGenerator(CausalLanguageModel model, int endOfText)
{
    /// <summary>
    /// Draws tokens one by one, each as it is asked for, until the end of the text or a number of them. The same seed gives the same tokens on
    /// one machine. When the model's positions are used up, the older half is forgotten and the rest is read again.
    /// </summary>
    /// <param name="prompt">At least one id; of a prompt longer than the model's positions only the end is read.</param>
    /// <param name="maxTokens">Most tokens to add.</param>
    /// <param name="temperature">Divides the logits; 0 takes the likeliest token.</param>
    /// <param name="topK">Only this many of the likeliest tokens may be drawn; all when null.</param>
    /// <param name="topP">Only the likeliest tokens that together have this probability may be drawn; all when null.</param>
    /// <param name="seed">Seed of the draws.</param>
    /// <returns>The added ids, without the end of the text.</returns>
    /// <exception cref="ArgumentException">The prompt is empty or holds an id that is not in the vocabulary.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of range.</exception>
    public IEnumerable<int> Generate(ReadOnlySpan<int> prompt, int maxTokens, double temperature = 0.8, int? topK = null, double? topP = null, long seed = 1)
    {
        if (prompt.IsEmpty) throw new ArgumentException("the prompt is empty; give at least one token", nameof(prompt));
        for (int i = 0; i < prompt.Length; i++)
            if ((uint)prompt[i] >= (uint)model.VocabularySize)
                throw new ArgumentException($"token {i} of the prompt is {prompt[i]}, and the model's vocabulary has the ids 0 to {model.VocabularySize - 1}; tokenizer and model must be of one vocabulary", nameof(prompt));
        ArgumentOutOfRangeException.ThrowIfNegative(maxTokens);
        var sampler = new TokenSampler(temperature, topK, topP, (ulong)seed);
        int count = Math.Min(prompt.Length, model.MaxLength);
        var window = new int[model.MaxLength];
        prompt[^count..].CopyTo(window);
        return Draws(sampler, window, count, maxTokens);
    }

    private IEnumerable<int> Draws(TokenSampler sampler, int[] window, int count, int maxTokens)
    {
        // An enumerable may be run again, from the same start.
        window = [.. window];
        using var cache = new KvCache(model);
        var logits = new float[model.VocabularySize];
        for (int n = 0; n < maxTokens; n++)
        {
            Read(cache, window.AsMemory(cache.Lengths[0]..count), logits);
            int next = sampler.Draw(logits, n);
            if (next == endOfText) yield break;
            yield return next;
            if (count == window.Length)
            {
                window.AsSpan(count - count / 2).CopyTo(window);
                count /= 2;
                cache.Clear();
            }
            window[count++] = next;
        }
    }

    private static void Read(KvCache cache, ReadOnlyMemory<int> tokens, Span<float> logits)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor single = cache.Advance([tokens]).To(dtype: DType.Float32);
        single.Device.Backend.CopyToHost(single.Pointer, MemoryMarshal.AsBytes(logits));
    }
}
