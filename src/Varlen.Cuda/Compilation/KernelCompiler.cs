using System.Runtime.InteropServices;
using System.Text;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>A compiled module and what the compiler and assembler said: registers, spills, warnings.</summary>
internal sealed record CompiledModule(byte[] Image, string Log);

/// <summary>Compiles kernel sources with NVRTC. Thread-safe.</summary>
internal static unsafe class KernelCompiler
{
    /// <param name="source">File name of the source.</param>
    /// <param name="defines">Options as NAME=VALUE.</param>
    /// <param name="architecture">Such as sm_90a.</param>
    /// <exception cref="CudaException">The source does not compile; the message holds the log.</exception>
    public static CompiledModule Compile(string source, IReadOnlyList<string> defines, string architecture)
    {
        string text = KernelSources.Read(source);
        (string Name, string Text)[] headers = [.. KernelSources.IncludedBy(text)];
        using var strings = new NativeStrings();
        byte** sources = strings.Array(headers.Select(header => header.Text)), names = strings.Array(headers.Select(header => header.Name));
        Check(Nvrtc.CreateProgram(out nint program, text, source, headers.Length, sources, names), "nvrtcCreateProgram");
        try
        {
            string[] options = Options(defines, architecture);
            int result = Nvrtc.CompileProgram(program, options.Length, strings.Array(options));
            string log = Log(program);
            if (result != 0) throw new CudaException($"kernel {source} ({string.Join(", ", defines)}) does not compile for {architecture}: {Nvrtc.Describe(result)}\n{log}");
            Check(Nvrtc.GetCubinSize(program, out nuint bytes), "nvrtcGetCUBINSize");
            var image = new byte[checked((int)bytes)];
            fixed (byte* p = image) Check(Nvrtc.GetCubin(program, p), "nvrtcGetCUBIN");
            return new CompiledModule(image, log);
        }
        finally
        {
            Nvrtc.DestroyProgram(ref program);
        }
    }

    /// <summary>The compiler's options, all of which decide what comes out.</summary>
    public static string[] Options(IReadOnlyList<string> defines, string architecture)
        => [$"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v", .. defines.Select(define => $"-D{define}")];

    private static string Log(nint program)
    {
        Check(Nvrtc.GetLogSize(program, out nuint bytes), "nvrtcGetProgramLogSize");
        var log = new byte[Math.Max(1, checked((int)bytes))];
        fixed (byte* p = log) Check(Nvrtc.GetLog(program, p), "nvrtcGetProgramLog");
        return Encoding.UTF8.GetString(log).TrimEnd('\0', '\n', ' ');
    }

    private static void Check(int result, string call)
    {
        if (result != 0) throw new CudaException($"{call} failed: {Nvrtc.Describe(result)}");
    }

    /// <summary>Arrays of zero-terminated strings, alive for one call.</summary>
    private sealed class NativeStrings : IDisposable
    {
        private readonly List<nint> _blocks = [];

        public byte** Array(IEnumerable<string> values)
        {
            nint[] pointers = [.. values.Select(Copy)];
            nint array = Marshal.AllocHGlobal(Math.Max(1, pointers.Length) * sizeof(nint));
            _blocks.Add(array);
            for (int i = 0; i < pointers.Length; i++) ((nint*)array)[i] = pointers[i];
            return (byte**)array;
        }

        public void Dispose()
        {
            foreach (nint block in _blocks) Marshal.FreeHGlobal(block);
        }

        private nint Copy(string value)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(value + '\0');
            nint block = Marshal.AllocHGlobal(bytes.Length);
            _blocks.Add(block);
            Marshal.Copy(bytes, 0, block, bytes.Length);
            return block;
        }
    }
}
