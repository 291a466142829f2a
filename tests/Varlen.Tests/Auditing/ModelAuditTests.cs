using Varlen.Auditing;
using Varlen.Data;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Auditing;

/// <summary>The audit of a model holds where nothing is wrong, and finds what is planted.</summary>
public sealed class ModelAuditTests
{
    private const int Vocabulary = 13;

    private static readonly int[] Lengths = [5, 1, 17, 2, 16, 9, 1];

    private static TokenSequence[] Documents(params int[] lengths) => [.. new RandomTokenDataset(LengthDistribution.Listed(lengths), Vocabulary, (ulong)Numeric.FreshSeed()).Batch(0, lengths.Length)];

    private static CausalLanguageModel Make(string name, DType dtype = DType.Float32, Device? device = null) => (name switch
    {
        "gpt2" => (CausalLanguageModel)new Gpt2Model(new Gpt2Config { VocabularySize = Vocabulary, MaxLength = 64, Width = 12, Layers = 2, Heads = 3, InitializerRange = 0.3 }, 7),
        "mistral" => new LlamaModel(new LlamaConfig { Family = LlamaFamily.Mistral, VocabularySize = Vocabulary, MaxLength = 64, Width = 12, Inner = 20, Layers = 2, Heads = 4, KeyValueHeads = 2, HeadDim = 6, InitializerRange = 0.3, SlidingWindow = 4 }, 7),
        _ => new Decoder(new DecoderConfig { VocabularySize = Vocabulary, MaxLength = 64, Width = 12, Layers = 2, Heads = 3, Dropout = 0.1, TiedHead = true, Causal = name == "causal" }, 7),
    }).To(device ?? Device.Cpu, dtype);

    private static string Page(IEnumerable<AuditCheck> checks) => string.Join('\n', checks.Select(check => $"{check.Outcome} {check.Claim} ({check.Detail}) {string.Join(' ', check.Measurements.Select(m => $"{m.What} {m.Error:E1}/{m.Threshold:E1}"))}"));

    [Theory]
    [InlineData("gpt2", DType.Float32)]
    [InlineData("causal", DType.Float64)]
    [InlineData("full", DType.Float32)]
    [InlineData("gpt2", DType.BFloat16)]
    [InlineData("mistral", DType.Float32)]
    [InlineData("full", DType.Float16)]
    public void HoldsOnEveryModel(string name, DType dtype)
    {
        using CausalLanguageModel model = Make(name, dtype);
        AuditCheck[] checks = [.. new ModelAudit(model, Documents(Lengths)).Run()];
        Assert.True(checks.All(check => check.Outcome == AuditOutcome.Holds || (name == "full" && check.Claim.EndsWith("after it", StringComparison.Ordinal) && check.Outcome == AuditOutcome.NotRun)), Page(checks));
        Assert.True(checks.Length > 20, Page(checks));
        Assert.True(model.IsTraining);
        Assert.Equal(dtype, model.DType);
        Assert.All(model.Parameters(), parameter => Assert.Null(parameter.Grad));
        // The same bits are asked for, and kept: that is not vacuous.
        AuditMeasurement bits = checks[0].Measurements.Single(measurement => measurement.What == "parameter gradients");
        Assert.Equal(0, bits.Threshold);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void HoldsOnAGpu(bool deterministic)
    {
        Device device = TestDevices.Cuda();
        device.IsDeterministic = deterministic;
        try
        {
            // The emulator takes one of the types for each mode.
            foreach (DType dtype in TestDevices.IsSlow ? (DType[])[deterministic ? DType.Float32 : DType.BFloat16] : [DType.Float32, DType.BFloat16])
            {
                using CausalLanguageModel model = Make("gpt2", dtype, device);
                AuditCheck[] checks = [.. new ModelAudit(model, Documents(TestDevices.IsSlow ? [5, 1, 7] : Lengths)).Run()];
                Assert.True(checks.All(check => check.Outcome == AuditOutcome.Holds), Page(checks));
                Assert.Equal(deterministic, checks[0].Measurements[0].Threshold == 0);
            }
        }
        finally
        {
            device.IsDeterministic = false;
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(64)]
    [InlineData(1, 64, 63)]
    public void HoldsOnAwkwardDocuments(params int[] lengths)
    {
        using CausalLanguageModel model = Make("gpt2");
        AuditCheck[] checks = [.. new ModelAudit(model, Documents(lengths)).Run()];
        Assert.True(checks.All(check => check.Outcome != AuditOutcome.Fails), Page(checks));
        Assert.Equal(lengths.Length == 1, checks.Any(check => check.Outcome == AuditOutcome.NotRun && check.Detail.Contains("only one document", StringComparison.Ordinal)));
    }

    public static TheoryData<string, string, string> Faults => new()
    {
        { nameof(PlantedFaults.BoundaryOffByOne), "gpt2", "isolation equivalence" },
        { nameof(PlantedFaults.BoundaryOffByOne), "full", "isolation equivalence" },
        { nameof(PlantedFaults.OneDocument), "gpt2", "isolation equivalence" },
        { nameof(PlantedFaults.CausalOffByOne), "gpt2", "isolation equivalence" },
        { nameof(PlantedFaults.NotFiniteLeaks), "gpt2", "isolation" },
        { nameof(PlantedFaults.GradientLeaks), "gpt2", "isolation equivalence" },
        { nameof(PlantedFaults.OrderRounds), "gpt2", "isolation" },
        { nameof(PlantedFaults.PositionsNotReset), "gpt2", "isolation equivalence labels" },
        { nameof(PlantedFaults.LabelCrosses), "gpt2", "isolation equivalence labels" },
        { nameof(PlantedFaults.IgnoredCounts), "gpt2", "isolation equivalence labels" },
        { nameof(PlantedFaults.Drops), "gpt2", "isolation equivalence labels" },
        { nameof(PlantedFaults.Doubles), "gpt2", "isolation equivalence labels" },
        { nameof(PlantedFaults.PaddingSeen), "full", "equivalence" },
    };

    [Theory, MemberData(nameof(Faults))]
    public void FindsWhatIsPlanted(string fault, string name, string areas)
    {
        using CausalLanguageModel model = Make(name);
        ICollator collator = fault == nameof(PlantedFaults.PaddingSeen) ? PlantedFaults.PaddingSeen(20) : (ICollator)typeof(PlantedFaults).GetProperty(fault)!.GetValue(null)!;
        var audit = new ModelAudit(model, Documents(Lengths));
        var strategy = new AuditedStrategy(fault, collator);
        AuditCheck[] checks = [.. audit.Isolation(strategy), .. audit.Equivalence([strategy]), .. audit.Labels([strategy])];
        AuditCheck[] failed = [.. checks.Where(check => check.Outcome == AuditOutcome.Fails)];
        foreach (string area in areas.Split(' ')) Assert.True(failed.Any(check => check.Area.ToString().Equals(area, StringComparison.OrdinalIgnoreCase)), $"{area}\n{Page(checks)}");
        // A failure says where.
        Assert.All(failed, check => Assert.Matches(@"document|row|batch|loss|sum|sequence", check.Detail));
        if (fault == nameof(PlantedFaults.PaddingSeen)) Assert.Contains(failed, check => check.Claim.Contains("in the padding", StringComparison.Ordinal));
        if (fault == nameof(PlantedFaults.CausalOffByOne)) Assert.Contains(failed, check => check.Claim.Contains("comes after", StringComparison.Ordinal));
        if (fault == nameof(PlantedFaults.NotFiniteLeaks)) Assert.All(failed, check => Assert.Contains("NaN", check.Claim, StringComparison.Ordinal));
        if (fault == nameof(PlantedFaults.GradientLeaks)) Assert.Contains(failed, check => check.Claim.Contains("no gradient", StringComparison.Ordinal));
    }

    [Fact]
    public void RefusesDocumentsThatTheModelCannotRead()
    {
        using CausalLanguageModel model = Make("gpt2");
        Assert.Contains("at least one", Assert.Throws<ArgumentException>(() => new ModelAudit(model, [])).Message, StringComparison.Ordinal);
        Assert.Contains("document 1 has 65 tokens", Assert.Throws<ArgumentException>(() => new ModelAudit(model, Documents(3, 65))).Message, StringComparison.Ordinal);
        Assert.Contains("document 0 has 0 tokens", Assert.Throws<ArgumentException>(() => new ModelAudit(model, Documents(0))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReleasesEverything()
    {
        using CausalLanguageModel model = Make("gpt2");
        TokenSequence[] documents = Documents(3, 1, 6);
        Memory.AssertReleasesAll(() => _ = new ModelAudit(model, documents).Run());
    }
}
