using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class SafetensorsWriterTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("varlen-safetensors-").FullName;

    private string Target => Path.Combine(_folder, "out.safetensors");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static SafetensorsTensor Floats(string name, params float[] values) =>
        new(name, DType.Float32, [values.Length], MemoryMarshal.AsBytes(values.AsSpan()).ToArray());

    [Fact]
    public void The_bytes_are_those_of_the_format()
    {
        SafetensorsWriter.Write(Target, [new("b", DType.Bool, [2], new byte[] { 1, 0 }), Floats("w", 1.5f)], new Dictionary<string, string> { ["format"] = "pt" });
        byte[] file = File.ReadAllBytes(Target);
        string json = """{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[4,6]}}""";
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        Assert.Equal(0, length % 8);
        Assert.Equal(json.PadRight(length), Encoding.UTF8.GetString(file, 8, length));
        Assert.InRange(length - json.Length, 0, 7);
        Assert.Equal([0, 0, 0xC0, 0x3F, 1, 0], file[(8 + length)..]);
    }

    [Fact]
    public void What_is_written_is_read_back()
    {
        var random = new Random(7);
        foreach (int count in (int[])[0, 1, 2, 50])
        {
            var tensors = new List<(SafetensorsTensor Tensor, byte[] Bytes)>();
            for (int i = 0; i < count; i++)
            {
                DType dtype = Enum.GetValues<DType>()[random.Next(7)];
                long[] shape = [.. Enumerable.Range(0, random.Next(4)).Select(_ => (long)random.Next(4))];
                var bytes = new byte[shape.Aggregate(1L, (left, right) => left * right) * dtype.Size()];
                random.NextBytes(bytes);
                string name = $"layer.{random.Next()}/\"{i}\\\u0007é\U0001F600";
                tensors.Add((new(name, dtype, shape, stream => { foreach (byte value in bytes) stream.WriteByte(value); }), bytes));
            }
            var metadata = new Dictionary<string, string> { ["a\n"] = "\0\u2028\"", [""] = "", ["_"] = new('x', 5000) };
            SafetensorsWriter.Write(Target, tensors.Select(pair => pair.Tensor), metadata);

            using SafetensorsFile file = SafetensorsFile.Open(Target);
            Assert.Equal(count, file.Count);
            Assert.Equal(metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal), file.Metadata);
            foreach ((SafetensorsTensor tensor, byte[] bytes) in tensors)
            {
                SafetensorsEntry entry = file[tensor.Name];
                Assert.Equal((tensor.Name, tensor.DType), (entry.Name, entry.DType));
                Assert.Equal(tensor.Shape.ToArray(), entry.Shape.ToArray());
                Assert.Equal(bytes, file.GetBytes(entry).ToArray());
                Assert.Equal(0, entry.Begin % tensor.DType.Size());
            }
        }
    }

    [Fact]
    public void Order_of_arguments_does_not_change_the_file()
    {
        SafetensorsTensor[] tensors = [Floats("b", 1), Floats("a", 2), new("c", DType.Int64, [], new byte[8]), new("B", DType.Bool, [0], ReadOnlyMemory<byte>.Empty)];
        SafetensorsWriter.Write(Target, tensors, new Dictionary<string, string> { ["x"] = "1", ["y"] = "2" });
        byte[] first = File.ReadAllBytes(Target);
        SafetensorsWriter.Write(Target, tensors.Reverse(), new Dictionary<string, string> { ["y"] = "2", ["x"] = "1" });
        Assert.Equal(first, File.ReadAllBytes(Target));
    }

    [Fact]
    public void A_failure_leaves_the_old_file_and_nothing_else()
    {
        SafetensorsWriter.Write(Target, [Floats("old", 1)]);
        byte[] old = File.ReadAllBytes(Target);
        var failing = new SafetensorsTensor("t", DType.Float32, [1000], stream =>
        {
            stream.Write(new byte[1000]);
            throw new InvalidOperationException("the device is gone");
        });
        Assert.Equal("the device is gone", Assert.Throws<InvalidOperationException>(() => SafetensorsWriter.Write(Target, [failing])).Message);
        foreach (int count in (int[])[0, 3, 5])
        {
            var wrong = new SafetensorsTensor("t", DType.Float32, [1], stream => stream.Write(new byte[count]));
            var error = Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(Target, [wrong]));
            Assert.Contains($"tensor 't' wrote {count} bytes, and its shape [1] of Float32 has 4", error.Message, StringComparison.Ordinal);
        }
        Assert.Equal(old, File.ReadAllBytes(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void System_errors_keep_path_and_cause()
    {
        string nowhere = Path.Combine(_folder, "none", "out.safetensors");
        var error = Assert.Throws<IOException>(() => SafetensorsWriter.Write(nowhere, [Floats("a", 1)]));
        Assert.StartsWith($"cannot write {nowhere}: ", error.Message, StringComparison.Ordinal);
        Assert.IsType<DirectoryNotFoundException>(error.InnerException);

        // The target is a folder: the rename fails after everything was written, and the temporary file goes.
        string folder = Directory.CreateDirectory(Path.Combine(_folder, "taken")).FullName;
        Assert.StartsWith($"cannot write {folder}: ", Assert.Throws<IOException>(() => SafetensorsWriter.Write(folder, [Floats("a", 1)])).Message, StringComparison.Ordinal);
        Assert.Equal([folder], Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void A_full_disk_is_reported_with_its_path()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "this system has no /dev/full");
        // The temporary file cannot be put on a full device, so the source itself runs into one.
        var source = new SafetensorsTensor("t", DType.Float32, [1], _ =>
        {
            using var full = new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 0);
            full.Write(new byte[4]);
        });
        var error = Assert.Throws<IOException>(() => SafetensorsWriter.Write(Target, [source]));
        Assert.StartsWith($"cannot write {Target}: No space left on device", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void Bad_arguments_are_named_before_anything_is_written()
    {
        Refused("tensors", "two tensors are named 'a'", Floats("a", 1), new("a", DType.Int64, [], new byte[8]));
        Refused("tensors", "'__metadata__', which the format reserves", Floats("__metadata__", 1));
        Refused("tensors", "a tensor name holds half a surrogate pair at index 1", Floats("x\ud800", 1));
        Refused("tensors", "a tensor name takes 70000 bytes", Floats(new('n', 70_000), 1));
        var metadata = new Dictionary<string, string> { ["k"] = "\udc00" };
        Assert.Contains("the metadata value of 'k' holds half", Assert.Throws<ArgumentException>("metadata", () => SafetensorsWriter.Write(Target, [], metadata)).Message, StringComparison.Ordinal);
        Assert.Contains("shape[1] = -2 of tensor 'a' is negative", Assert.Throws<ArgumentException>("shape", () => new SafetensorsTensor("a", DType.Float32, [1, -2], _ => { })).Message, StringComparison.Ordinal);
        Assert.Contains("does not fit 63 bits at shape[2] = 1048576", Assert.Throws<ArgumentException>("shape", () => new SafetensorsTensor("a", DType.Float32, [1 << 20, 1 << 20, 1 << 20], _ => { })).Message, StringComparison.Ordinal);
        Assert.Contains("has 33 dimensions", Assert.Throws<ArgumentException>("shape", () => new SafetensorsTensor("a", DType.Float32, new long[33], _ => { })).Message, StringComparison.Ordinal);
        Assert.Contains("tensor 'a' has 3 bytes, and its shape [1] of Float32 takes 4", Assert.Throws<ArgumentException>("bytes", () => new SafetensorsTensor("a", DType.Float32, [1], new byte[3])).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_folder));

        void Refused(string parameter, string fragment, params SafetensorsTensor[] tensors) =>
            Assert.Contains(fragment, Assert.Throws<ArgumentException>(parameter, () => SafetensorsWriter.Write(Target, tensors)).Message, StringComparison.Ordinal);
    }
}
