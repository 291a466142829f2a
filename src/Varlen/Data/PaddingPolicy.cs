namespace Varlen;

/// <summary>Where real tokens may stand in a padded row, and which positions they get.</summary>
public enum PaddingPolicy
{
    /// <summary>Real tokens first, padding after them; anything else is refused, because programs disagree on its positions.</summary>
    RightOnly,
    /// <summary>Anywhere; positions count the real tokens of the row from 0. What generation with left padding expects.</summary>
    CountPositions,
    /// <summary>Anywhere; a token's position is its column. What a model sees that is given no position ids beside a mask.</summary>
    ColumnPositions,
}
