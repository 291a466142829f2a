using System.Collections.Concurrent;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>
/// Compiled modules, in memory and on the disk, under a hash of everything that decides them: source, included headers, options,
/// architecture, the compiler's version and this assembly's. What is read becomes code, so the folder must be the user's own and closed to others;
/// otherwise, or when it cannot be written, modules are kept in memory only.
/// </summary>
internal sealed class KernelCache
{
    public const string Variable = "VARLEN_CACHE_DIR";
    private const long DefaultMostBytes = 256 << 20;
    private const int HashBytes = 32;

    private static readonly string Version = typeof(KernelCache).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;
    private readonly ConcurrentDictionary<string, Lazy<byte[]>> _memory = new();
    private readonly string _compiler;
    private readonly string? _folder;
    private readonly long _mostBytes;

    /// <param name="compiler">Name and version of the compiler.</param>
    /// <param name="folder">Where to keep modules; null keeps them in memory only.</param>
    /// <param name="mostBytes">Files not used for longest go when there are more bytes.</param>
    public KernelCache(string compiler, string? folder, long mostBytes = DefaultMostBytes)
    {
        (_compiler, _mostBytes) = (compiler, mostBytes);
        if (folder is null) return;
        if (PrivateFolder.TryPrepare(folder, out string? why)) _folder = folder;
        else Warning = $"compiled kernels are not kept on the disk: {why}";
    }

    /// <summary>Why modules are not kept on the disk, if they are not though they should be.</summary>
    public string? Warning { get; }

    /// <summary>The folder in use; null when modules are kept in memory only.</summary>
    public string? Folder => _folder;

    /// <summary>Where the environment or the system says that caches go.</summary>
    public static string? DefaultFolder()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named) return Path.GetFullPath(named);
        string root = OperatingSystem.IsWindows()
            ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache ? cache
            : Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } home ? Path.Combine(home, ".cache") : "";
        return root.Length == 0 ? null : Path.Combine(root, "varlen", "kernels");
    }

    public bool Contains(string source, IReadOnlyList<string> defines, string architecture)
    {
        string key = Key(source, defines, architecture);
        return _memory.ContainsKey(key) || Read(key) is not null;
    }

    /// <summary>The module, from memory, from the disk, or made now by one of the threads that ask.</summary>
    public byte[] GetOrAdd(string source, IReadOnlyList<string> defines, string architecture, Func<byte[]> make)
    {
        string key = Key(source, defines, architecture);
        return _memory.GetOrAdd(key, _ => new Lazy<byte[]>(() =>
        {
            if (Read(key) is { } kept) return kept;
            byte[] made = make();
            Write(key, made);
            return made;
        })).Value;
    }

    internal string Key(string source, IReadOnlyList<string> defines, string architecture)
    {
        string text = KernelSources.Read(source);
        return Key(Version, _compiler, source, text, KernelSources.IncludedBy(text), KernelCompiler.Options(defines, architecture));
    }

    internal static string Key(string version, string compiler, string source, string text, IEnumerable<(string Name, string Text)> headers, IReadOnlyList<string> options)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(version, compiler, source, text);
        foreach ((string name, string header) in headers) Add(name, header);
        Add([.. options]);
        return Convert.ToHexStringLower(hash.GetHashAndReset());

        void Add(params ReadOnlySpan<string> parts)
        {
            foreach (string part in parts)
            {
                hash.AppendData(BitConverter.GetBytes(part.Length));
                hash.AppendData(Encoding.UTF8.GetBytes(part));
            }
        }
    }

    // A file is the hash of the module, then the module: a torn or damaged one is not taken.
    private byte[]? Read(string key)
    {
        if (_folder is null) return null;
        try
        {
            string path = FileOf(key);
            if (new FileInfo(path) is not { Exists: true, LinkTarget: null }) return null;
            byte[] bytes = File.ReadAllBytes(path);
            if (bytes.Length <= HashBytes || !SHA256.HashData(bytes.AsSpan(HashBytes)).AsSpan().SequenceEqual(bytes.AsSpan(0, HashBytes))) return null;
            File.SetLastAccessTimeUtc(path, DateTime.UtcNow);
            return bytes[HashBytes..];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private void Write(string key, byte[] module)
    {
        if (_folder is null) return;
        string temporary = Path.Combine(_folder, $"{Guid.NewGuid():N}.tmp");
        try
        {
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                stream.Write(SHA256.HashData(module));
                stream.Write(module);
            }
            File.Move(temporary, FileOf(key), overwrite: true);
            Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The module is in memory; the next process compiles it again.
            try
            {
                File.Delete(temporary);
            }
            catch (Exception inner) when (inner is IOException or UnauthorizedAccessException)
            {
                // Left for a later trim.
            }
        }
    }

    private void Trim()
    {
        FileInfo[] files = new DirectoryInfo(_folder!).GetFiles();
        long bytes = files.Sum(file => file.Length);
        foreach (FileInfo file in files.OrderBy(file => file.LastAccessTimeUtc))
        {
            if (bytes <= _mostBytes) break;
            bytes -= file.Length;
            file.Delete();
        }
    }

    private string FileOf(string key) => Path.Combine(_folder!, $"{key}.cubin");
}
