namespace Varlen.Backends.Cpu.Attention;

/// <summary>Everything the backward pass reads and writes. Absent operands have no data.</summary>
internal struct AttentionGradients
{
    public AttentionOperand Query, Key, Value, Output, LogSumExp, DOutput, DLogSumExp;
    public AttentionOperand DQuery, DKey, DValue;
}
