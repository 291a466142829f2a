using System.Buffers.Binary;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class CheckpointDamageTests : IDisposable
{
    private readonly string _temporary = CheckpointCase.TemporaryFolder();
    private readonly CheckpointFolder _folder;

    public CheckpointDamageTests()
    {
        _folder = new CheckpointFolder(_temporary);
        _folder.Save(1, CheckpointCase.Contents(1, 600));
        Assert.Empty(_folder.Verify(1));
    }

    public void Dispose() => Directory.Delete(_temporary, recursive: true);

    [Fact]
    public void Every_flipped_bit_of_headers_and_of_the_manifest_is_found()
    {
        foreach (string path in Files)
        {
            byte[] bytes = File.ReadAllBytes(path);
            int end = Path.GetExtension(path) == ".safetensors" ? 8 + (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes) : bytes.Length;
            for (int bit = 0; bit < 8 * end; bit++) AssertFound(path, bytes, bit);
        }
    }

    [Fact]
    public void Any_flipped_bit_is_found()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        byte[][] contents = [.. Files.Select(File.ReadAllBytes)];
        for (int i = 0; i < 2500; i++)
        {
            int file = random.Next(contents.Length);
            AssertFound(Files[file], contents[file], random.Next(8 * contents[file].Length), $"seed {seed}");
        }
    }

    [Fact]
    public void Missing_shortened_lengthened_and_exchanged_files_are_found()
    {
        foreach (string path in Files)
        {
            byte[] bytes = File.ReadAllBytes(path);
            File.Delete(path);
            Assert.Equal(path, Assert.Single(_folder.Verify(1)).Path);
            foreach (byte[] other in (byte[][])[[], bytes[..^1], [.. bytes, 0], [.. bytes, .. bytes], new byte[bytes.Length]])
            {
                File.WriteAllBytes(path, other);
                Assert.Equal(path, Assert.Single(_folder.Verify(1)).Path);
            }
            File.WriteAllBytes(path, bytes);
        }
        Assert.Empty(_folder.Verify(1));
        // A whole checkpoint under the name of another step.
        Directory.Move(_folder.PathOf(1), _folder.PathOf(2));
        Assert.Contains("it belongs to step 1, its folder to step 2", Assert.Single(_folder.Verify(2)).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void All_defects_are_listed_with_their_bytes()
    {
        string model = Path.Combine(_folder.PathOf(1), "model.safetensors"), trainer = Path.Combine(_folder.PathOf(1), "trainer.json");
        byte[] bytes = File.ReadAllBytes(model);
        bytes[^1] ^= 0x80;
        File.WriteAllBytes(model, bytes);
        int length = (int)new FileInfo(trainer).Length;
        File.AppendAllText(trainer, "more");
        IReadOnlyList<CheckpointDefect> defects = _folder.Verify(1);
        Assert.Equal([(model, 0L, (long)bytes.Length), (trainer, length, length + 4)], defects.Select(defect => (defect.Path, defect.Begin, defect.End)));
    }

    [Theory]
    [InlineData("""{"format":1,"step":1}""")]
    [InlineData("""{"format":1,"step":1,"files":{}}""")]
    [InlineData("""{"format":1,"step":1,"files":[null]}""")]
    [InlineData("""{"format":1,"step":1,"files":[{"name":null,"size":1,"sha256":null}]}""")]
    [InlineData("""{"format":1,"step":1,"step":1,"files":[]}""")]
    [InlineData("""{"format":1,"step":1e0,"files":[]}""")]
    [InlineData("""[]""")]
    [InlineData("""null""")]
    [InlineData("")]
    [InlineData("\u0000")]
    public void A_manifest_that_is_none_is_refused(string text)
    {
        var error = Assert.Throws<CheckpointFormatException>(() => CheckpointManifest.Parse(System.Text.Encoding.UTF8.GetBytes(text), "there/manifest.json", 1));
        Assert.Contains("there/manifest.json", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_newer_format_says_so()
    {
        string manifest = Path.Combine(_folder.PathOf(1), "manifest.json");
        File.WriteAllText(manifest, File.ReadAllText(manifest).Replace("\"format\": 1", "\"format\": 2", StringComparison.Ordinal));
        Assert.Contains("its format is 2, and this version reads 1", Assert.Single(_folder.Verify(1)).Reason, StringComparison.Ordinal);
    }

    private string[] Files => [.. Directory.GetFiles(_folder.PathOf(1)).Order(StringComparer.Ordinal)];

    private void AssertFound(string path, byte[] bytes, int bit, string seed = "")
    {
        // In place: the files are small and in the cache, and thousands are tried.
        using (FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.None, 0))
        {
            file.Position = bit / 8;
            file.WriteByte((byte)(bytes[bit / 8] ^ (1 << (bit % 8))));
        }
        IReadOnlyList<CheckpointDefect> defects = _folder.Verify(1);
        // A damaged name or hash in the manifest shows at the file that it stands for.
        Assert.True(defects.Count == 1 && (defects[0].Path == path || Path.GetFileName(path) == "manifest.json"), $"bit {bit} of {path}: {string.Join(", ", defects)} {seed}");
        using (FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.None, 0))
        {
            file.Position = bit / 8;
            file.WriteByte(bytes[bit / 8]);
        }
    }
}
