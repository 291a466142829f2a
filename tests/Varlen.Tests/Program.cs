using Varlen.Tests.Backends.Cuda;
using Varlen.Tests.Checkpoints;
using Xunit.MicrosoftTestingPlatform;
using Xunit.Runner.InProc.SystemConsole;

namespace Varlen.Tests;

internal static class Program
{
    /// <summary>Runs the tests, or is the process that one of them kills or gives a broken machine to.</summary>
    public static Task<int> Main(string[] args) => args switch
    {
        [CudaTarget.Command, string mode] => Task.FromResult(CudaTarget.Run(mode)),
        [CrashTarget.Command, string mode, string folder] => Task.FromResult(CrashTarget.Run(mode, folder)),
        _ when args.Any(arg => arg is "--server" or "--internal-msbuild-node") => TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions),
        _ => ConsoleRunner.Run(args),
    };
}
