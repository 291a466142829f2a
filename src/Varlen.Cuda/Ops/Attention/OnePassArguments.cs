using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>The twin of <c>OnePassArguments</c> in attention_one_pass.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OnePassArguments
{
    public AttentionProblem Problem;
    public nint QueryTiles, KeyTiles;
    public AttentionOperand Query, Key, Value, Output, OutputGradient, QueryGradient, KeyGradient, ValueGradient;
    public AttentionStatistic Lse, LseGradient, Rows;
    public nint Workspace;
    public long Tokens;
}

/// <summary>A tile and where the tiles of its sequence lie in the list; the twin of <c>GroupedTile</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GroupedTile
{
    public AttentionTile Tile;
    public int GroupFirst, GroupCount;
}
