namespace Varlen.Backends.Cpu;

/// <summary>A number of tile rows known to the JIT, which drops the code of all further rows.</summary>
internal interface IRowCount
{
    static abstract int Count { get; }
}

internal readonly struct Rows1 : IRowCount { public static int Count => 1; }
internal readonly struct Rows2 : IRowCount { public static int Count => 2; }
internal readonly struct Rows3 : IRowCount { public static int Count => 3; }
internal readonly struct Rows4 : IRowCount { public static int Count => 4; }
internal readonly struct Rows5 : IRowCount { public static int Count => 5; }
internal readonly struct Rows6 : IRowCount { public static int Count => 6; }
internal readonly struct Rows7 : IRowCount { public static int Count => 7; }
internal readonly struct Rows8 : IRowCount { public static int Count => 8; }
internal readonly struct Rows9 : IRowCount { public static int Count => 9; }
internal readonly struct Rows10 : IRowCount { public static int Count => 10; }
internal readonly struct Rows11 : IRowCount { public static int Count => 11; }
internal readonly struct Rows12 : IRowCount { public static int Count => 12; }

/// <summary>How the rows of A lie in memory, known to the JIT.</summary>
internal interface IRowLayout
{
    /// <summary>True: element (r, k) is at <c>k * stride + r</c>. False: at <c>r * stride + k</c>.</summary>
    static abstract bool Interleaved { get; }
}

internal readonly struct InterleavedRows : IRowLayout { public static bool Interleaved => true; }
internal readonly struct SeparateRows : IRowLayout { public static bool Interleaved => false; }
