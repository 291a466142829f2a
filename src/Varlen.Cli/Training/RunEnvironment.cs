using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Cli.Training;

/// <summary>What a run folder tells about its origin, beside the settings.</summary>
internal static class RunEnvironment
{
    private static readonly System.Text.Json.JsonSerializerOptions Readable = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Adds a start to environment.json. No variable of the environment is written: they hold secrets.</summary>
    public static void AddStart(RunFolder folder, Device device)
    {
        JsonArray starts = File.Exists(folder.Environment) && Read(folder.Environment) is JsonArray known ? known : [];
        starts.Add(new JsonObject
        {
            ["time"] = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture),
            ["varlen"] = MachineInfo.Version,
            ["runtime"] = System.Runtime.InteropServices.RuntimeInformation.FrameworkDescription,
            ["system"] = System.Runtime.InteropServices.RuntimeInformation.OSDescription,
            ["processor"] = MachineInfo.Processor(),
            ["vector_bits"] = MachineInfo.VectorBits,
            ["device"] = device.ToString(),
            ["threads"] = Device.CpuThreads,
            ["command"] = new JsonArray([.. Environment.GetCommandLineArgs().Skip(1).Select(arg => JsonValue.Create(arg))]),
        });
        Write(folder.Environment, starts);
    }

    /// <summary>Writes data.json.</summary>
    public static void WriteData(RunFolder folder, CorpusSummary corpus, SequencePlan plan, IEnumerable<PackingReport> packings)
        => Write(folder.Data, new JsonObject
        {
            ["files"] = new JsonArray([.. corpus.Files.Select(file => new JsonObject { ["path"] = file.Path, ["bytes"] = file.Bytes, ["documents"] = file.Documents, ["sha256"] = file.Sha256 })]),
            ["skipped"] = new JsonArray([.. corpus.Skipped.Select(file => new JsonObject { ["path"] = file.Path, ["reason"] = file.Reason })]),
            ["other_files"] = corpus.OtherFiles,
            ["bad_lines"] = corpus.BadLineCount,
            ["documents"] = corpus.Documents,
            ["tokens"] = corpus.Tokens,
            ["lengths"] = Lengths(corpus.Lengths),
            ["records"] = Records(corpus),
            ["cut"] = plan.CutDocuments,
            ["ledger"] = Ledger(plan.Ledger),
            ["packing"] = new JsonArray([.. packings.Select(Packing)]),
        });

    /// <summary>Reads a file that this class wrote.</summary>
    /// <exception cref="CommandException">It is missing, or something else has written to it.</exception>
    public static JsonNode Read(string path)
    {
        try
        {
            return JsonNode.Parse(File.ReadAllText(path)) ?? throw new System.Text.Json.JsonException("it holds null");
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new CommandException(ExitCode.Configuration, "a file of the run folder is damaged", path, e.Message, "restore it from a copy of the folder", e);
        }
    }

    // Replaced whole: a process that is killed meanwhile leaves the old file or the new one.
    private static void Write(string path, JsonNode value)
    {
        string temporary = path + ".tmp";
        File.WriteAllText(temporary, value.ToJsonString(Readable) + "\n");
        File.Move(temporary, path, overwrite: true);
    }

    /// <summary>A histogram of lengths as JSON.</summary>
    public static JsonObject Lengths(LengthHistogram lengths) => new()
    {
        ["count"] = lengths.Count,
        ["total"] = lengths.Total,
        ["shortest"] = lengths.Shortest,
        ["mean"] = JsonOutput.Number(lengths.Mean, 1),
        ["median"] = lengths.Median,
        ["p90"] = lengths.Percentile90,
        ["p99"] = lengths.Percentile99,
        ["longest"] = lengths.Longest,
        ["buckets"] = new JsonArray([.. lengths.Buckets.Select(bucket => new JsonObject { ["up_to"] = bucket.UpTo, ["count"] = bucket.Count })]),
    };

    /// <summary>A packing policy's result as JSON.</summary>
    public static JsonObject Packing(PackingReport packing) => new()
    {
        ["policy"] = PackingOption.Name(packing.Policy),
        ["batches"] = packing.Batches,
        ["sequences"] = packing.Sequences,
        ["tokens"] = packing.Tokens,
        ["fill"] = JsonOutput.Number(packing.Fill),
        ["padded_to_longest"] = new JsonObject { ["tokens"] = JsonOutput.Number(packing.ToLongest.Tokens), ["scores"] = JsonOutput.Number(packing.ToLongest.Scores) },
        ["padded_to_maximum"] = new JsonObject { ["tokens"] = JsonOutput.Number(packing.ToMaximum.Tokens), ["scores"] = JsonOutput.Number(packing.ToMaximum.Scores) },
    };

    /// <summary>Documents by kind as JSON.</summary>
    public static JsonArray Records(CorpusSummary corpus) => new([.. corpus.Records.Select(record => new JsonObject
    {
        ["kind"] = PlanPage.Name(record.Kind),
        ["documents"] = record.Documents,
        ["tokens"] = record.Tokens,
        ["trained_targets"] = record.TrainedTargets,
    })]);

    /// <summary>Both sides of a ledger as JSON.</summary>
    public static JsonObject Ledger(TokenLedger ledger) => new() { ["inputs"] = Count(ledger.Inputs), ["targets"] = Count(ledger.Targets) };

    private static JsonObject Count(TokenCount count) => new()
    {
        ["read"] = count.Read,
        ["trained"] = count.Trained,
        ["held_out"] = count.HeldOut,
        ["ends"] = count.Ends,
        ["ignored"] = count.Ignored,
        ["dropped"] = count.Dropped.Values.Sum(),
        ["dropped_by_reason"] = new JsonObject([.. count.Dropped.Select(entry => KeyValuePair.Create(entry.Key.Replace(' ', '_'), (JsonNode?)entry.Value))]),
    };
}

/// <summary>The words of --packing.</summary>
internal static class PackingOption
{
    /// <summary>All policies with their words.</summary>
    public static readonly (string Word, PackingPolicy Value)[] Choices = [("best-fit", PackingPolicy.BestFit), ("first-fit", PackingPolicy.FirstFit), ("concat", PackingPolicy.Concat)];

    /// <summary>The word of a policy.</summary>
    public static string Name(PackingPolicy policy) => Choices.First(choice => choice.Value == policy).Word;
}
