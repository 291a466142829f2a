using Varlen.Data;
using Varlen.Models;

namespace Varlen.Generation;

/// <summary>Continues token sequences with what a model finds likely.</summary>
/// <param name="model">The model, which stays its owner's.</param>
/// <param name="endOfText">The id that ends a text.</param>
public sealed class TextGenerator(CausalLanguageModel model, int endOfText)
{
    /// <summary>Draws tokens one by one until the end of the text or a number of them.</summary>
    /// <param name="prompt">At least one id.</param>
    /// <param name="maxTokens">Most tokens to add.</param>
    /// <param name="temperature">Divides the logits; 0 takes the likeliest token.</param>
    /// <param name="seed">Seed of the draws.</param>
    /// <returns>The added ids, without the end of the text.</returns>
    /// <exception cref="ArgumentException">The prompt is empty.</exception>
    public IReadOnlyList<int> Generate(ReadOnlySpan<int> prompt, int maxTokens, double temperature = 0.8, int seed = 1)
    {
        if (prompt.IsEmpty) throw new ArgumentException("the prompt is empty; give at least one token", nameof(prompt));
        ArgumentOutOfRangeException.ThrowIfNegative(maxTokens);
        ArgumentOutOfRangeException.ThrowIfNegative(temperature);
        var random = new Random(seed);
        List<int> ids = [.. prompt];
        using var region = GradMode.NoGrad();
        while (ids.Count < prompt.Length + maxTokens)
        {
            int next = Draw(Logits(ids), temperature, random);
            if (next == endOfText) break;
            ids.Add(next);
        }
        return ids[prompt.Length..];
    }

    private float[] Logits(List<int> ids)
    {
        using TensorScope scope = TensorScope.Begin();
        int[] window = [.. ids.TakeLast(model.MaxLength)];
        using PackedBatch batch = PackedBatch.Create([new TokenSequence(window, new int[window.Length])], model.Parameters()[0].Master.Device);
        return model.Forward(batch).Narrow(0, window.Length - 1, 1).ToArray<float>();
    }

    private static int Draw(float[] logits, double temperature, Random random)
    {
        float top = logits.Max();
        if (temperature == 0) return Array.IndexOf(logits, top);
        double[] weights = [.. logits.Select(logit => Math.Exp((logit - top) / temperature))];
        double at = random.NextDouble() * weights.Sum();
        for (int i = 0; i < weights.Length; i++)
            if ((at -= weights[i]) < 0) return i;
        return weights.Length - 1;
    }
}
