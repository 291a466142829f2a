using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>Whether data named for a resumed run is the run's.</summary>
internal static class RunData
{
    /// <summary>Compares files by their hashes.</summary>
    /// <exception cref="CommandException">A file is missing, new or different.</exception>
    public static void RequireSame(RunFolder folder, string[] paths)
    {
        Dictionary<string, string> known = JsonNode.Parse(File.ReadAllText(folder.Data))!["files"]!.AsArray()
            .ToDictionary(file => Path.GetFullPath((string)file!["path"]!), file => (string)file!["sha256"]!);
        foreach (string path in TextCorpus.Files(paths).Select(Path.GetFullPath))
        {
            if (!known.Remove(path, out string? hash)) throw Differs(path, "the run was started without it");
            using FileStream stream = File.OpenRead(path);
            if (!string.Equals(Convert.ToHexStringLower(SHA256.HashData(stream)), hash, StringComparison.Ordinal)) throw Differs(path, "it has changed since the run was started");
        }
        if (known.Count > 0) throw Differs(known.Keys.First(), "the run was started with it");
    }

    private static CommandException Differs(string path, string why)
        => new(ExitCode.Configuration, "the data differs from the run's", path, why, "leave the data out: a resumed run has it in its folder; or start a new run");
}
