using System.Globalization;
using System.Text.Json;
using Varlen.Cli.Tests.Reports;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>varlen inspect, against counts made by hand.</summary>
public sealed class InspectTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // Documents of one length each: letters and the end of the text.
    private string Texts(params int[] lengths) => _folder.Write("texts.jsonl", string.Concat(lengths.Select(length => $"{{\"text\":\"{new string('a', length - 1)}\"}}\n")));

    private static JsonElement Way(JsonElement json, string way) => json.GetProperty("ways").EnumerateArray().Single(entry => entry.GetProperty("way").GetString() == way);

    [Fact]
    public void CountsWhatEachWayComputes()
    {
        // 40 documents of 5 tokens and 40 of 17: 4 and 16 inputs. Two are held out.
        string data = Texts([.. Enumerable.Range(0, 80).Select(i => i % 2 == 0 ? 5 : 17)]);
        JsonElement json = Cli.Run("inspect", data, "--context", "32", "--batch-tokens", "64", "--json").Json();
        long tokens = json.GetProperty("training_tokens").GetInt64();
        int longOnes = (int)((tokens - 76 * 4) / 12), shortOnes = 76 - longOnes;
        Assert.Equal(4 * shortOnes + 16 * longOnes, tokens);
        double scores = 10.0 * shortOnes + 136.0 * longOnes;
        JsonElement packed = Way(json, "best-fit"), sorted = Way(json, "padded-sorted"), longest = Way(json, "padded-longest"), maximum = Way(json, "padded-maximum");
        Assert.Equal(tokens, packed.GetProperty("tokens").GetInt64());
        Assert.Equal(scores, packed.GetProperty("scores").GetDouble());
        Assert.Equal(1, packed.GetProperty("times_flops").GetDouble());
        Assert.Equal(76 * 32, maximum.GetProperty("tokens").GetInt64());
        Assert.Equal(76 * 528, maximum.GetProperty("scores").GetDouble());
        Assert.Equal(38, maximum.GetProperty("batches").GetInt32());
        Assert.InRange(sorted.GetProperty("tokens").GetInt64(), tokens, longest.GetProperty("tokens").GetInt64());
        Assert.InRange(longest.GetProperty("tokens").GetInt64(), tokens + 1, 76 * 16);
        // At most one batch of the sorted ones holds both lengths.
        Assert.InRange(sorted.GetProperty("tokens").GetInt64() - tokens, 0, 3 * 12);
        double linear = 6.0 * tokens * (12.0 * 768 * 768 * 12 + 768.0 * 257), attention = 14.0 * 768 * 12 * scores;
        Assert.Equal(linear, packed.GetProperty("linear_flops").GetDouble(), linear * 1e-12);
        Assert.Equal(attention, packed.GetProperty("attention_flops").GetDouble(), attention * 1e-12);
        Assert.Equal(64, json.GetProperty("batch_tokens").GetInt32());
    }

    [Fact]
    public void RecommendsTheSmallestBudgetThatIsFullEnough()
    {
        // 1900 sequences of 600 tokens: one fills 600 of 1024, three 1800 of 2048, six of 4096, 13 of 8192, 27 of 16384, and so on; the last batch is not full.
        string data = Texts([.. Enumerable.Repeat(601, 2000)]);
        JsonElement recommended = Cli.Run("inspect", data, "--context", "1024", "--json").Json().GetProperty("recommended");
        JsonElement[] tried = [.. recommended.GetProperty("tried").EnumerateArray()];
        Assert.Equal([1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072], tried.Select(one => one.GetProperty("batch_tokens").GetInt32()));
        foreach ((int at, int fit) in new[] { (0, 1), (1, 3), (2, 6), (3, 13), (4, 27) })
        {
            int batches = (1900 + fit - 1) / fit;
            Assert.Equal(batches, tried[at].GetProperty("batches").GetInt32());
            Assert.Equal(1900.0 * 600 / (batches * (1024 << at)), tried[at].GetProperty("fill").GetDouble(), 1e-4);
        }
        Assert.Equal(16384, recommended.GetProperty("batch_tokens").GetInt32());
        // Little data has small batches.
        Assert.Equal([128], Cli.Run("inspect", _folder.Write("few.txt", new string('a', 1100)), "--context", "64", "--json").Json().GetProperty("recommended").GetProperty("tried").EnumerateArray().Select(one => one.GetProperty("batch_tokens").GetInt32()));
        int best = recommended.GetProperty("batch_tokens").GetInt32();
        Assert.Contains($"batches of {best} tokens are", recommended.GetProperty("why").GetString(), StringComparison.Ordinal);
        Assert.Contains($"\nrecommended: --batch-tokens {best}; ", Cli.Run("inspect", data, "--context", "1024").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void TakesEveryKindOfDataAndTokenizer()
    {
        Directory.CreateDirectory(_folder.File("mixed/deep"));
        for (int i = 0; i < 25; i++) _folder.Write($"mixed/deep/{i}.md", $"text {i} " + new string('x', i));
        _folder.Write("mixed/records.ndjson", "{\"body\":\"one\",\"n\":1}\n{\"body\":\"two\"}\n\nbroken\n");
        _folder.Write("mixed/picture.png", "no text");
        string[] inspect = ["inspect", _folder.File("mixed"), "--text-field", "body", "--bad-lines", "skip", "--json"];
        JsonElement json = Cli.Run(inspect).Json();
        Assert.Equal([27, 1, 1], [json.GetProperty("documents").GetInt32(), json.GetProperty("bad_lines").GetInt32(), json.GetProperty("other_files").GetInt32()]);
        JsonElement shorter = Cli.Run([.. inspect, "--tokenizer", "bpe:300"]).Json();
        Assert.True(shorter.GetProperty("tokens").GetInt64() < json.GetProperty("tokens").GetInt64());
        Assert.InRange(shorter.GetProperty("flops_of").GetProperty("vocabulary").GetInt32(), 258, 300);
        string examples = _folder.Write("examples.jsonl", string.Concat(Enumerable.Range(10, 30).Select(i => $"{{\"prompt\":\"{i}?\",\"completion\":\"yes\"}}\n{{\"text\":\"text {i}\"}}\n")));
        Assert.Equal(30 * (7 + 8), Cli.Run("inspect", examples, "--json").Json().GetProperty("tokens").GetInt32());
        Cli.Run("inspect", _folder.File("mixed"), "--tokenizer", "bpe:12").AssertFails(2, "--tokenizer cannot be 'bpe:12'");
    }

    [Fact]
    public void ThePageStandsAloneAndSaysWhatItsChartsShow()
    {
        string html = File.ReadAllText(Page(out JsonElement json));
        Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("http", html.Replace("http-equiv", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("NaN", html, StringComparison.Ordinal);
        Assert.Equal(8, html.Split("<section").Length - 1);
        int charts = html.Split("<svg").Length - 1;
        Assert.Equal(5, charts);
        Assert.Equal(charts, html.Split("role=\"img\"><title>").Length - 1);
        Assert.Equal(charts, html.Split("<desc>").Length - 1);
        Assert.Contains($"padded to 128 {Way(json, "padded-maximum").GetProperty("times_tokens").GetDouble().ToString("F2", CultureInfo.InvariantCulture)}", html, StringComparison.Ordinal);
        Cli.Run("inspect", _folder.File("texts.jsonl"), "--html", _folder.File("no/such/page.html")).AssertFails(73, "cannot write the output");
    }

    [Theory]
    [InlineData(1200, true)]
    [InlineData(400, false)]
    public void ThePageIsFilled(int width, bool dark)
    {
        string page = Page(out _);
        Picture picture = Chromium.Screenshot(_folder, page, width, dark);
        Dictionary<(byte, byte, byte), int> colours = picture.Colours();
        (byte, byte, byte) light = (0x25, 0x63, 0xA8), night = (0x6E, 0xA8, 0xE8);
        Assert.True(colours.GetValueOrDefault(dark ? night : light) > 5000, "no bars");
        Assert.False(colours.ContainsKey(dark ? light : night), "the colours of the other scheme");
        Assert.Equal(dark ? ((byte)0x14, (byte)0x17, (byte)0x1A) : ((byte)0xFF, (byte)0xFF, (byte)0xFF), picture[2, 2]);
    }

    [Fact]
    public void NothingOnThePageIsWiderThanItsPlace()
        => Assert.All(PageMeasure.Of(_folder, File.ReadAllText(Page(out _)), [1200, 700, 400, 320]), measured => Assert.True(measured.Sections == 8 && measured.Overflow.Length == 0, measured.ToString()));

    private string Page(out JsonElement json)
    {
        var random = new Random(5);
        string data = Texts([.. Enumerable.Range(0, 300).Select(_ => 2 + (int)Math.Exp(random.NextDouble() * 5))]), page = _folder.File("page.html");
        CliResult result = Cli.Run("inspect", data, "--html", page, "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        json = result.Json();
        return page;
    }
}
