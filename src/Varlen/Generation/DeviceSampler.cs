using System.Runtime.InteropServices;
using Varlen.Models;
using Varlen.Ops;

namespace Varlen.Generation;

/// <summary>Draws tokens where the logits are, so that only the tokens come back.</summary>
internal sealed class DeviceSampler : IDisposable
{
    /// <summary>Numbers of a <see cref="SampledRow"/>.</summary>
    public const int RowNumbers = 6;

    private readonly ISamplingKernels _kernels;
    private readonly Device _device;
    private readonly SamplingRule _rule;
    private readonly int[] _marks;

    private DeviceSampler(ISamplingKernels kernels, CausalLanguageModel model, GenerationOptions options)
    {
        (_kernels, _device) = (kernels, model.Device);
        _rule = new SamplingRule(options.Temperature, options.TopK ?? int.MaxValue, options.TopP ?? 1, options.RepetitionPenalty);
        _marks = options.RepetitionPenalty == 1 ? [] : new int[(model.VocabularySize + 31) / 32];
    }

    /// <summary>A bit for each id that a slot's prompt and text have had, Int32 <c>[slots, ids / 32]</c>; null without a penalty.</summary>
    public Tensor? Seen { get; private set; }

    /// <summary>A sampler on the model's device; null where tokens are drawn on the host, as on the CPU.</summary>
    public static DeviceSampler? For(CausalLanguageModel model, GenerationOptions options) => model.Device.Backend is ISamplingKernels kernels ? new(kernels, model, options) : null;

    /// <summary>Takes note of a prompt: from now on its slot draws for it.</summary>
    public void Begin(int slot, ReadOnlySpan<int> prompt)
    {
        if (_marks.Length == 0) return;
        Array.Clear(_marks);
        foreach (int id in prompt) _marks[id / 32] |= 1 << (id % 32);
        if (!(slot < Seen?.Shape[0])) Grow(slot + 1);
        _device.Backend.CopyFromHost(MemoryMarshal.AsBytes(_marks.AsSpan()), Seen!.Pointer + (nint)((long)slot * _marks.Length * sizeof(int)));
    }

    /// <summary>Draws from rows of logits, and waits for the tokens.</summary>
    /// <param name="logits"><c>[rows, ids]</c>.</param>
    /// <param name="rows">What to draw of each.</param>
    /// <param name="ids">The tokens; -1 where the logits are damaged.</param>
    public void Draw(Tensor logits, ReadOnlySpan<SampledRow> rows, Span<int> ids)
    {
        using Tensor sent = Tensor.AllocateUntracked([rows.Length, RowNumbers], DType.Int32, _device), drawn = Tensor.AllocateUntracked([rows.Length], DType.Int32, _device);
        _device.Backend.CopyFromHost(MemoryMarshal.AsBytes(rows), sent.Pointer);
        Start(logits, sent, drawn);
        _device.Backend.CopyToHost(drawn.Pointer, MemoryMarshal.AsBytes(ids));
    }

    /// <summary>As <see cref="Draw"/>, from and to tensors of the device, without a wait.</summary>
    public void Start(Tensor logits, Tensor rows, Tensor ids) => _kernels.SampleRows(logits, rows, Seen, ids, _rule);

    public void Dispose() => Seen?.Dispose();

    private void Grow(int slots)
    {
        Tensor larger = Tensor.AllocateUntracked([Math.Max(slots, 2 * (Seen?.Shape[0] ?? 0)), _marks.Length], DType.Int32, _device);
        if (Seen is not null) _device.Backend.Copy(Seen.Pointer, larger.Pointer, Seen.Count * sizeof(int));
        Seen?.Dispose();
        Seen = larger;
    }
}
