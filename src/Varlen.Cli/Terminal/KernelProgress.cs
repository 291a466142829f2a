using Varlen.Backends.Cuda;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Models;

namespace Varlen.Cli.Terminal;

/// <summary>Tells on the error stream that kernels are compiled, which takes a while on first use and happens once.</summary>
internal static class KernelProgress
{
    private const int LinesElsewhere = 4;

    private static readonly Lock Gate = new();

    /// <summary>Begins to tell.</summary>
    public static void Show() => KernelHost.Progress ??= Tell;

    /// <summary>Compiles what a model launches, on a GPU.</summary>
    public static void Prepare(CausalLanguageModel model) => (model.Device.Backend as CudaBackend)?.PrepareModel(model.DType, model.HeadDim);

    private static void Tell(int done, int count)
    {
        lock (Gate)
        {
            if (ErrorTerminal.IsInteractive) Console.Error.Write($"\rcompiling kernels, once for this machine: {done}/{count}{(done == count ? "\n" : "")}");
            else if (done == count || done % Math.Max(1, count / LinesElsewhere) == 0) Console.Error.WriteLine($"compiling kernels, once for this machine: {done}/{count}");
        }
    }
}
