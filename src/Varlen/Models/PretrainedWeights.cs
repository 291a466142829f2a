using Varlen.Checkpoints;
using Varlen.Nn;

namespace Varlen.Models;

/// <summary>The <c>model.safetensors</c> of a model's folder.</summary>
internal static class PretrainedWeights
{
    private const string Name = "model.safetensors";
    // As transformers writes and expects it.
    private static readonly Dictionary<string, string> Metadata = new() { ["format"] = "pt" };

    /// <summary>Writes the masters.</summary>
    /// <exception cref="IOException">The folder or the file cannot be written.</exception>
    public static void Save(CausalLanguageModel model, string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"cannot make the folder {folder}: {cause.Message}", cause);
        }
        Safetensors.Save(Path.Combine(folder, Name), model.StateDict(), Metadata);
    }

    /// <summary>Makes a model and reads its weights: all of them, or nothing and a list of everything that does not fit.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="parameters">Roughly how many values the model has: one far larger than the file is refused before it is made.</param>
    /// <param name="make">Makes the model.</param>
    /// <param name="device">Where to put it; the CPU when null.</param>
    /// <param name="dtype">What it computes in.</param>
    /// <param name="rename">From a name in the file to one of the model; null for what is to be ignored.</param>
    /// <param name="tied">A name in the file that may stand there a second time under another one, with the same values.</param>
    /// <exception cref="CheckpointFormatException">The file is no safetensors file, or its tensors do not fit.</exception>
    /// <exception cref="IOException">The file is missing or cannot be read.</exception>
    public static TModel Load<TModel>(
        string folder, double parameters, Func<TModel> make, Device? device, DType dtype, Func<string, string?> rename, (string Name, string Again)? tied = null) where TModel : CausalLanguageModel
    {
        using SafetensorsFile file = Open(folder);
        double bytes = file.Entries.Sum(entry => (double)entry.ByteLength);
        // Values take two bytes at least; a few missing ones are to be listed by name below.
        if (parameters > 2 * bytes + (1 << 24))
            throw new CheckpointFormatException("the weights do not fit the configuration", file.Path, 0, $"config.json describes about {parameters:N0} values, and all tensors together have {bytes:N0} bytes", "use the config.json that was saved with the weights");
        TModel model = make();
        try
        {
            model.To(device ?? Device.Cpu, dtype);
            foreach ((Parameter parameter, SafetensorsEntry entry) in Match(model, file, rename, tied))
            {
                using TensorScope scope = TensorScope.Begin();
                parameter.Load(Safetensors.Load(file, entry));
            }
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static SafetensorsFile Open(string folder)
    {
        string path = Path.Combine(folder, Name);
        if (File.Exists(path)) return SafetensorsFile.Open(path);
        string reason = File.Exists($"{path}.index.json") ? "the weights are cut into shards; join them into one file"
            : File.Exists(Path.Combine(folder, "pytorch_model.bin")) ? "pytorch_model.bin is a Python pickle, which may run code and is never opened; convert it with safetensors.torch.save_file"
            : "a model's folder holds config.json and model.safetensors";
        throw new FileNotFoundException($"{path} is missing; {reason}", path);
    }

    private static List<(Parameter, SafetensorsEntry)> Match(CausalLanguageModel model, SafetensorsFile file, Func<string, string?> rename, (string Name, string Again)? tied)
    {
        Dictionary<string, Parameter> own = model.NamedParameters().ToDictionary();
        var found = new Dictionary<string, SafetensorsEntry>();
        var problems = new List<string>();
        SafetensorsEntry? again = null;
        foreach (SafetensorsEntry entry in file.Entries)
        {
            if (rename(entry.Name) is not { } name) continue;
            if (name == tied?.Again) again = entry;
            else if (!own.TryGetValue(name, out Parameter? parameter)) problems.Add($"{entry} is no tensor of the model");
            else if (!found.TryAdd(name, entry)) problems.Add($"{entry} is there twice, as {JsonText.Quote(found[name].Name)} too");
            else if (!entry.Shape.SequenceEqual(Array.ConvertAll(parameter.Shape.Dimensions.ToArray(), size => (long)size))) problems.Add($"{entry} should be {parameter.Shape}");
            else if (!IsFloatingPoint(entry)) problems.Add($"{entry} holds no floating-point numbers that can be read");
        }
        problems.AddRange(own.Where(parameter => !found.ContainsKey(parameter.Key)).Select(parameter => $"{JsonText.Quote(parameter.Key)} {parameter.Value.Shape} is missing"));
        if (again is not null && found.TryGetValue(tied!.Value.Name, out SafetensorsEntry? first) && !SameBytes(file, first, again))
            problems.Add($"{again} differs from {first}, and the configuration ties both");
        if (problems.Count > 0)
            throw new CheckpointFormatException($"{problems.Count} tensors do not fit the model", file.Path, 0, string.Join("; ", problems), "use the config.json that was saved with the weights");
        return [.. own.Select(parameter => (parameter.Value, found[parameter.Key]))];
    }

    private static bool IsFloatingPoint(SafetensorsEntry entry) => entry.IsSupported && entry.DType.IsFloatingPoint();

    private static bool SameBytes(SafetensorsFile file, SafetensorsEntry first, SafetensorsEntry second)
    {
        if (first.DTypeName != second.DTypeName || !first.Shape.SequenceEqual(second.Shape)) return false;
        byte[] left = new byte[1 << 16], right = new byte[1 << 16];
        for (long at = 0; at < first.ByteLength; at += left.Length)
        {
            int length = (int)Math.Min(left.Length, first.ByteLength - at);
            file.Read(first, at, left.AsSpan(0, length));
            file.Read(second, at, right.AsSpan(0, length));
            if (!left.AsSpan(0, length).SequenceEqual(right.AsSpan(0, length))) return false;
        }
        return true;
    }
}
