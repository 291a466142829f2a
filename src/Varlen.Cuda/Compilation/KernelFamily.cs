namespace Varlen.Backends.Cuda.Compilation;

/// <summary>
/// An entry of a kernel source, compiled anew for each combination of its options that is used. Entries of one source with equal options
/// share a compiled module.
/// </summary>
/// <param name="source">File under Kernels.</param>
/// <param name="entry">The function.</param>
/// <param name="options">Compile options, at most four.</param>
internal sealed class KernelFamily(string source, string entry, params KernelOption[] options)
{
    public string Source { get; } = source;
    public string Entry { get; } = entry;
    public IReadOnlyList<KernelOption> Options { get; } = options.Length <= 4 ? options : throw new ArgumentException("a kernel has at most four options", nameof(options));

    /// <summary>The kernel for these values, one for each option in order.</summary>
    public KernelKey With(params ReadOnlySpan<OptionValue> values)
    {
        if (values.Length != Options.Count) throw new ArgumentException($"{this} has {Options.Count} options, not {values.Length}", nameof(values));
        ulong packed = 0;
        for (int i = 0; i < values.Length; i++) packed |= (ulong)values[i].Code << (16 * i);
        return new(this, packed);
    }

    /// <summary>Every combination of its options.</summary>
    public IEnumerable<KernelKey> All()
    {
        IEnumerable<ulong> keys = [0];
        for (int i = 0; i < Options.Count; i++)
        {
            int shift = 16 * i;
            IReadOnlyList<OptionValue> domain = Options[i].Domain;
            keys = keys.SelectMany(key => domain.Select(value => key | (ulong)value.Code << shift));
        }
        return keys.Select(key => new KernelKey(this, key));
    }

    public override string ToString() => $"{Source}:{Entry}";
}

/// <summary>One compiled kernel: a family and the values of its options.</summary>
internal readonly record struct KernelKey(KernelFamily Family, ulong Packed)
{
    /// <summary>Code of an option's value.</summary>
    public ushort Code(int option) => (ushort)(Packed >> (16 * option));

    /// <summary>What the compiler is told: name and value of each option.</summary>
    public IEnumerable<string> Defines()
    {
        for (int i = 0; i < Family.Options.Count; i++)
        {
            ushort code = Code(i);
            KernelOption option = Family.Options[i];
            OptionValue value = option.Domain.FirstOrDefault(value => value.Code == code, new OptionValue(ushort.MaxValue, false));
            if (value.Code != code) throw new NotSupportedException($"{Family}: option {option.Name} has no value {code}");
            yield return $"{option.Name}={value}";
        }
    }

    public override string ToString() => $"{Family.Entry}<{string.Join(", ", Defines())}>";
}
