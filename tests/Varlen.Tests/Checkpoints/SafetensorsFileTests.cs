using System.Text;
using Xunit;
using static Varlen.Tests.Checkpoints.SafetensorsBytes;

namespace Varlen.Tests.Checkpoints;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("varlen-safetensors-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Save(byte[] file)
    {
        string path = Path.Combine(_folder, "weights.safetensors");
        File.WriteAllBytes(path, file);
        return path;
    }

    // Every byte below is written from the public description of the format and IEEE 754.
    private static byte[] HandAssembled()
    {
        string json = """{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"h":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"i":{"dtype":"I64","shape":[1],"data_offsets":[10,18]},"m":{"dtype":"BOOL","shape":[3],"data_offsets":[18,21]},"q":{"dtype":"I8","shape":[1],"data_offsets":[21,22]}}""";
        byte[] data =
        [
            0x00, 0x00, 0xC0, 0x3F, 0x00, 0x00, 0x20, 0xC1, // 1.5, -10
            0x48, 0xC0, // -3.125
            0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, // -2
            1, 0, 1,
            0x7F,
        ];
        return [(byte)(json.Length & 0xFF), (byte)(json.Length >> 8), 0, 0, 0, 0, 0, 0, .. Encoding.ASCII.GetBytes(json), .. data];
    }

    [Fact]
    public void A_file_put_together_by_hand_is_read()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Save(HandAssembled()));
        Assert.Equal(["w", "h", "i", "m", "q"], file.Names);
        Assert.Equal(5, file.Count);
        Assert.Equal([new("format", "pt")], file.Metadata);
        Assert.Equal([2, 1], file["w"].Shape.ToArray());
        Assert.True(file["h"].Shape.IsEmpty);

        var w = new float[2];
        file.Read(file["w"], 0, w.AsSpan());
        Assert.Equal([1.5f, -10f], w);
        var last = new float[1];
        file.Read(file["w"], 1, last.AsSpan());
        Assert.Equal(-10f, last[0]);
        var h = new BFloat16[1];
        file.Read(file["h"], 0, h.AsSpan());
        Assert.Equal(-3.125f, h[0]);
        var i = new long[1];
        file.Read(file["i"], 0, i.AsSpan());
        Assert.Equal(-2, i[0]);
        var m = new bool[3];
        file.Read(file["m"], 0, m.AsSpan());
        Assert.Equal([true, false, true], m);
        Assert.Equal([0x7F], file.GetBytes(file["q"]).ToArray());
        Assert.Equal([0x48, 0xC0], file.GetBytes(file["h"]).ToArray());
        Assert.Equal("'w' F32 [2, 1]", file["w"].ToString());
    }

    [Fact]
    public void Reading_checks_type_and_range()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Save(HandAssembled()));
        Assert.Contains("tensor 'w' holds F32 and cannot be read as Int32", Assert.Throws<ArgumentException>(() => file.Read(file["w"], 0, new int[2].AsSpan())).Message, StringComparison.Ordinal);
        Assert.Contains("tensor 'q' has element type I8", Assert.Throws<CheckpointFormatException>(() => file.Read(file["q"], 0, new bool[1].AsSpan())).Message, StringComparison.Ordinal);
        foreach (long first in (long[])[-1, 1, 2, long.MaxValue])
            Assert.Throws<ArgumentOutOfRangeException>("first", () => file.Read(file["w"], first, new float[2].AsSpan()));
        foreach (long offset in (long[])[-1, 1, long.MaxValue])
            Assert.Throws<ArgumentOutOfRangeException>("offset", () => file.Read(file["w"], offset, new byte[8].AsSpan()));
        Assert.Contains("no tensor 'missing'; it has 5 others", Assert.Throws<KeyNotFoundException>(() => file["missing"]).Message, StringComparison.Ordinal);
        Assert.False(file.TryGetEntry("W", out _));
    }

    [Fact]
    public void A_bool_that_is_neither_0_nor_1_is_refused()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Save(Assemble(Encoding.ASCII.GetBytes("{" + Entry("m", "[3]", 0, 3, "BOOL") + "}"), [1, 0, 2])));
        var error = Assert.Throws<CheckpointFormatException>(() => file.Read(file["m"], 1, new bool[2].AsSpan()));
        Assert.Contains("element 2 of tensor 'm' is 2", error.Message, StringComparison.Ordinal);
        Assert.Equal(file["m"].Begin + 2, error.Offset);

    }

    [Fact]
    public unsafe void Tensors_above_2_GB_are_reached_through_long_offsets()
    {
        const long Size = 5L << 29;
        byte[] start = Assemble("{" + Entry("big", $"[{Size}]", 0, Size, "BOOL") + "," + Entry("after", "[1]", Size, Size + 4, "F32") + "}");
        string path = Save(start);
        using (FileStream stream = new(path, FileMode.Open))
        {
            // Sparse: the file takes a few blocks of the disk.
            stream.SetLength(start.Length + Size + 4);
            stream.Position = start.Length + Size - 1;
            stream.Write([1, 0x00, 0x00, 0xC0, 0x3F]);
        }
        using SafetensorsFile file = SafetensorsFile.Open(path);
        var last = new bool[3];
        file.Read(file["big"], Size - 3, last.AsSpan());
        Assert.Equal([false, false, true], last);
        Assert.Equal(1, file.GetPointer(file["big"])[Size - 1]);
        Assert.Equal(0x3F, file.GetBytes(file["after"])[3]);
        Assert.Contains($"tensor 'big' has {Size} bytes, more than a span can hold", Assert.Throws<ArgumentException>(() => file.GetBytes(file["big"]).Length).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_shrinks_while_open_is_an_error()
    {
        string path = Save(HandAssembled());
        using SafetensorsFile file = SafetensorsFile.Open(path);
        using (FileStream stream = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) stream.SetLength(file["i"].Begin + 4);
        var error = Assert.Throws<CheckpointFormatException>(() => file.Read(file["i"], 0, new long[1].AsSpan()));
        Assert.Contains("the file ends too early", error.Message, StringComparison.Ordinal);
        Assert.Equal(path, error.Path);
    }

    [Fact]
    public void After_disposal_entries_stay_and_values_do_not()
    {
        SafetensorsFile file = SafetensorsFile.Open(Save(HandAssembled()));
        Assert.Equal(8, file.GetBytes(file["w"]).Length);
        file.Dispose();
        file.Dispose();
        Assert.Equal("pt", file.Metadata["format"]);
        SafetensorsEntry entry = file["w"];
        Assert.Throws<ObjectDisposedException>(() => file.GetBytes(entry).Length);
        Assert.Throws<ObjectDisposedException>(() => file.Read(entry, 0, new float[2].AsSpan()));
    }

    [Fact]
    public void Unreadable_paths_are_reported_by_the_system_and_bad_files_by_name()
    {
        Assert.Throws<FileNotFoundException>(() => SafetensorsFile.Open(Path.Combine(_folder, "none.safetensors")));
        Assert.Throws<DirectoryNotFoundException>(() => SafetensorsFile.Open(Path.Combine(_folder, "none", "none.safetensors")));
        Assert.Throws<UnauthorizedAccessException>(() => SafetensorsFile.Open(_folder));
        string path = Save([]);
        Assert.Contains($"{path}, byte 0 - it is empty", Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(path)).Message, StringComparison.Ordinal);
        // A refused file is closed again: it can be opened for writing alone.
        path = Save(new byte[100]);
        Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(path));
        using FileStream exclusive = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        Assert.Equal(100, exclusive.Length);
    }

    [Fact]
    public void A_pipe_is_refused_instead_of_waited_for()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/mkfifo"), "this system has no mkfifo");
        string pipe = Path.Combine(_folder, "pipe"), link = Path.Combine(_folder, "link");
        using (var make = System.Diagnostics.Process.Start("/usr/bin/mkfifo", [pipe])) make.WaitForExit();
        File.CreateSymbolicLink(link, pipe);
        Assert.Contains("it is empty", Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(pipe)).Message, StringComparison.Ordinal);
        Assert.Contains("it is empty", Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(link)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Threads_share_one_file()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Save(HandAssembled()));
        Parallel.For(0, 1000, i =>
        {
            Assert.Equal(8, file.GetBytes(file["w"]).Length);
            var value = new long[1];
            file.Read(file["i"], 0, value.AsSpan());
            Assert.Equal(-2, value[0]);
            Assert.Equal("pt", file.Metadata["format"]);
        });
    }
}
