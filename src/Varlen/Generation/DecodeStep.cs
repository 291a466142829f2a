using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Backends;
using Varlen.Models;
using Varlen.Ops;

namespace Varlen.Generation;

/// <summary>
/// One more token of sequences of a cache, on a device that draws tokens itself: a step of a fixed size, which is recorded and replayed. The number of rows is rounded up to
/// a power of two, and so is the longest sequence, because kernels start blocks for as many keys as the step takes; when sequences outgrow that, or memory has
/// moved, the step is recorded anew.
/// </summary>
internal sealed class DecodeStep : IDisposable
{
    private const int LeastKeys = 256;

    private readonly KvCache _cache;
    private readonly DeviceSampler _sampler;
    private readonly bool _records;
    private DecodePlan? _plan;

    private DecodeStep(KvCache cache, DeviceSampler sampler, bool records) => (_cache, _sampler, _records) = (cache, sampler, records);

    /// <summary>Why the step is run as it is; null when it is recorded, or will be.</summary>
    public string? WhyNotRecorded { get; private set; }

    /// <summary>Steps that were replays of a recording.</summary>
    public int Replays { get; private set; }

    /// <summary>Sizes and places for which steps were made.</summary>
    public int Plans { get; private set; }

    /// <summary>A step on the cache's device; null where steps are not of a fixed size, as on the CPU.</summary>
    /// <param name="cache">Holds the sequences.</param>
    /// <param name="sampler">Draws the tokens.</param>
    /// <param name="records">false runs the step as it is, to compare with.</param>
    public static DecodeStep? For(KvCache cache, DeviceSampler? sampler, bool records) => sampler is not null && cache.Model.Device.Backend is IDecodingKernels ? new(cache, sampler, records) : null;

    /// <summary>Reads each row's token, and draws the next.</summary>
    /// <param name="rows">Different sequences of the cache, each with tokens.</param>
    /// <param name="ids">What was drawn; -1 where logits are damaged.</param>
    public void Run(ReadOnlySpan<SampledRow> rows, Span<int> ids)
    {
        CausalLanguageModel model = _cache.Model;
        using var region = GradMode.NoGrad();
        bool training = model.IsTraining;
        if (training) model.Eval();
        try
        {
            int longest = _cache.Extend(rows);
            if (_plan?.Takes(rows.Length, longest) != true || !_cache.HasRoom) Replan(rows.Length, longest);
            string? why = _plan!.Run(rows);
            WhyNotRecorded ??= why;
            if (_plan.IsRecorded) Replays++;
            _cache.Commit(rows);
            Read(_plan.Ids, ids);
        }
        finally
        {
            if (training) model.Train();
            // Of a step that failed, pages go back.
            _cache.Settle(rows);
        }
    }

    /// <summary>The last step's logits of so many rows.</summary>
    public Tensor Logits(int rows) => _plan!.Logits(rows);

    public void Dispose() => _plan?.Dispose();

    private void Replan(int rows, int longest)
    {
        _cache.MakeRoom();
        int keys = (int)Math.Min(BitOperations.RoundUpToPowerOf2((uint)Math.Max(longest, LeastKeys)), Math.Max((uint)_cache.Capacity, LeastKeys));
        rows = (int)Math.Max(BitOperations.RoundUpToPowerOf2((uint)rows), _plan?.Rows ?? 1);
        _plan?.Dispose();
        _plan = null;
        _plan = new DecodePlan(_cache, _sampler, rows, keys, _records && WhyNotRecorded is null);
        Plans++;
    }

    private static void Read(Tensor drawn, Span<int> ids)
    {
        Backend backend = drawn.Device.Backend;
        Span<byte> bytes = MemoryMarshal.AsBytes(ids);
        if (bytes.Length <= Backend.FewBytes) backend.StartRead(drawn.Pointer, bytes.Length).Wait(bytes);
        else backend.CopyToHost(drawn.Pointer, bytes);
    }
}
