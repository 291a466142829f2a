namespace Varlen;

/// <summary>What tokens after a layout's last offset are.</summary>
public enum TailPolicy
{
    /// <summary>A mistake: more tokens than the layout covers are refused.</summary>
    Error,
    /// <summary>Padding that belongs to no sequence: outputs and gradients 0, log-sum-exp negative infinity.</summary>
    Padding,
}
