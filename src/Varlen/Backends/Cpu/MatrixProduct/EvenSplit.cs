namespace Varlen.Backends.Cpu;

/// <summary>Cuts a range into pieces whose lengths differ by one at most.</summary>
internal readonly struct EvenSplit
{
    private readonly long _shorter, _longerCount;

    private EvenSplit(long total, long count)
    {
        Count = count;
        _shorter = count == 0 ? 0 : total / count;
        _longerCount = count == 0 ? 0 : total % count;
    }

    /// <summary>As few pieces as possible of at most <paramref name="most"/> each.</summary>
    internal static EvenSplit OfAtMost(long total, long most) => new(total, (total + most - 1) / most);

    /// <summary>Exactly <paramref name="count"/> pieces.</summary>
    internal static EvenSplit Into(long total, long count) => new(total, count);

    internal long Count { get; }
    internal long Start(long index) => index * _shorter + Math.Min(index, _longerCount);
    internal long Length(long index) => _shorter + (index < _longerCount ? 1 : 0);
}
