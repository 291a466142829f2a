using Varlen.Auditing;
using Varlen.Data;
using Varlen.Tests.Data;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Auditing;

/// <summary>The audit of data holds for what the library does, and finds what is planted in an epoch.</summary>
public sealed class DataAuditTests : IDisposable
{
    private const int Context = 8, Budget = 20, Vocabulary = 50;

    private readonly TemporaryFolder _folder = new();
    private readonly IReadOnlyList<int[]> _documents = AuditSample.Random(30, Context, Vocabulary, (ulong)Numeric.FreshSeed());
    private readonly TokenStore _store;

    public DataAuditTests() => _store = Write(_documents);

    public void Dispose()
    {
        _store.Dispose();
        _folder.Dispose();
    }

    private TokenStore Write(IEnumerable<int[]> documents)
    {
        string path = _folder[$"{Path.GetRandomFileName()}.tokens"];
        using (var writer = new TokenStoreWriter(path, Vocabulary, Stores.Fingerprint))
        {
            foreach (int[] document in documents)
            {
                writer.Append(document);
                writer.EndDocument();
            }
            writer.Complete();
        }
        return TokenStore.Open(path);
    }

    private static IEnumerable<AuditedDocument> Sources(IEnumerable<int[]> documents) => documents.Select((document, i) => new AuditedDocument($"file {i}", document));

    private static string Page(IEnumerable<AuditCheck> checks) => string.Join('\n', checks.Select(check => $"{check.Outcome} {check.Claim}: {check.Detail}"));

    // What a loader gives, as sequences that a test can change.
    private sealed record Sequence(int[] Tokens, int[] Targets, int[] Positions, ulong Key)
    {
        public static List<Sequence> Of(TokenBatch batch)
        {
            int[] tokens = batch.Tokens.ToArray<int>(), targets = batch.Targets.ToArray<int>(), positions = batch.Positions.ToArray<int>();
            return [.. Enumerable.Range(0, batch.Layout.Count).Select(i => batch.Layout[i] is var (start, length) ? new Sequence(tokens[start..(start + length)], targets[start..(start + length)], positions[start..(start + length)], batch.Layout.DocumentKeys[i]) : null!)];
        }

        public static PackedBatch Pack(IReadOnlyList<Sequence> sequences) => PackedBatch.FromHost([.. sequences.SelectMany(s => s.Tokens)], [.. sequences.SelectMany(s => s.Targets)],
            [.. sequences.SelectMany(s => s.Positions)], [.. sequences.Select(s => s.Tokens.Length)], [.. sequences.Select(s => s.Key)], null);
    }

    private AuditCheck[] Epoch(PackingPolicy policy, Func<List<Sequence>, int, List<Sequence>>? plant = null, int documents = 30, Func<SequencePlan, TokenStore, IEnumerable<TokenBatch>>? heldOut = null)
    {
        using TokenStore few = Write(_documents.Take(documents));
        TokenStore store = documents == 30 ? _store : few;
        var plan = SequencePlan.Create(store, Context, seed: 3);
        using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = Budget, Policy = policy });
        IEnumerable<TokenBatch> training = DataAudit.Epoch(loader);
        if (plant is not null) training = training.Select(TokenBatch (batch, i) =>
        {
            using (batch) return Sequence.Pack(plant(Sequence.Of(batch), i));
        });
        return [.. new DataAudit(store, plan).Epoch(policy.ToString(), training, heldOut?.Invoke(plan, store) ?? EvaluationBatches.Read(store, plan, Budget))];
    }

    [Theory]
    [InlineData(PackingPolicy.BestFit, 30)]
    [InlineData(PackingPolicy.FirstFit, 30)]
    [InlineData(PackingPolicy.Concat, 30)]
    [InlineData(PackingPolicy.BestFit, 12)]
    [InlineData(PackingPolicy.Concat, 12)]
    public void HoldsForEveryPolicyAndSplit(PackingPolicy policy, int documents)
    {
        AuditCheck[] checks = Epoch(policy, documents: documents);
        Assert.True(checks.Length == 4 && checks.All(check => check.Outcome == AuditOutcome.Holds), Page(checks));
    }

    [Fact]
    public void TheStoreHoldsTheDocuments()
    {
        var audit = new DataAudit(_store, SequencePlan.Create(_store, Context, 1));
        Assert.All(audit.Store(Sources(_documents)), check => Assert.True(check.Outcome == AuditOutcome.Holds, check.Detail));

        int at = Enumerable.Range(0, 30).First(i => _documents[i].Length > 3);
        int[][] changed = [.. _documents.Select(document => (int[])document.Clone())];
        changed[at][2] = (changed[at][2] + 1) % Vocabulary;
        Fails(changed, $"file {at}, document {at}: token 2 is {changed[at][2]}");
        Fails(_documents.SkipLast(1), "the data has 29 documents, and the store 30");
        Fails(_documents.Append([1, 2]), "file 30 is document 30, and the store has 30");
        Fails([.. _documents.Take(at), _documents[at][..^1], .. _documents.Skip(at + 1)], $"it has {_documents[at].Length - 1} tokens, and {_documents[at].Length} in the store");

        void Fails(IEnumerable<int[]> documents, string why)
        {
            AuditCheck check = audit.Store(Sources(documents))[0];
            Assert.Equal(AuditOutcome.Fails, check.Outcome);
            Assert.Contains(why, check.Detail, StringComparison.Ordinal);
        }
    }

    public static TheoryData<string, string> Faults => new()
    {
        { "dropped", "neither in training nor in evaluation" },
        { "doubled", "twice in an epoch" },
        { "shifted target", "follows it" },
        { "next document's token", "follows it" },
        { "ignored target", "follows it" },
        { "wrong token", "in the batch" },
        { "positions", "has the position" },
        { "joined", "in the batch" },
        { "shortened", "neither in training nor in evaluation" },
        { "unknown place", "at no place" },
    };

    [Theory, MemberData(nameof(Faults))]
    public void FindsWhatIsPlanted(string fault, string why)
    {
        foreach (PackingPolicy policy in Enum.GetValues<PackingPolicy>())
        {
            bool planted = false;
            AuditCheck[] checks = Epoch(policy, (sequences, batch) =>
            {
                int at = sequences.FindIndex(sequence => sequence.Tokens.Length > 2 && sequence.Tokens.Distinct().Count() > 2 && sequence.Targets[^1] != sequence.Tokens[0]);
                if (planted || at < 0 || sequences.Count < 2 || batch == 0) return sequences;
                planted = true;
                Sequence one = sequences[at], other = sequences[at == 0 ? 1 : at - 1];
                if (fault is "dropped") sequences.RemoveAt(at);
                else if (fault is "doubled") sequences.Add(one);
                else if (fault is "joined")
                {
                    sequences.RemoveAll(sequence => ReferenceEquals(sequence, one) || ReferenceEquals(sequence, other));
                    sequences.Add(new([.. one.Tokens, .. other.Tokens], [.. one.Targets, .. other.Targets], [.. Enumerable.Range(0, one.Tokens.Length + other.Tokens.Length)], one.Key));
                }
                else sequences[at] = fault switch
                {
                    "shifted target" => one with { Targets = [.. one.Targets[1..], one.Targets[^1]] },
                    "next document's token" => one with { Targets = [.. one.Targets[..^1], (one.Targets[^1] + 1) % Vocabulary] },
                    "ignored target" => one with { Targets = [PackedBatch.IgnoreIndex, .. one.Targets[1..]] },
                    "wrong token" => one with { Tokens = [(one.Tokens[0] + 1) % Vocabulary, .. one.Tokens[1..]] },
                    "positions" => one with { Positions = [.. one.Positions.Select(position => position + 1)] },
                    "shortened" => new(one.Tokens[..^1], one.Targets[..^1], one.Positions[..^1], one.Key),
                    _ => one with { Key = one.Key + 1 },
                };
                return sequences;
            });
            Assert.True(planted);
            // What is seen first of joined sequences depends on what follows the one in its document.
            string[] whys = fault == "joined" ? [why, "pass the end", "the plan cuts after"] : [why];
            Assert.True(checks.Any(check => check.Outcome == AuditOutcome.Fails && whys.Any(text => check.Detail.Contains(text, StringComparison.Ordinal))), $"{policy}\n{Page(checks)}");
        }
    }

    /// <summary>Every token and target is right then.</summary>
    [Fact]
    public void FindsASequenceThatIsJoinedWithWhatFollowsItInItsDocument()
    {
        int[] document = [.. Enumerable.Range(0, 3 * Context).Select(i => i % Vocabulary)];
        using TokenStore store = Write(Enumerable.Repeat(document, 25));
        SequencePlan plan = SequencePlan.Create(store, Context, seed: 3);
        SequenceChunk first = plan.Training.Span[0];
        Assert.Equal((0L, Context), (first.Start, first.Length));
        var joined = new Sequence(document[..(2 * Context)], document[1..(2 * Context + 1)], [.. Enumerable.Range(0, 2 * Context)], first.Key);
        IReadOnlyList<AuditCheck> checks = new DataAudit(store, plan).Epoch("joined", [Sequence.Pack([joined])], EvaluationBatches.Read(store, plan, Budget));
        Assert.Contains(checks, check => check.Outcome == AuditOutcome.Fails && check.Detail.Contains($"the plan cuts after {Context}", StringComparison.Ordinal));
    }

    [Fact]
    public void FindsHeldOutTextInTraining()
    {
        AuditCheck[] checks = Epoch(PackingPolicy.BestFit, (sequences, batch) =>
        {
            if (batch != 1) return sequences;
            using TokenBatch held = EvaluationBatches.Read(_store, SequencePlan.Create(_store, Context, seed: 3), Budget).First();
            return [.. sequences, .. Sequence.Of(held)];
        });
        Assert.Contains(checks, check => check.Outcome == AuditOutcome.Fails && check.Detail.EndsWith("is held out and trained on", StringComparison.Ordinal));
        AuditCheck[] fewer = Epoch(PackingPolicy.BestFit, heldOut: (plan, store) => EvaluationBatches.Read(store, plan, Budget).Skip(1));
        Assert.Contains(fewer, check => check.Outcome == AuditOutcome.Fails && check.Detail.Contains("are held out", StringComparison.Ordinal));
        AuditCheck[] twice = Epoch(PackingPolicy.BestFit, heldOut: (plan, store) => EvaluationBatches.Read(store, plan, Budget).Concat(EvaluationBatches.Read(store, plan, Budget)));
        Assert.Contains(twice, check => check.Outcome == AuditOutcome.Fails && check.Detail.EndsWith("is evaluated twice", StringComparison.Ordinal));
    }

    [Fact]
    public void ReadsFilesAsTheCorpusDoes()
    {
        File.WriteAllText(_folder["a.txt"], "\uFEFFone text\r\nof lines\n");
        File.WriteAllText(_folder["empty.txt"], "");
        File.WriteAllText(_folder["b.jsonl"], "{\"text\":\"a\\u00e9\\n\"}\n\n  {\"x\":[1,{\"text\":\"no\"}],\"text\":\"\"}\r\nno record\n{\"text\":3}\n{\"text\":\"\\ud800\"}\n{\"text\":\"a\",\"text\":\"b\"}\n {\"text\":\"last\"}");
        File.WriteAllText(_folder["c.md"], new string('x', 300_000) + " y");
        foreach (Tokenizer tokenizer in (Tokenizer[])[new ByteTokenizer(), TextCorpus.TrainTokenizer([_folder["a.txt"]], 270)])
        {
            CorpusSummary corpus = TextCorpus.Tokenize([_folder["a.txt"], _folder["b.jsonl"], _folder["c.md"], _folder["empty.txt"]], tokenizer, _folder["store"], new() { BadLines = BadLines.Skip });
            using TokenStore store = TokenStore.Open(_folder["store"]);
            AuditedDocument[] documents = [.. AuditedText.Read(corpus.Files.Select(file => file.Path), tokenizer)];
            Assert.Equal(4, documents.Length);
            Assert.Equal($"{_folder["b.jsonl"]}:1", documents[1].Source);
            Assert.Equal($"{_folder["b.jsonl"]}:8", documents[2].Source);
            Assert.Null(documents[3].Tokens);
            IReadOnlyList<AuditCheck> checks = new DataAudit(store, SequencePlan.Create(store, Context, 1)).Store(documents);
            Assert.True(checks.All(check => check.Outcome == AuditOutcome.Holds), Page(checks));
            Assert.Contains("1 documents with words above 256 KiB", checks[0].Detail, StringComparison.Ordinal);
        }
    }

    /// <summary>Prompts, completions and conversations: what is trained is compared too.</summary>
    [Fact]
    public void RecordsHoldWithTheirTrainedTargets()
    {
        var random = new Random(Numeric.FreshSeed());
        string Words(int most) => string.Concat(Enumerable.Range(0, random.Next(most)).Select(_ => (char)('a' + random.Next(26))));
        File.WriteAllText(_folder["records.jsonl"], string.Concat(Enumerable.Range(0, 60).Select(i => (i % 3) switch
        {
            0 => $"{{\"text\":\"{Words(30)}\"}}\n",
            1 => $"{{\"completion\":\"{Words(10)}\",\"prompt\":\"{Words(40)}\"}}\n",
            _ => $"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{Words(30)}\"}},{{\"content\":\"{Words(9)}\",\"role\":\"assistant\"}}]}}\n",
        })));
        var tokenizer = new ByteTokenizer();
        var options = new TextCorpusOptions { ChatFormat = () => ChatFormat.Create("plain", tokenizer) };
        CorpusSummary corpus = TextCorpus.Tokenize([_folder["records.jsonl"]], tokenizer, _folder["store"], options);
        using TokenStore store = TokenStore.Open(_folder["store"]);
        Assert.False(store.IsTrainedWhole);
        SequencePlan plan = SequencePlan.Create(store, Context, 1);
        Assert.NotEmpty(plan.Ledger.Inputs.Dropped);
        AuditedDocument[] documents = [.. AuditedText.Read([_folder["records.jsonl"]], tokenizer, options)];
        var audit = new DataAudit(store, plan);
        IReadOnlyList<AuditCheck> stored = audit.Store(documents);
        Assert.True(stored.All(check => check.Outcome == AuditOutcome.Holds), Page(stored));
        foreach (PackingPolicy policy in Enum.GetValues<PackingPolicy>())
        {
            using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = Budget, Policy = policy });
            IReadOnlyList<AuditCheck> epoch = audit.Epoch("epoch", DataAudit.Epoch(loader), EvaluationBatches.Read(store, plan, Budget));
            Assert.True(epoch.All(check => check.Outcome == AuditOutcome.Holds), Page(epoch));
        }
        // A prompt that is trained all the same is found.
        int at = Array.FindIndex(documents, document => document.Trained?.Span[1] == false);
        documents[at] = documents[at] with { Trained = null };
        Assert.Contains("token 1 is not trained in the store, and should be", audit.Store(documents)[0].Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void SamplesAreShortLongAndBounded()
    {
        var plan = SequencePlan.Create(_store, Context, 1);
        IReadOnlyList<TokenSequence> sample = AuditSample.Of(_store, plan, 6, 1000), cut = AuditSample.Of(_store, plan, 12, 16, 5);
        Assert.Equal(6, sample.Count);
        Assert.Equal([1, Context], [sample.Min(sequence => sequence.Tokens.Length), sample.Max(sequence => sequence.Tokens.Length)]);
        Assert.All(sample, sequence => Assert.True(sequence.Tokens[1..].Span.SequenceEqual(sequence.Targets.Span[..^1])));
        Assert.InRange(cut.Sum(sequence => sequence.Tokens.Length), 2, 16);
        Assert.All(cut, sequence => Assert.InRange(sequence.Tokens.Length, 1, 4));
        Assert.Equal([128, 174, 596, 2048], [AuditSample.TokensFor(1_500_000_000, 50257), AuditSample.TokensFor(86_000_000, 50257), AuditSample.TokensFor(1000, 50257), AuditSample.TokensFor(860_000, 257)]);
    }
}
