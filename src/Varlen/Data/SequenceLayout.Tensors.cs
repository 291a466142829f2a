using Varlen.Ops;

namespace Varlen;

public sealed partial class SequenceLayout
{
    private const int MaxAttached = 32;

    private readonly Lock _mirrorLock = new();
    private Tensor? _mirror;
    private Dictionary<object, IDisposable>? _attached;
    private bool _isDisposed;

    /// <inheritdoc cref="FromLengths(ReadOnlySpan{int})"/>
    /// <param name="lengths">Tokens of each sequence; 0 is legal, and so is no sequence at all.</param>
    /// <param name="device">Where the offsets are sent at once, so that the first op need not; null sends nothing yet.</param>
    public static SequenceLayout FromLengths(ReadOnlySpan<int> lengths, Device? device)
    {
        SequenceLayout layout = FromLengths(lengths);
        if (device is not null) layout.CuSeqlensOn(device);
        return layout;
    }

    /// <summary>A layout from a tensor of cumulative lengths. Waits for its device.</summary>
    /// <param name="offsets">Int32 or Int64 <c>[N + 1]</c>, first 0, never decreasing.</param>
    /// <param name="totalTokens">The number of packed tokens, which the last offset must equal; null when not known.</param>
    /// <exception cref="ArgumentException">The offsets break a rule; the message names the index.</exception>
    public static SequenceLayout FromCuSeqlens(Tensor offsets, long? totalTokens = null)
        => FromCuSeqlens(Integers(offsets, 1, nameof(offsets)), totalTokens);

    /// <summary>A layout from a tensor of token ids with end-of-sequence markers; see <see cref="FromEos(ReadOnlySpan{long}, int, int, long)"/>. Waits for its device.</summary>
    /// <param name="ids">Int32 or Int64 <c>[batch, sequenceLength]</c>.</param>
    /// <param name="eosId">The id that ends a document.</param>
    /// <exception cref="ArgumentException">The tensor has another shape or type.</exception>
    public static SequenceLayout FromEos(Tensor ids, long eosId) => FromEos(Integers(ids, 2, nameof(ids)), ids.Shape[0], ids.Shape[1], eosId);

    /// <summary>A layout from a tensor of position ids; see <see cref="FromPositionIds(ReadOnlySpan{long}, int, int, long)"/>. Waits for its device.</summary>
    /// <param name="positionIds">Int32 or Int64 <c>[batch, sequenceLength]</c>.</param>
    /// <param name="start">Position of a document's first token.</param>
    /// <exception cref="ArgumentException">A document starts elsewhere, or the tensor has another shape or type.</exception>
    public static SequenceLayout FromPositionIds(Tensor positionIds, long start = 0)
        => FromPositionIds(Integers(positionIds, 2, nameof(positionIds)), positionIds.Shape[0], positionIds.Shape[1], start);

    /// <summary>A layout from a tensor padding mask; see <see cref="FromPaddingMask(ReadOnlySpan{bool}, int, int, PaddingPolicy)"/>. Waits for its device.</summary>
    /// <param name="mask">Bool <c>[batch, sequenceLength]</c>, true for a real token.</param>
    /// <param name="policy">Where padding may stand, and which positions tokens get beside it.</param>
    /// <exception cref="ArgumentException">Padding stands before a real token without a policy, or the tensor has another shape or type.</exception>
    public static (SequenceLayout Layout, PaddedIndices Indices) FromPaddingMask(Tensor mask, PaddingPolicy policy = PaddingPolicy.RightOnly)
    {
        ArgumentNullException.ThrowIfNull(mask);
        Op.Check(mask.DType == DType.Bool && mask.Shape.Rank == 2, nameof(SequenceLayout), nameof(mask), $"the mask is {mask.DType} {mask.Shape}; expected Bool [batch, sequenceLength]");
        return FromPaddingMask(mask.ToArray<bool>(), mask.Shape[0], mask.Shape[1], policy);
    }

    /// <summary>A layout of tensors that are packed one after the other along their first dimension.</summary>
    /// <param name="items">Each <c>[length, ...]</c>.</param>
    /// <exception cref="ArgumentException">A tensor is a scalar, or the total passes <see cref="int.MaxValue"/>; the message names the index.</exception>
    public static SequenceLayout FromTensors(params ReadOnlySpan<Tensor> items)
    {
        var lengths = new int[items.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            Op.Check(items[i].Shape.Rank > 0, nameof(SequenceLayout), nameof(items), $"tensor {i} is a scalar; expected [length, ...]");
            lengths[i] = items[i].Shape[0];
        }
        return FromLengths(lengths);
    }

    /// <summary>The offsets on a device, Int32 <c>[Count + 1]</c>: sent on first use, kept until the layout is disposed, which owns the tensor.</summary>
    public Tensor CuSeqlensOn(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        lock (_mirrorLock)
        {
            if (_mirror is { IsReleased: false } && _mirror.Device == device) return _mirror;
            _mirror?.Dispose();
            return _mirror = Tensor.From(CuSeqlens, [Count + 1], device).Keep();
        }
    }

    /// <summary>
    /// What a backend derives from this layout and keeps on its device: made on first use, and released with the layout.
    /// </summary>
    /// <param name="key">What it was derived for, besides this layout.</param>
    /// <param name="make">Makes it.</param>
    /// <returns>What was made; null when the layout is disposed already, as it may be in a backward pass: nobody would release it.</returns>
    internal T? Attached<T>(object key, Func<T> make) where T : class, IDisposable
    {
        lock (_mirrorLock)
        {
            if (_isDisposed) return null;
            _attached ??= [];
            if (_attached.TryGetValue(key, out IDisposable? found)) return (T)found;
            // One layout that is used with ever new partners may not hoard.
            if (_attached.Count >= MaxAttached) ReleaseAttached();
            T made = make();
            _attached.Add(key, made);
            return made;
        }
    }

    partial void ReleaseDevice()
    {
        lock (_mirrorLock)
        {
            _mirror?.Dispose();
            _mirror = null;
            _isDisposed = true;
            ReleaseAttached();
        }
    }

    private void ReleaseAttached()
    {
        foreach (IDisposable attached in _attached?.Values ?? Enumerable.Empty<IDisposable>()) attached.Dispose();
        _attached?.Clear();
    }

    private static long[] Integers(Tensor tensor, int rank, string parameter)
    {
        ArgumentNullException.ThrowIfNull(tensor, parameter);
        string form = rank == 1 ? "[N + 1]" : "[batch, sequenceLength]";
        Op.Check(tensor.DType is DType.Int32 or DType.Int64, nameof(SequenceLayout), parameter, $"{parameter} is {tensor.DType}; expected Int32 or Int64");
        Op.Check(tensor.Shape.Rank == rank, nameof(SequenceLayout), parameter, $"{parameter} is {tensor.Shape}; expected {form}");
        return tensor.ToArray<long>();
    }
}
