using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Native;

/// <summary>What became of the search for one library.</summary>
/// <param name="Library">The library.</param>
/// <param name="Handle">The loaded library; 0 when it was not found.</param>
/// <param name="Path">Where it was found, or the name that the loader resolved; null when it was not found.</param>
/// <param name="Attempts">What was tried before, each with the loader's own words.</param>
internal sealed record LibraryReport(CudaLibrary Library, nint Handle, string? Path, IReadOnlyList<string> Attempts)
{
    public bool IsFound => Handle != 0;
}

/// <summary>
/// Finds CUDA's libraries: in the folders of the variable <c>VARLEN_CUDA_LIBRARIES</c>, on the loader's path, in the toolkit that
/// <c>CUDA_HOME</c> or <c>CUDA_PATH</c> names, in the usual toolkit folders, and in the wheels of Python and conda environments.
/// </summary>
internal sealed class LibrarySearch
{
    public const string Variable = "VARLEN_CUDA_LIBRARIES";

    private readonly Func<string, string?> _environment;
    private readonly Func<string, nint> _load;
    private readonly bool _windows;

    /// <param name="environment">Reads an environment variable.</param>
    /// <param name="load">Loads a library or throws as <see cref="NativeLibrary.Load(string)"/> does.</param>
    /// <param name="windows">Whether Windows' names and folders are meant.</param>
    public LibrarySearch(Func<string, string?> environment, Func<string, nint> load, bool windows)
        => (_environment, _load, _windows) = (environment, load, windows);

    public static LibrarySearch OfThisProcess { get; } = new(Environment.GetEnvironmentVariable, NativeLibrary.Load, OperatingSystem.IsWindows());

    /// <param name="library">What to find.</param>
    /// <param name="newestMajor">Newest CUDA version that the driver knows.</param>
    public LibraryReport Find(CudaLibrary library, int newestMajor = int.MaxValue)
    {
        List<string> attempts = [];
        string[] names = [.. library.FileNames(_windows, newestMajor)];
        string[] named = Split(_environment(Variable));
        foreach (string candidate in Candidates(library, names, named))
        {
            try
            {
                return new(library, _load(candidate), candidate, attempts);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                attempts.Add($"{candidate}: {LastLine(e.Message)}");
            }
        }
        foreach (string folder in named)
            if (!Directory.Exists(folder)) attempts.Insert(0, $"{folder}: no such folder ({Variable})");
        return new(library, 0, null, attempts);
    }

    private IEnumerable<string> Candidates(CudaLibrary library, string[] names, string[] named)
    {
        foreach (string file in InFolders(named, names)) yield return file;
        foreach (string name in names) yield return name;
        if (library.IsDriver) yield break;
        foreach (string file in InFolders(ToolkitFolders(), names)) yield return file;
        foreach (string file in InFolders(WheelFolders(), names)) yield return file;
    }

    // Only what is there: a message that lists every place where nothing is would hide the one that matters.
    private static IEnumerable<string> InFolders(IEnumerable<string> folders, string[] names)
        => folders.SelectMany(folder => names.Select(name => Path.Combine(folder, name))).Where(File.Exists);

    private IEnumerable<string> ToolkitFolders()
    {
        string[] roots = [.. new[] { _environment("CUDA_HOME"), _environment("CUDA_PATH") }.OfType<string>().Where(root => root.Length > 0)];
        if (!_windows) roots = [.. roots, "/usr/local/cuda", .. Matching("/usr/local", "cuda-*").OrderDescending(StringComparer.Ordinal)];
        foreach (string root in roots)
            foreach (string inner in (string[])(_windows ? ["bin", "bin/x64"] : ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]))
                yield return Path.Combine(root, inner);
    }

    private IEnumerable<string> WheelFolders()
    {
        foreach (string prefix in PythonPrefixes().Distinct())
        {
            if (!_windows) yield return Path.Combine(prefix, "lib");
            string[] sites = _windows
                ? [Path.Combine(prefix, "Lib", "site-packages")]
                : [.. Matching(Path.Combine(prefix, "lib"), "python3*").SelectMany(python => new[] { Path.Combine(python, "site-packages"), Path.Combine(python, "dist-packages") })];
            foreach (string site in sites)
                foreach (string wheel in Matching(Path.Combine(site, "nvidia"), "*"))
                    yield return Path.Combine(wheel, _windows ? "bin" : "lib");
        }
    }

    private IEnumerable<string> PythonPrefixes()
    {
        foreach (string variable in (string[])["VIRTUAL_ENV", "CONDA_PREFIX"])
            if (_environment(variable) is { Length: > 0 } prefix) yield return prefix;
        foreach (string folder in Split(_environment("PATH")))
        {
            if (!File.Exists(Path.Combine(folder, _windows ? "python.exe" : "python3"))) continue;
            yield return _windows ? folder : Path.GetDirectoryName(folder.TrimEnd('/')) ?? "/";
        }
        if (_windows) yield break;
        if (_environment("HOME") is { Length: > 0 } home) yield return Path.Combine(home, ".local");
        yield return "/usr/local";
        yield return "/usr";
    }

    private static string[] Matching(string folder, string pattern)
    {
        try
        {
            return Directory.Exists(folder) ? Directory.GetDirectories(folder, pattern) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string[] Split(string? paths) => (paths ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static string LastLine(string message) => message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [.., var last] ? last : message;
}
