using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Native memory for values. Large blocks ask the system for large pages: the rows of an attention head lie a page apart, and looking up a
/// page for each costs more than the arithmetic on it, most of all in a virtual machine.
/// </summary>
internal static unsafe partial class NativeBlock
{
    private const long LargePage = 2L << 20;
    private const int AdviseHugePage = 14;

    /// <summary>Uninitialised memory.</summary>
    /// <param name="bytes">Size, at least 1.</param>
    /// <param name="alignment">A power of two.</param>
    /// <exception cref="OutOfMemoryException">There is none left.</exception>
    internal static void* Allocate(long bytes, long alignment = 64)
    {
        if (bytes < LargePage || !OperatingSystem.IsLinux()) return NativeMemory.AlignedAlloc((nuint)bytes, (nuint)alignment);
        void* block = NativeMemory.AlignedAlloc((nuint)bytes, (nuint)Math.Max(alignment, LargePage));
        // Only whole large pages, so that no neighbour's memory is spoken of. A refusal leaves the block as it is.
        _ = Advise(block, (nuint)(bytes & -LargePage), AdviseHugePage);
        return block;
    }

    /// <summary>Gives a block back; null is nothing.</summary>
    internal static void Free(void* block) => NativeMemory.AlignedFree(block);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);
}
