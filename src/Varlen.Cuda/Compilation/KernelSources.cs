using System.Reflection;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>The kernel sources, embedded in this assembly.</summary>
internal static class KernelSources
{
    private static readonly Assembly Assembly = typeof(KernelSources).Assembly;
    private static readonly Lazy<IReadOnlyList<(string Name, string Text)>> AllHeaders = new(() =>
        [.. Assembly.GetManifestResourceNames().Where(name => name.EndsWith(".cuh", StringComparison.Ordinal)).Order(StringComparer.Ordinal).Select(name => (name, Read(name)))]);

    /// <summary>Every header, by name: any source may include any of them.</summary>
    public static IReadOnlyList<(string Name, string Text)> Headers => AllHeaders.Value;

    public static string Read(string name)
    {
        using Stream stream = Assembly.GetManifestResourceStream(name) ?? throw new InvalidOperationException($"there is no kernel source {name}");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    /// <summary>The headers that a text includes, directly or through others.</summary>
    public static IEnumerable<(string Name, string Text)> IncludedBy(string text)
    {
        var found = new HashSet<string>();
        var open = new Queue<string>([text]);
        while (open.TryDequeue(out string? current))
            foreach ((string name, string header) in Headers)
                if (current.Contains($"#include \"{name}\"", StringComparison.Ordinal) && found.Add(name)) open.Enqueue(header);
        return Headers.Where(header => found.Contains(header.Name));
    }

    /// <summary>Every family of the backend: they are static fields beside the launchers, and no list has to name them.</summary>
    public static IEnumerable<KernelFamily> Families()
        => typeof(CudaBackend).GetFields(BindingFlags.Static | BindingFlags.NonPublic).Select(field => field.GetValue(null)).OfType<KernelFamily>();
}
