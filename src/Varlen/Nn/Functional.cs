namespace Varlen.Nn;

/// <summary>
/// Every op as a function of tensors, usually imported as <c>using F = Varlen.Nn.Functional;</c>. Each op's part of this class is in
/// its file under Ops, next to its gradient.
/// </summary>
public static partial class Functional;
