using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Native;

/// <summary>Leads the imports of this assembly to the libraries that <see cref="CudaPlatform"/> found.</summary>
internal static class NativeBindings
{
    private static readonly Dictionary<string, nint> Loaded = [];

    [ModuleInitializer]
    [System.Diagnostics.CodeAnalysis.SuppressMessage("Usage", "CA2255", Justification = "The resolver must be in place before the first import, and touches no library itself.")]
    internal static void Initialize() => NativeLibrary.SetDllImportResolver(typeof(NativeBindings).Assembly, Resolve);

    public static void Use(LibraryReport report) => Loaded[report.Library.Name] = report.Handle;

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? paths) => Loaded.GetValueOrDefault(name);
}
