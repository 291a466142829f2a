using System.Text.Json.Serialization;

namespace Varlen.Training;

/// <summary>How the learning rate falls after the warm-up.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<LearningRateDecay>))]
public enum LearningRateDecay
{
    /// <summary>It does not.</summary>
    [JsonStringEnumMemberName("constant")] Constant,

    /// <summary>Along a straight line to the final rate.</summary>
    [JsonStringEnumMemberName("linear")] Linear,

    /// <summary>Along half a cosine to the final rate.</summary>
    [JsonStringEnumMemberName("cosine")] Cosine,
}

/// <summary>The learning rate of every step: a linear warm-up to the peak, then a decay that ends with the last step.</summary>
/// <param name="Peak">Rate after the warm-up.</param>
/// <param name="Steps">Steps of the whole plan.</param>
/// <param name="WarmupSteps">Steps of the warm-up; step 1 has <c>Peak / WarmupSteps</c>.</param>
/// <param name="Decay">What follows.</param>
/// <param name="Final">Rate at the last step of a decay.</param>
public sealed record LearningRateSchedule(double Peak, int Steps, int WarmupSteps, LearningRateDecay Decay, double Final)
{
    /// <summary>The rate of a step.</summary>
    /// <param name="step">From 1; steps after the last have its rate.</param>
    public double At(int step)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        if (step <= WarmupSteps) return Peak * step / WarmupSteps;
        double progress = Steps > WarmupSteps ? Math.Min(1, (double)(step - WarmupSteps) / (Steps - WarmupSteps)) : 1;
        return Decay switch
        {
            LearningRateDecay.Linear => Peak + (Final - Peak) * progress,
            LearningRateDecay.Cosine => Final + (Peak - Final) * 0.5 * (1 + Math.Cos(Math.PI * progress)),
            _ => Peak,
        };
    }
}
