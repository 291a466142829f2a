using Varlen.Checkpoints;

namespace Varlen.Models;

/// <summary>The weights of a model's folder, under the names of the file.</summary>
internal static class PretrainedWeights
{
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
        using TensorScope scope = TensorScope.Begin();
        Safetensors.Save(Path.Combine(folder, WeightFiles.Single), model.PretrainedTensors().Select(tensor => KeyValuePair.Create(tensor.Name, tensor.Parameter.Rows(tensor.First, tensor.Rows))), Metadata);
    }

    /// <summary>Makes a model and reads its weights: all of them, or nothing and a list of everything that does not fit.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="parameters">Roughly how many values the model has: one far larger than the file is refused before it is made.</param>
    /// <param name="make">Makes the model.</param>
    /// <param name="device">Where to put it; the CPU when null.</param>
    /// <param name="dtype">What it computes in.</param>
    /// <param name="rename">From a name in the file to one of the model; null for what is to be ignored.</param>
    /// <param name="tied">A name in the file that may stand there a second time under another one, with the same values.</param>
    /// <exception cref="CheckpointFormatException">A file is no safetensors file, or its tensors do not fit.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static TModel Load<TModel>(
        string folder, double parameters, Func<TModel> make, Device? device, DType dtype, Func<string, string?> rename, (string Name, string Again)? tied = null) where TModel : CausalLanguageModel
    {
        using WeightFiles files = WeightFiles.Open(folder);
        double bytes = files.Tensors.Sum(tensor => (double)tensor.Entry.ByteLength);
        // Values take two bytes at least; a few missing ones are to be listed by name below.
        if (parameters > 2 * bytes + (1 << 24))
            throw new CheckpointFormatException("the weights do not fit the configuration", files.Path, 0, $"config.json describes about {parameters:N0} values, and all tensors together have {bytes:N0} bytes", "use the config.json that was saved with the weights");
        TModel model = make();
        try
        {
            model.To(device ?? Device.Cpu, dtype);
            foreach ((PretrainedTensor tensor, SafetensorsFile file, SafetensorsEntry entry) in Match(model, files, rename, tied))
            {
                using TensorScope scope = TensorScope.Begin();
                tensor.Parameter.LoadRows(Safetensors.Load(file, entry), tensor.First);
            }
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static List<(PretrainedTensor, SafetensorsFile, SafetensorsEntry)> Match(CausalLanguageModel model, WeightFiles files, Func<string, string?> rename, (string Name, string Again)? tied)
    {
        Dictionary<string, PretrainedTensor> own = model.PretrainedTensors().ToDictionary(tensor => tensor.Name);
        var found = new Dictionary<string, (SafetensorsFile File, SafetensorsEntry Entry)>();
        var problems = new ProblemList();
        (SafetensorsFile File, SafetensorsEntry Entry)? again = null;
        foreach ((SafetensorsFile file, SafetensorsEntry entry) in files.Tensors)
        {
            if (rename(entry.Name) is not { } name) continue;
            if (name == tied?.Again) again = (file, entry);
            else if (!own.TryGetValue(name, out PretrainedTensor tensor)) problems.Add($"{entry} is no tensor of the model");
            else if (!found.TryAdd(name, (file, entry))) problems.Add($"{entry} is there twice, as {JsonText.Quote(found[name].Entry.Name)} too");
            else if (!entry.Shape.SequenceEqual(Array.ConvertAll(tensor.Shape.Dimensions.ToArray(), size => (long)size))) problems.Add($"{entry} should be {tensor.Shape}");
            else if (!(entry.IsSupported && entry.DType.IsFloatingPoint())) problems.Add($"{entry} holds no floating-point numbers that can be read");
        }
        foreach (PretrainedTensor tensor in own.Values)
            if (!found.ContainsKey(tensor.Name)) problems.Add($"{JsonText.Quote(tensor.Name)} {tensor.Shape} is missing");
        if (again is { } second && found.TryGetValue(tied!.Value.Name, out (SafetensorsFile File, SafetensorsEntry Entry) first) && !SameBytes(first, second))
            problems.Add($"{second.Entry} differs from {first.Entry}, and the configuration ties both");
        if (problems.Count > 0)
            throw new CheckpointFormatException($"{problems.Count} tensors do not fit the model", files.Path, 0, problems.ToString(), "use the config.json that was saved with the weights");
        return [.. own.Values.Select(tensor => (tensor, found[tensor.Name].File, found[tensor.Name].Entry))];
    }

    private static bool SameBytes((SafetensorsFile File, SafetensorsEntry Entry) first, (SafetensorsFile File, SafetensorsEntry Entry) second)
    {
        if (first.Entry.DTypeName != second.Entry.DTypeName || !first.Entry.Shape.SequenceEqual(second.Entry.Shape)) return false;
        byte[] left = new byte[1 << 16], right = new byte[1 << 16];
        for (long at = 0; at < first.Entry.ByteLength; at += left.Length)
        {
            int length = (int)Math.Min(left.Length, first.Entry.ByteLength - at);
            first.File.Read(first.Entry, at, left.AsSpan(0, length));
            second.File.Read(second.Entry, at, right.AsSpan(0, length));
            if (!left.AsSpan(0, length).SequenceEqual(right.AsSpan(0, length))) return false;
        }
        return true;
    }
}
