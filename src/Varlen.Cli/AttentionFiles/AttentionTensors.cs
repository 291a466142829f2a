using Varlen.Cli.Terminal;

namespace Varlen.Cli.AttentionFiles;

/// <summary>Reads single tensors of an attention file, with errors that name the tensor and the file.</summary>
/// <param name="file">The open file.</param>
/// <param name="convertTo">The type the user asked for; without it, types must agree.</param>
/// <param name="device">Where tensors go.</param>
internal sealed class AttentionTensors(SafetensorsFile file, DType? convertTo, Device device)
{
    /// <summary>Whether the file has a tensor.</summary>
    public bool Has(string name) => file.TryGetEntry(name, out _);

    /// <summary>A tensor's element type.</summary>
    public DType TypeOf(string name) => Entry(name).DType;

    /// <summary>Checks that a tensor is there, floating-point and of a shape.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="form">The shape in words or letters, for the message.</param>
    /// <param name="sizes">The sizes; -1 for any.</param>
    /// <returns>The sizes it has.</returns>
    public int[] Floating(string name, string form, params ReadOnlySpan<int> sizes)
    {
        SafetensorsEntry entry = Entry(name);
        if (!entry.IsSupported || !entry.DType.IsFloatingPoint())
            throw Bad(name, $"{name} holds {entry.DTypeName}", "it must be floating-point", "store it as F64, F32, BF16 or F16");
        RequireShape(entry, form, sizes);
        return Array.ConvertAll(entry.Shape.ToArray(), size => (int)size);
    }

    /// <summary>Checks that tensors have one type, unless the user chose the type.</summary>
    public void RequireOneType(params ReadOnlySpan<string> names)
    {
        if (convertTo is not null) return;
        SafetensorsEntry first = Entry(names[0]);
        foreach (string name in names)
            if (Entry(name) is var entry && entry.DType != first.DType)
                throw Bad(name, $"{name} holds {entry.DTypeName} and {names[0]} holds {first.DTypeName}", "without --dtype the inputs decide the type, and they disagree", "store both in one type, or choose one with --dtype");
    }

    /// <summary>Reads cumulative offsets and checks them against the tokens they divide.</summary>
    /// <param name="name">The offsets' name.</param>
    /// <param name="operand">Whose tokens they divide.</param>
    /// <param name="tokens">How many tokens that has.</param>
    /// <param name="tail">Whether tokens after the last offset are legal.</param>
    public SequenceLayout Layout(string name, string operand, int tokens, TailPolicy tail)
    {
        SafetensorsEntry entry = Entry(name);
        if (!entry.IsSupported || entry.DType is not (DType.Int32 or DType.Int64))
            throw Bad(name, $"{name} holds {entry.DTypeName}", "offsets are whole numbers", "store them as I32 or I64");
        if (entry.Shape.Length != 1 || entry.Shape[0] is < 1 or > int.MaxValue)
            throw Bad(name, $"{name} has shape [{string.Join(", ", entry.Shape.ToArray())}]", "it must be [N + 1] for N sequences", "store 0, then the end of each sequence");
        long[] offsets = entry.DType == DType.Int64 ? Values<long>(entry) : Array.ConvertAll(Values<int>(entry), offset => (long)offset);
        SequenceLayout layout;
        try
        {
            layout = SequenceLayout.FromCuSeqlens(offsets);
        }
        catch (ArgumentException e)
        {
            string why = Reason(e).Replace("offsets[", name + "[", StringComparison.Ordinal);
            throw Bad(name, $"{name} is no list of offsets", why, "start at 0, never decrease, and end at the number of tokens", e);
        }
        int last = layout.TotalTokens;
        if (last > tokens || (last < tokens && tail == TailPolicy.Error))
        {
            throw Bad(name, $"{name}[{layout.Count}] = {last}, but {operand} has {tokens} tokens",
                last > tokens ? "the last offset lies behind the last token" : $"the last {tokens - last} tokens belong to no sequence",
                last > tokens ? "mend the offsets" : "mend the offsets, or allow such tokens with --tail padding");
        }
        return layout;
    }

    /// <summary>Reads whole numbers; one that 32 bits do not hold becomes -1, which is no number of keys and no page.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="form">The shape in words or letters, for the message.</param>
    /// <param name="sizes">The sizes; -1 for any.</param>
    public int[] Integers(string name, string form, params ReadOnlySpan<int> sizes)
    {
        SafetensorsEntry entry = Entry(name);
        if (!entry.IsSupported || entry.DType is not (DType.Int32 or DType.Int64))
            throw Bad(name, $"{name} holds {entry.DTypeName}", "it must hold whole numbers", "store them as I32 or I64");
        RequireShape(entry, form, sizes);
        return entry.DType == DType.Int32 ? Values<int>(entry) : Array.ConvertAll(Values<long>(entry), value => value is < 0 or > int.MaxValue ? -1 : (int)value);
    }

    /// <summary>What an argument's exception says, without the argument's name.</summary>
    public static string Reason(ArgumentException e) => e.Message.Replace($" (Parameter '{e.ParamName}')", "", StringComparison.Ordinal);

    /// <summary>Reads a tensor whole, converted, onto the device.</summary>
    public Tensor Load(string name, DType dtype) => Safetensors.Load(file, Entry(name)).To(dtype: dtype).To(device);

    /// <summary>The error of a tensor that does not fit.</summary>
    public CommandException Bad(string tensor, string what, string why, string fix, Exception? cause = null)
        => new(ExitCode.BadData, what, $"tensor {tensor} in {file.Path}", why, fix, cause);

    private void RequireShape(SafetensorsEntry entry, string form, ReadOnlySpan<int> sizes)
    {
        bool fits = entry.Shape.Length == sizes.Length;
        for (int i = 0; fits && i < sizes.Length; i++) fits = entry.Shape[i] <= int.MaxValue && (sizes[i] < 0 || entry.Shape[i] == sizes[i]);
        if (!fits)
        {
            string expected = form + (sizes.Contains(-1) ? "" : $", [{string.Join(", ", sizes.ToArray())}]");
            throw Bad(entry.Name, $"{entry.Name} has shape [{string.Join(", ", entry.Shape.ToArray())}]", $"it must be {expected}", "reshape or mend the tensor");
        }
    }

    private SafetensorsEntry Entry(string name) => file.TryGetEntry(name, out SafetensorsEntry? entry)
        ? entry : throw Bad(name, $"there is no tensor {name}", "attention needs query, key, value and cu_seq_q", $"add it; the file has {(file.Count == 0 ? "no tensors" : string.Join(", ", file.Names.Take(12)))}");

    private T[] Values<T>(SafetensorsEntry entry) where T : unmanaged
    {
        long count = 1;
        foreach (long size in entry.Shape) count *= size;
        if (count > Array.MaxLength) throw Bad(entry.Name, $"{entry.Name} has {count} elements", $"this command takes up to {Array.MaxLength} a tensor", "split the batch");
        var values = new T[count];
        file.Read(entry, 0, values.AsSpan());
        return values;
    }
}
