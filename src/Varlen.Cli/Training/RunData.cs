using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>Whether data named for a resumed run is the run's.</summary>
internal static class RunData
{
    /// <summary>Compares files by their hashes, wherever they lie now. Those that hold no text do not count, as when the run was started.</summary>
    /// <exception cref="CommandException">A file is missing, new or different.</exception>
    public static void RequireSame(RunFolder folder, string[] paths)
    {
        JsonNode data = RunEnvironment.Read(folder.Data);
        List<(string Path, string Hash)> known = [.. data["files"]!.AsArray().Select(file => ((string)file!["path"]!, (string)file["sha256"]!))];
        HashSet<string> skipped = [.. data["skipped"]!.AsArray().Select(file => Path.GetFullPath((string)file!["path"]!))];
        foreach (string path in TextCorpus.Files(paths).Where(path => !skipped.Contains(Path.GetFullPath(path)) && TextCorpus.Size([path]) > 0))
        {
            using FileStream stream = File.OpenRead(path);
            string hash = Convert.ToHexStringLower(SHA256.HashData(stream));
            int index = known.FindIndex(file => file.Hash == hash);
            if (index < 0) throw Differs(path, known.Any(file => Path.GetFullPath(file.Path) == Path.GetFullPath(path)) ? "it has changed since the run was started" : "the run was started without it");
            known.RemoveAt(index);
        }
        if (known.Count > 0) throw Differs(known[0].Path, "the run was started with it");
    }

    private static CommandException Differs(string path, string why)
        => new(ExitCode.Configuration, "the data differs from the run's", path, why, "leave the data out: a resumed run has it in its folder; or start a new run");
}
