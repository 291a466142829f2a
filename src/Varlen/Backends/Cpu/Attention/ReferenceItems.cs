namespace Varlen.Backends.Cpu.Attention;

/// <summary>The reference forward pass: one item per sequence and query head.</summary>
internal unsafe struct ReferenceForwardItems : IParallelItems
{
    internal AttentionProblem Problem;
    internal AttentionOperand Query, Key, Value, Output, LogSumExp;

    public void Invoke(long item, int worker)
    {
        (long index, long head) = Math.DivRem(item, Problem.QueryHeads);
        ref readonly AttentionSequence sequence = ref Problem.Sequences[index];
        AttentionReference.ForwardRows(Problem, Query, Key, Value, Output, LogSumExp, sequence, (int)head, 0, sequence.QueryLength);
    }
}

/// <summary>The reference backward pass: one item per sequence and key head.</summary>
internal unsafe struct ReferenceBackwardItems : IParallelItems
{
    internal AttentionProblem Problem;
    internal AttentionGradients Gradients;

    public void Invoke(long item, int worker)
    {
        (long index, long head) = Math.DivRem(item, Problem.KeyHeads);
        AttentionReference.BackwardHead(Problem, Gradients, Problem.Sequences[index], (int)head);
    }
}
