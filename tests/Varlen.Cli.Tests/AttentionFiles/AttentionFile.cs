using System.Runtime.InteropServices;
using Varlen;

namespace Varlen.Cli.Tests.AttentionFiles;

/// <summary>The tensors of one attention call in double precision, and the file that carries them.</summary>
internal sealed class AttentionFile
{
    private readonly Dictionary<string, SafetensorsTensor> _tensors = [];

    public double[] Query { get; private set; } = [];
    public double[] Key { get; private set; } = [];
    public double[] Value { get; private set; } = [];
    public int[] QueryOffsets { get; private set; } = [];
    public int[] KeyOffsets { get; private set; } = [];
    public int Heads { get; private set; }
    public int KeyHeads { get; private set; }
    public int Features { get; private set; }

    /// <summary>A file with random values.</summary>
    public static AttentionFile Random(int[] queryLengths, int[] keyLengths, int heads, int keyHeads, int features, DType dtype = DType.Float64, int seed = 1)
    {
        var random = new Random(seed);
        var file = new AttentionFile { QueryOffsets = Offsets(queryLengths), KeyOffsets = Offsets(keyLengths), Heads = heads, KeyHeads = keyHeads, Features = features };
        (int queries, int keys) = (file.QueryOffsets[^1], file.KeyOffsets[^1]);
        file.Query = Values(random, queries * heads * features);
        file.Key = Values(random, keys * keyHeads * features);
        file.Value = Values(random, keys * keyHeads * features);
        file.Set("query", file.Query, dtype, queries, heads, features);
        file.Set("key", file.Key, dtype, keys, keyHeads, features);
        file.Set("value", file.Value, dtype, keys, keyHeads, features);
        file.SetOffsets("cu_seq_q", file.QueryOffsets);
        file.SetOffsets("cu_seq_k", file.KeyOffsets);
        return file;
    }

    public static double[] Values(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => (double)(BFloat16)(float)(random.NextDouble() * 4 - 2))];

    public AttentionFile Set(string name, double[] values, DType dtype, params long[] shape)
    {
        byte[] bytes = dtype switch
        {
            DType.Float64 => MemoryMarshal.AsBytes(values.AsSpan()).ToArray(),
            DType.Float32 => Bytes(values, value => (float)value),
            DType.BFloat16 => Bytes(values, value => (BFloat16)(float)value),
            DType.Float16 => Bytes(values, value => (Half)value),
            DType.Int64 => Bytes(values, value => (long)value),
            _ => Bytes(values, value => (int)value),
        };
        _tensors[name] = new SafetensorsTensor(name, dtype, shape, bytes);
        return this;
    }

    public AttentionFile SetOffsets(string name, int[] offsets, DType dtype = DType.Int32) => Set(name, Array.ConvertAll(offsets, offset => (double)offset), dtype, offsets.Length);

    public AttentionFile Remove(string name)
    {
        _tensors.Remove(name);
        return this;
    }

    public string Write(TemporaryFolder folder, string name = "in.safetensors")
    {
        SafetensorsWriter.Write(folder.File(name), _tensors.Values);
        return folder.File(name);
    }

    /// <summary>A result tensor as doubles, with its type and shape.</summary>
    public static (double[] Values, DType DType, long[] Shape) Read(string path, string name)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        SafetensorsEntry entry = file[name];
        double[] values = entry.DType switch
        {
            DType.Float64 => Read<double>(file, entry, value => value),
            DType.Float32 => Read<float>(file, entry, value => value),
            DType.BFloat16 => Read<BFloat16>(file, entry, value => (float)value),
            _ => Read<Half>(file, entry, value => (double)value),
        };
        return (values, entry.DType, entry.Shape.ToArray());
    }

    private static double[] Read<T>(SafetensorsFile file, SafetensorsEntry entry, Converter<T, double> convert) where T : unmanaged
    {
        long count = 1;
        foreach (long size in entry.Shape) count *= size;
        var values = new T[count];
        file.Read(entry, 0, values.AsSpan());
        return Array.ConvertAll(values, convert);
    }

    private static int[] Offsets(int[] lengths) => [0, .. lengths.Select((_, i) => lengths[..(i + 1)].Sum())];

    private static byte[] Bytes<T>(double[] values, Converter<double, T> convert) where T : unmanaged
        => MemoryMarshal.AsBytes(Array.ConvertAll(values, convert).AsSpan()).ToArray();
}
