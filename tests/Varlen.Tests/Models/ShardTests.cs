using System.Text.Json;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>Weights in shards: read as one, and what the index may not say.</summary>
public sealed class ShardTests : IDisposable
{
    private const string First = "model-00001-of-00002.safetensors", Second = "model-00002-of-00002.safetensors";
    private readonly TemporaryFolder _folder = new();
    private readonly Gpt2Model _model = new(new Gpt2Config { VocabularySize = 5, MaxLength = 4, Width = 4, Layers = 1, Heads = 2 }, seed: 2);
    private readonly Dictionary<string, string> _map;

    public ShardTests()
    {
        _model.SaveConfig(_folder.Path);
        (string Name, Tensor Value)[] all = [.. _model.StateDict().Select(entry => (entry.Key, entry.Value))];
        _map = all.Select((tensor, i) => (tensor.Name, i < 6 ? First : Second)).ToDictionary();
        foreach (string shard in (string[])[First, Second]) Safetensors.Save(_folder[shard], all.Where(tensor => _map[tensor.Name] == shard).ToDictionary());
        WriteIndex(_map);
    }

    public void Dispose()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    private void WriteIndex(object map) => WriteIndex(JsonSerializer.Serialize(new { metadata = new { total_size = 1 }, weight_map = map }));

    private void WriteIndex(string text) => File.WriteAllText(_folder["model.safetensors.index.json"], text);

    private string Refusal() => Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message;

    private void AssertReads()
    {
        using CausalLanguageModel read = CausalLanguageModel.FromPretrained(_folder.Path);
        foreach ((string name, Tensor value) in _model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
    }

    [Fact]
    public void ShardsAreReadAsOneFile() => AssertReads();

    [Theory]
    [InlineData("../model.safetensors", "no folder in it")]
    [InlineData("..\\model.safetensors", "no folder in it")]
    [InlineData("/etc/model.safetensors", "no folder in it")]
    [InlineData("C:model.safetensors", "no folder in it")]
    [InlineData("sub/model.safetensors", "no folder in it")]
    [InlineData("..", "only safetensors")]
    [InlineData("", "only safetensors")]
    [InlineData(".safetensors", "no name of a file")]
    [InlineData("pytorch_model.bin", "pickle")]
    [InlineData("a\nb.safetensors", "control characters")]
    [InlineData("a\0.safetensors", "control characters")]
    public void AShardIsAPlainNameBesideTheIndex(string shard, string reason)
    {
        _map["transformer.wte.weight"] = shard;
        WriteIndex(_map);
        string message = Refusal();
        Assert.Contains("the shard of 'transformer.wte.weight'", message, StringComparison.Ordinal);
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("", "no valid JSON")]
    [InlineData("[]", "no object")]
    [InlineData("{}", "weight_map is missing")]
    [InlineData("""{"weight_map":[]}""", "weight_map is no object")]
    [InlineData("""{"weight_map":{},"weight_map":{}}""", "stands there twice")]
    [InlineData("""{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}""", "'a' stands there twice")]
    [InlineData("""{"weight_map":{"a":3}}""", "no string")]
    [InlineData("""{"weight_map":{"a":"b.safetensors"}} x""", "no valid JSON")]
    [InlineData("""{"weight_map":{"a":"\ud800.safetensors"}}""", "no valid JSON")]
    [InlineData("""{"metadata":{"a":[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]},"weight_map":{}}""", "no valid JSON")]
    public void ABrokenIndexIsRefused(string text, string reason)
    {
        WriteIndex(text);
        string message = Refusal();
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.Contains("index.json, byte", message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorsAreWhereTheIndexSaysAndNowhereElse()
    {
        _map["transformer.wte.weight"] = Second;
        _map.Remove("transformer.wpe.weight");
        _map["more"] = First;
        using (TensorScope.Begin())
        {
            Dictionary<string, Tensor> second = Safetensors.Load(_folder[Second]).ToDictionary();
            second["transformer.h.0.ln_1.weight"] = Tensor.Zeros([4]);
            Safetensors.Save(_folder[Second], second);
        }
        WriteIndex(_map);
        string message = Refusal();
        Assert.All((string[])["4 tensors are not where the index says", $"'transformer.wte.weight' is in '{First}', and should be in '{Second}'", $"'transformer.wpe.weight' of '{First}' is not in the index",
            $"'more' is not in '{First}'", $"'transformer.h.0.ln_1.weight' is in '{First}' and in '{Second}'"], part => Assert.Contains(part, message, StringComparison.Ordinal));
    }

    [Fact]
    public void AMissingShardIsNamed()
    {
        File.Delete(_folder[Second]);
        Assert.Contains(Second, Assert.Throws<FileNotFoundException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AShardThatIsNoSafetensorsFileIsNamed()
    {
        File.WriteAllText(_folder[Second], "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
        Assert.Contains("LFS", Refusal(), StringComparison.Ordinal);
    }

    /// <summary>As in the hub's cache, where a snapshot is links to blobs beside it.</summary>
    [Fact]
    public void LinksOfAHubCacheAreFollowedAndOthersAreNot()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege there");
        string snapshot = _folder["cache/snapshots/revision"], blobs = _folder["cache/blobs"];
        Directory.CreateDirectory(snapshot);
        Directory.CreateDirectory(blobs);
        foreach (string file in Directory.GetFiles(_folder.Path))
        {
            string name = Path.GetFileName(file);
            File.Move(file, Path.Combine(blobs, "0" + name));
            File.CreateSymbolicLink(Path.Combine(snapshot, name), $"../../blobs/0{name}");
        }
        using (CausalLanguageModel read = CausalLanguageModel.FromPretrained(snapshot)) Assert.Equal(5, read.VocabularySize);
        // The folder itself may be a link.
        Directory.CreateSymbolicLink(_folder["latest"], "cache/snapshots/revision");
        CausalLanguageModel.FromPretrained(_folder["latest"]).Dispose();
        File.Move(Path.Combine(blobs, "0" + Second), _folder["outside.safetensors"]);
        foreach (string target in (string[])["../../../outside.safetensors", _folder["outside.safetensors"]])
        {
            File.Delete(Path.Combine(snapshot, Second));
            File.CreateSymbolicLink(Path.Combine(snapshot, Second), target);
            string message = Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(snapshot)).Message;
            Assert.Contains("leads out of its folder", message, StringComparison.Ordinal);
            Assert.Contains("outside.safetensors", message, StringComparison.Ordinal);
        }
        // Within the folder a link is a file like others; a blob that leads on is not.
        File.Move(_folder["outside.safetensors"], Path.Combine(snapshot, "real.safetensors"));
        File.Delete(Path.Combine(snapshot, Second));
        File.CreateSymbolicLink(Path.Combine(snapshot, Second), "real.safetensors");
        CausalLanguageModel.FromPretrained(snapshot).Dispose();
        File.Move(Path.Combine(snapshot, "real.safetensors"), _folder["outside.safetensors"]);
        File.CreateSymbolicLink(Path.Combine(blobs, "0" + Second), _folder["outside.safetensors"]);
        File.Delete(Path.Combine(snapshot, Second));
        File.CreateSymbolicLink(Path.Combine(snapshot, Second), $"../../blobs/0{Second}");
        Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(snapshot));
    }

    [Fact]
    public void OneFileComesBeforeShards()
    {
        WriteIndex("no index");
        Safetensors.Save(_folder["model.safetensors"], _model.StateDict());
        AssertReads();
    }
}
