namespace Varlen.Checkpoints;

/// <summary>
/// What a header may ask for. They bound the reader's time and memory whatever the file says; the first is the format's own,
/// the others lie far above any real model.
/// </summary>
internal static class SafetensorsLimits
{
    public const int HeaderBytes = 100_000_000;
    public const int Tensors = 1 << 18;
    public const int MetadataEntries = 1 << 18;
    public const int Rank = 32;
    /// <summary>UTF-8 bytes of a tensor's name or of a metadata key, as written in the header.</summary>
    public const int KeyBytes = 1 << 16;
}
