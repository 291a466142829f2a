using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Native;

/// <summary>The driver API, as far as it is called. Results are codes of <see cref="CudaResult"/>.</summary>
internal static unsafe partial class Driver
{
    private const string Library = "cuda";

    [LibraryImport(Library, EntryPoint = "cuInit")] public static partial CudaResult Init(uint flags);
    [LibraryImport(Library, EntryPoint = "cuDriverGetVersion")] public static partial CudaResult GetVersion(out int version);
    [LibraryImport(Library, EntryPoint = "cuDeviceGetCount")] public static partial CudaResult DeviceGetCount(out int count);
    [LibraryImport(Library, EntryPoint = "cuDeviceGet")] public static partial CudaResult DeviceGet(out int device, int ordinal);
    [LibraryImport(Library, EntryPoint = "cuDeviceGetName")] public static partial CudaResult DeviceGetName(byte* name, int length, int device);
    [LibraryImport(Library, EntryPoint = "cuDeviceGetAttribute")] public static partial CudaResult DeviceGetAttribute(out int value, DeviceAttribute attribute, int device);
    [LibraryImport(Library, EntryPoint = "cuDeviceTotalMem_v2")] public static partial CudaResult DeviceTotalMem(out nuint bytes, int device);
    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRetain")] public static partial CudaResult PrimaryContextRetain(out nint context, int device);
    [LibraryImport(Library, EntryPoint = "cuCtxSetCurrent")] public static partial CudaResult ContextSetCurrent(nint context);
    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")] public static partial CudaResult MemGetInfo(out nuint free, out nuint total);

    [LibraryImport(Library, EntryPoint = "cuStreamCreate")] public static partial CudaResult StreamCreate(out nint stream, uint flags);
    [LibraryImport(Library, EntryPoint = "cuStreamSynchronize")] public static partial CudaResult StreamSynchronize(nint stream);
    [LibraryImport(Library, EntryPoint = "cuStreamBeginCapture_v2")] public static partial CudaResult StreamBeginCapture(nint stream, CaptureMode mode);
    [LibraryImport(Library, EntryPoint = "cuStreamEndCapture")] public static partial CudaResult StreamEndCapture(nint stream, out nint graph);
    [LibraryImport(Library, EntryPoint = "cuGraphGetNodes")] public static partial CudaResult GraphGetNodes(nint graph, nint* nodes, nuint* count);
    [LibraryImport(Library, EntryPoint = "cuGraphInstantiateWithFlags")] public static partial CudaResult GraphInstantiate(out nint executable, nint graph, ulong flags);
    [LibraryImport(Library, EntryPoint = "cuGraphLaunch")] public static partial CudaResult GraphLaunch(nint executable, nint stream);
    [LibraryImport(Library, EntryPoint = "cuGraphExecDestroy")] public static partial CudaResult GraphExecDestroy(nint executable);
    [LibraryImport(Library, EntryPoint = "cuGraphDestroy")] public static partial CudaResult GraphDestroy(nint graph);

    [LibraryImport(Library, EntryPoint = "cuEventCreate")] public static partial CudaResult EventCreate(out nint created, uint flags);
    [LibraryImport(Library, EntryPoint = "cuEventRecord")] public static partial CudaResult EventRecord(nint recorded, nint stream);
    [LibraryImport(Library, EntryPoint = "cuEventQuery")] public static partial CudaResult EventQuery(nint queried);
    [LibraryImport(Library, EntryPoint = "cuEventSynchronize")] public static partial CudaResult EventSynchronize(nint awaited);
    [LibraryImport(Library, EntryPoint = "cuEventElapsedTime")] public static partial CudaResult EventElapsedTime(out float milliseconds, nint start, nint end);
    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")] public static partial CudaResult EventDestroy(nint destroyed);

    [LibraryImport(Library, EntryPoint = "cuMemAllocAsync")] public static partial CudaResult MemAllocAsync(out nint pointer, nuint bytes, nint stream);
    [LibraryImport(Library, EntryPoint = "cuMemFreeAsync")] public static partial CudaResult MemFreeAsync(nint pointer, nint stream);
    [LibraryImport(Library, EntryPoint = "cuDeviceGetDefaultMemPool")] public static partial CudaResult DeviceGetDefaultMemPool(out nint pool, int device);
    [LibraryImport(Library, EntryPoint = "cuMemPoolSetAttribute")] public static partial CudaResult MemPoolSetAttribute(nint pool, MemoryPoolAttribute attribute, void* value);
    [LibraryImport(Library, EntryPoint = "cuMemPoolGetAttribute")] public static partial CudaResult MemPoolGetAttribute(nint pool, MemoryPoolAttribute attribute, void* value);
    [LibraryImport(Library, EntryPoint = "cuMemPoolTrimTo")] public static partial CudaResult MemPoolTrimTo(nint pool, nuint keep);
    [LibraryImport(Library, EntryPoint = "cuMemHostAlloc")] public static partial CudaResult MemHostAlloc(out nint pointer, nuint bytes, uint flags);
    [LibraryImport(Library, EntryPoint = "cuMemcpyHtoDAsync_v2")] public static partial CudaResult CopyHostToDevice(nint destination, nint source, nuint bytes, nint stream);
    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoHAsync_v2")] public static partial CudaResult CopyDeviceToHost(nint destination, nint source, nuint bytes, nint stream);
    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoDAsync_v2")] public static partial CudaResult CopyDeviceToDevice(nint destination, nint source, nuint bytes, nint stream);
    [LibraryImport(Library, EntryPoint = "cuMemsetD8Async")] public static partial CudaResult SetBytes(nint destination, byte value, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuModuleLoadDataEx")] public static partial CudaResult ModuleLoadData(out nint module, void* image, uint options, void* names, void* values);
    [LibraryImport(Library, EntryPoint = "cuModuleGetFunction", StringMarshalling = StringMarshalling.Utf8)] public static partial CudaResult ModuleGetFunction(out nint function, nint module, string name);
    [LibraryImport(Library, EntryPoint = "cuFuncSetAttribute")] public static partial CudaResult FunctionSetAttribute(nint function, FunctionAttribute attribute, int value);
    // Since CUDA 12.4.
    [LibraryImport(Library, EntryPoint = "cuFuncGetParamInfo")] public static partial CudaResult FunctionGetParameterInfo(nint function, nuint index, out nuint offset, out nuint bytes);
    [LibraryImport(Library, EntryPoint = "cuLaunchKernel")]
    public static partial CudaResult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra);
    [LibraryImport(Library, EntryPoint = "cuTensorMapEncodeTiled")]
    public static partial CudaResult TensorMapEncodeTiled(
        void* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* steps, int interleave, int swizzle, int l2Promotion, int fill);
    [LibraryImport(Library, EntryPoint = "cuGetErrorName")] private static partial CudaResult GetErrorName(CudaResult error, out byte* name);
    [LibraryImport(Library, EntryPoint = "cuGetErrorString")] private static partial CudaResult GetErrorString(CudaResult error, out byte* text);

    /// <summary>The driver's name and words for a code.</summary>
    public static (string Name, string Text) Describe(CudaResult error)
    {
        string name = GetErrorName(error, out byte* n) == CudaResult.Success ? Marshal.PtrToStringUTF8((nint)n)! : $"error {(int)error}";
        return (name, GetErrorString(error, out byte* t) == CudaResult.Success ? Marshal.PtrToStringUTF8((nint)t)! : "unknown to this driver");
    }
}

/// <summary>Codes of the driver that are told apart here.</summary>
internal enum CudaResult
{
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NotInitialized = 3,
    Deinitialized = 4,
    NoDevice = 100,
    InvalidDevice = 101,
    InvalidImage = 200,
    NoBinaryForGpu = 209,
    EccUncorrectable = 214,
    NotReady = 600,
    IllegalAddress = 700,
    LaunchOutOfResources = 701,
    LaunchTimeout = 702,
    Assert = 710,
    HardwareStackError = 714,
    IllegalInstruction = 715,
    MisalignedAddress = 716,
    InvalidAddressSpace = 717,
    InvalidProgramCounter = 718,
    LaunchFailed = 719,
    SystemNotReady = 802,
    SystemDriverMismatch = 803,
    CaptureUnsupported = 900,
    CaptureWrongThread = 908,
}

/// <summary>Which threads may not make unsafe calls during a capture.</summary>
internal enum CaptureMode
{
    Global = 0,
    ThreadLocal = 1,
    Relaxed = 2,
}

internal enum DeviceAttribute
{
    MultiprocessorCount = 16,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    SharedMemoryPerBlockOptIn = 97,
}

internal enum FunctionAttribute
{
    MaxDynamicSharedBytes = 8,
}

internal enum MemoryPoolAttribute
{
    ReleaseThreshold = 4,
    ReservedCurrent = 5,
    ReservedHigh = 6,
    UsedCurrent = 7,
    UsedHigh = 8,
}
