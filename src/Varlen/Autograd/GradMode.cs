namespace Varlen;

/// <summary>Whether ops on this thread are recorded for a backward pass.</summary>
public static class GradMode
{
    [ThreadStatic] private static int t_disabled;

    /// <summary>True unless a <see cref="NoGrad"/> region is open on this thread.</summary>
    public static bool IsEnabled => t_disabled == 0;

    /// <summary>Stops recording on this thread until the result is disposed: evaluation, generation, optimiser updates.</summary>
    public static Region NoGrad()
    {
        t_disabled++;
        return default;
    }

    /// <summary>An open region without recording.</summary>
    public readonly ref struct Region : IDisposable
    {
        /// <summary>Resumes the state before the region.</summary>
        public void Dispose() => t_disabled--;
    }
}
