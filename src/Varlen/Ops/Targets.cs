namespace Varlen.Ops;

/// <summary>Checks of class targets, on the host: no kernel sees one that is out of range.</summary>
internal static unsafe class Targets
{
    /// <summary>
    /// Checks shape and type, and on the host the range. Targets on another device were checked before they were sent there: reading them
    /// back would be a wait in every step.
    /// </summary>
    public static void Check(string op, Tensor logits, string parameter, Tensor targets, int classes, long ignoreIndex)
    {
        CheckForm(op, logits, parameter, targets);
        if (targets.Device == Device.Cpu) Count(op, targets, classes, ignoreIndex);
    }

    /// <summary>Checks shape, type and range, and counts the targets that are not ignored. Waits for their device.</summary>
    public static long Count(string op, Tensor logits, string parameter, Tensor targets, int classes, long ignoreIndex)
    {
        CheckForm(op, logits, parameter, targets);
        return Count(op, targets, classes, ignoreIndex);
    }

    private static void CheckForm(string op, Tensor logits, string parameter, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(targets);
        Op.Check(targets.DType is DType.Int32 or DType.Int64, op, nameof(targets), $"{targets.DType} cannot hold class numbers; pass Int32 or Int64");
        Op.Check(
            targets.Shape.Dimensions.SequenceEqual(logits.Shape.Dimensions[..^1]), op, nameof(targets),
            $"shape {targets.Shape} does not fit {parameter} {logits.Shape}; expected one target per row");
    }

    private static long Count(string op, Tensor targets, int classes, long ignoreIndex)
    {
        if (targets.Device != Device.Cpu) return Count<long>(op, targets.ToArray<long>(), classes, ignoreIndex);
        int count = checked((int)targets.Count);
        return targets.DType == DType.Int32
            ? Count(op, new ReadOnlySpan<int>(targets.Data<int>(), count), classes, ignoreIndex)
            : Count(op, new ReadOnlySpan<long>(targets.Data<long>(), count), classes, ignoreIndex);
    }

    private static long Count<T>(string op, ReadOnlySpan<T> targets, int classes, long ignoreIndex) where T : unmanaged, System.Numerics.IBinaryInteger<T>
    {
        long counted = 0;
        for (int i = 0; i < targets.Length; i++)
        {
            long target = long.CreateTruncating(targets[i]);
            if (target == ignoreIndex) continue;
            if ((ulong)target >= (ulong)classes)
                throw new ArgumentException($"{op}: target {target} at index {i} is not one of {classes} classes, nor the ignored {ignoreIndex}; correct the targets or pass ignoreIndex", nameof(targets));
            counted++;
        }
        return counted;
    }
}
