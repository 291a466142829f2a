using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Native;

/// <summary>CUDA's run-time compiler, as far as it is called. A result of 0 is success.</summary>
internal static unsafe partial class Nvrtc
{
    private const string Library = "nvrtc";

    [LibraryImport(Library, EntryPoint = "nvrtcVersion")] public static partial int Version(out int major, out int minor);
    [LibraryImport(Library, EntryPoint = "nvrtcCreateProgram", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int CreateProgram(out nint program, string source, string name, int headers, byte** headerSources, byte** headerNames);
    [LibraryImport(Library, EntryPoint = "nvrtcCompileProgram")] public static partial int CompileProgram(nint program, int options, byte** values);
    [LibraryImport(Library, EntryPoint = "nvrtcGetCUBINSize")] public static partial int GetCubinSize(nint program, out nuint bytes);
    [LibraryImport(Library, EntryPoint = "nvrtcGetCUBIN")] public static partial int GetCubin(nint program, byte* cubin);
    [LibraryImport(Library, EntryPoint = "nvrtcGetProgramLogSize")] public static partial int GetLogSize(nint program, out nuint bytes);
    [LibraryImport(Library, EntryPoint = "nvrtcGetProgramLog")] public static partial int GetLog(nint program, byte* log);
    [LibraryImport(Library, EntryPoint = "nvrtcDestroyProgram")] public static partial int DestroyProgram(ref nint program);
    [LibraryImport(Library, EntryPoint = "nvrtcGetErrorString")] private static partial byte* GetErrorString(int result);

    public static string Describe(int result) => Marshal.PtrToStringUTF8((nint)GetErrorString(result)) ?? $"error {result}";
}
