using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Varlen.Data;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class TextCorpusTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Folders_are_read_in_the_order_of_relative_paths()
    {
        _folder.Write("d/b.txt", "two");
        _folder.Write("d/a/z.md", "one");
        _folder.Write("d/a.txt", "zero");
        _folder.Write("d/c.CS", "three\r\n");
        _folder.Write("d/e.jsonl", "{\"text\":\"four\"}\n\n  {\"id\":[1,{\"a\":null}],\"text\":\"fi\\u0076e\"}");
        _folder.Write("d/f.bin", "no");
        _folder.Write("d/empty.txt", "");
        _folder.Write("named.bin", "\ufeffnamed");
        (CorpusSummary summary, string[] texts) = Read(_folder["named.bin"], _folder["d"]);
        Assert.Equal(["named", "zero", "one", "two", "three\r\n", "four", "five"], texts);
        Assert.Equal((7, 1, 1, 0), (summary.Documents, (int)summary.EmptyDocuments, (int)summary.OtherFiles, summary.Skipped.Count));
        Assert.Equal(texts.Sum(text => text.Length + 1), summary.Tokens);
        Assert.Equal(summary.Files.Sum(file => new FileInfo(file.Path).Length), summary.Bytes);
        Assert.All(summary.Files, file => Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file.Path))), file.Sha256));
        Assert.Equal((7, 8, 4, 5), ((int)summary.Lengths.Count, (int)summary.Lengths.Longest, (int)summary.Lengths.Shortest, (int)summary.Lengths.Median));
    }

    [Fact]
    public void Links_that_loop_are_followed_once()
    {
        _folder.Write("d/sub/a.txt", "once");
        File.CreateSymbolicLink(_folder["d/sub/loop"], "..");
        File.CreateSymbolicLink(_folder["d/again"], "sub/loop/sub");
        File.CreateSymbolicLink(_folder["d/gone.txt"], "nowhere.txt");
        (CorpusSummary summary, string[] texts) = Read(_folder["d"]);
        Assert.Equal(["once"], texts);
        Assert.Equal(3, summary.Skipped.Count);
        Assert.Contains(summary.Skipped, skipped => skipped.Reason.Contains("nowhere", StringComparison.Ordinal));
    }

    [Fact]
    public void A_pipe_is_never_opened()
    {
        if (!OperatingSystem.IsLinux() || !File.Exists("/usr/bin/mkfifo")) Assert.Skip("mkfifo is missing");
        _folder.Write("d/a.txt", "text");
        using (Process process = Process.Start("/usr/bin/mkfifo", _folder["d/pipe.txt"])) process.WaitForExit();
        Assert.Equal(["text"], Read(_folder["d"]).Texts);
        Assert.Contains("no regular file", Assert.Single(Read(_folder["d/a.txt"], _folder["d/pipe.txt"]).Summary.Skipped).Reason, StringComparison.Ordinal);
        Assert.Contains("none holds a document", Fails(_folder["d/pipe.txt"]).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_text_is_named()
    {
        Assert.Contains("none ends in .txt", Fails(Directory.CreateDirectory(_folder["none"]).FullName).Message, StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => Read(_folder["missing"]));
        foreach ((Encoding encoding, string name) in ((Encoding, string)[])[(new UnicodeEncoding(false, true), "UTF-16LE"), (new UnicodeEncoding(true, true), "UTF-16BE"), (new UnicodeEncoding(false, false), "UTF-16LE"), (new UnicodeEncoding(true, false), "UTF-16BE"), (new UTF32Encoding(false, true), "UTF-32LE")])
        {
            string file = _folder.Write("w/wide.txt", [.. encoding.GetPreamble(), .. encoding.GetBytes("some text\n")]);
            Assert.Contains($"iconv -f {name} ", Fails(file).Fix, StringComparison.Ordinal);
            Assert.Contains(name, Fails(_folder["w"]).What, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Invalid_utf8_is_placed()
    {
        TextFormatException error = Fails(_folder.Write("a.txt", [.. "line\nl\u00e9"u8, 0xE9, .. "x\n"u8]));
        Assert.Equal((2, 4, _folder["a.txt"]), (error.Line, error.Column, error.Path));
        Assert.Contains($"{_folder["a.txt"]}:2:4", error.Message, StringComparison.Ordinal);
        // Far behind the first block, and cut off at the end.
        byte[] large = [.. Enumerable.Repeat("0123456789abcdefghijklmnopqrstu\n"u8.ToArray(), 40_000).SelectMany(line => line), .. "end \u4e16"u8];
        Assert.Equal((40_001, 5), ((int)Fails(_folder.Write("b.txt", large[..^1])).Line, (int)Fails(_folder["b.txt"]).Column));
        Assert.Single(Read(_folder.Write("b.txt", large)).Texts);
    }

    [Fact]
    public void Binary_files_are_skipped_in_folders_and_refused_by_name()
    {
        _folder.Write("d/a.txt", "a");
        _folder.Write("d/early.txt", "no\0");
        // A zero byte far behind the first block: what was read of the file is taken back.
        _folder.Write("d/late.md", [.. new string('x', 1_000_000).Select(c => (byte)c), 0, (byte)'y']);
        _folder.Write("d/z.txt", "z");
        (CorpusSummary summary, string[] texts) = Read(_folder["d"]);
        Assert.Equal(["a", "z"], texts);
        Assert.Equal(["early.txt", "late.md"], summary.Skipped.Select(skipped => Path.GetFileName(skipped.Path)));
        Assert.Contains("zero byte", Fails(_folder["d/late.md"]).Message, StringComparison.Ordinal);
        Assert.Contains("zero byte", Fails(_folder["d/early.txt"]).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["other.tokens"]));
    }

    [Fact]
    public void A_file_that_changes_while_it_is_read_is_an_error()
    {
        string file = _folder.Write("a.txt", new string('x', 2_000_000));
        var growing = new Reaction(() => File.AppendAllText(file, "more"));
        Assert.Contains("changed while it was read", Assert.Throws<IOException>(() => TextCorpus.Tokenize([file], new ByteTokenizer(), _folder["s"], progress: growing)).Message, StringComparison.Ordinal);
        using var cancel = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => TextCorpus.Tokenize([file], new ByteTokenizer(), _folder["s"], progress: new Reaction(cancel.Cancel), cancellationToken: cancel.Token));
        Assert.Equal([file], Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData(".txt", "", "")]
    [InlineData(".jsonl", "{\"other\":\"", "\",\"text\":\"x\"}")]
    [InlineData(".jsonl", "{\"text\":\"", "\"}")]
    public void A_line_of_any_length_passes_through_little_memory(string ending, string before, string after)
    {
        const int Megabytes = 64;
        string file = _folder[$"long{ending}"];
        using (var stream = File.Create(file))
        {
            stream.Write(Encoding.UTF8.GetBytes(before));
            byte[] part = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("w\u00f6rd \u4e16", (1 << 20) / 9)));
            for (int i = 0; i < Megabytes; i++) stream.Write(part);
            stream.Write(Encoding.UTF8.GetBytes(after));
        }
        long start = GC.GetAllocatedBytesForCurrentThread();
        CorpusSummary summary = TextCorpus.Tokenize([file], new ByteTokenizer(), _folder["s"]);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - start;
        Assert.Equal(1, summary.Documents);
        Assert.True(allocated < 8 << 20, $"{allocated} bytes");
    }

    [Fact]
    public void Byte_pairs_do_not_depend_on_blocks()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        string text = Varlen.Tests.Text.TextSamples.Draw(random, 400_000).Replace("\0", "", StringComparison.Ordinal);
        string file = _folder.Write("a.txt", text);
        BytePairTokenizer tokenizer = TextCorpus.TrainTokenizer([file], 800);
        Assert.Equal(BytePairTrainer.Train([Encoding.UTF8.GetBytes(text)], 800).Fingerprint, tokenizer.Fingerprint);
        TextCorpus.Tokenize([file], tokenizer, _folder["s"]);
        using var store = TokenStore.Open(_folder["s"]);
        Assert.Equal(tokenizer.Fingerprint, store.TokenizerFingerprint);
        Assert.True(store.Read(0).SequenceEqual([.. tokenizer.Encode(text), tokenizer.EndOfText]), $"seed {seed}");
    }

    private TextFormatException Fails(params string[] paths) => Assert.Throws<TextFormatException>(() => Read(paths));

    private (CorpusSummary Summary, string[] Texts) Read(params string[] paths)
    {
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            CorpusSummary summary = TextCorpus.Tokenize(paths, new ByteTokenizer(), path);
            using var store = TokenStore.Open(path);
            store.Verify();
            return (summary, [.. Enumerable.Range(0, store.DocumentCount).Select(document => new ByteTokenizer().Decode(store.Read(document)[..^1]))]);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private sealed class Reaction(Action action) : IProgress<long>
    {
        private Action? _action = action;

        public void Report(long value) => Interlocked.Exchange(ref _action, null)?.Invoke();
    }

    [Fact]
    public void The_folder_of_a_training_run_is_no_text()
    {
        _folder.Write("a.txt", "text");
        _folder.Write("runs/one/config.json", "{}");
        _folder.Write("runs/one/tokens.bin", "");
        _folder.Write("runs/one/samples.txt", "what a model wrote");
        CorpusSummary summary = TextCorpus.Tokenize([_folder.Path], new Varlen.Text.ByteTokenizer(), _folder["store"]);
        Assert.Equal(1, summary.Documents);
        Assert.Contains("training run", Assert.Single(summary.Skipped).Reason, StringComparison.Ordinal);
    }
}
