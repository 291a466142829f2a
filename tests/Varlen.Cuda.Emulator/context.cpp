// Devices, contexts, streams, events, modules, errors. Work is done when the call returns, so waiting for it is nothing.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstring>
#include "driver.h"

namespace emulator {

static Device devices[16];
static std::set<Stream*> streams;
static std::set<Event*> events;
static std::set<Module*> modules;

bool switched_on(const char* variable) {
    const char* value = getenv(variable);
    return value && *value && strcmp(value, "0") != 0;
}

int device_count() {
    static int count = getenv("VARLEN_EMULATOR_DEVICES") ? std::min(16, atoi(getenv("VARLEN_EMULATOR_DEVICES"))) : 1;
    return count;
}
Device* device_at(int ordinal) { return ordinal >= 0 && ordinal < device_count() ? &devices[ordinal] : nullptr; }

static bool is_default(void* stream) { return (uint64_t)stream <= 2; }

Stream* find_stream(void* stream) { return streams.count(static_cast<Stream*>(stream)) ? static_cast<Stream*>(stream) : nullptr; }
const std::set<Stream*>& all_streams() { return streams; }

CUresult stream_device(void* stream, Device** device) {
    if (!is_default(stream) && !streams.count(static_cast<Stream*>(stream))) return kInvalidHandle;
    *device = is_default(stream) ? current : static_cast<Stream*>(stream)->device;
    // Stricter than the real one, which lets streams that do not wait for the default one go on.
    if (is_default(stream) && refuse_in_capture("work on the default stream")) return kCaptureImplicit;
    return kSuccess;
}

static std::string said;
const std::string& last_report() { return said; }
CUresult report(CUresult code, const std::string& message) {
    fprintf(stderr, "Varlen emulator: %s\n", message.c_str());
    said = message;
    if (switched_on("VARLEN_EMULATOR_ABORT")) abort();
    return code;
}

struct ErrorName { int code; const char* name; const char* text; };
static constexpr ErrorName kErrors[] = {
    {0, "CUDA_SUCCESS", "no error"}, {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"}, {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"}, {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"}, {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}, {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}, {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}, {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}, {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"}, {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}, {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}, {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}, {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}, {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"}, {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};
static const ErrorName* error_at(int code) {
    for (const ErrorName& e : kErrors)
        if (e.code == code) return &e;
    return nullptr;
}

static double now() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

static int capability_of(int part) {
    static int parts[] = {9, 0}, read = getenv("VARLEN_EMULATOR_CAPABILITY") ? sscanf(getenv("VARLEN_EMULATOR_CAPABILITY"), "%d.%d", &parts[0], &parts[1]) : 0;
    (void)read;
    return parts[part];
}

static int attribute_of(int attribute, int device) {
    switch (attribute) {
        case 1: case 2: case 3: return kMaxThreads;   // threads of a block; its x and y extents
        case 4: return 64;                            // its z extent
        case 5: return 2147483647;                    // grid extents
        case 6: case 7: return 65535;
        case 8: return 49152;                         // shared memory of a block without opting in
        case 9: return 65536;                         // constant memory
        case 10: return 32;                           // warp
        case 11: return 2147483647;                   // pitch
        case 12: case 82: return 65536;               // registers of a block, of a multiprocessor
        case 13: return 1980000;                      // kHz
        case 14: return 512;                          // texture alignment
        case 16: return 8;                            // multiprocessors
        case 15: case 19: case 31: case 32: case 41: case 78: case 83: case 115: return 1;
        case 33: return device + 1;                   // PCI bus
        case 36: return 2619000;                      // memory kHz
        case 37: return 5120;                         // memory bus bits
        case 38: return 52428800;                     // L2
        case 39: return 2048;                         // threads of a multiprocessor
        case 40: return 3;                            // copy engines
        case 75: case 76: return capability_of(attribute - 75);
        case 81: return 233472;                       // shared memory of a multiprocessor
        case 97: return kSharedBytes;                 // shared memory of a block, opted in
        case 106: return 32;                          // blocks of a multiprocessor
        case 111: return 1024;                        // shared memory reserved in a block
        default: return 0;
    }
}

}  // namespace emulator

using namespace emulator;

// --- devices and contexts; a context is its device ---
EXPORT CUresult cuInit(unsigned flags) {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    if (int code = injected("cuInit")) return (CUresult)code;
    if (flags != 0) return kInvalidValue;
    if (device_count() < 1) return (CUresult)100;
    if (!initialized) {
        for (int i = 0; i < 16; i++) devices[i].ordinal = i;
        catch_faults();
        initialized = true;
    }
    return kSuccess;
}
EXPORT CUresult cuDriverGetVersion(int* version) {
    if (int code = injected("cuDriverGetVersion")) return (CUresult)code;
    *version = 13000;
    return kSuccess;
}
EXPORT CUresult cuDeviceGetCount(int* count) { ENTER; *count = device_count(); return kSuccess; }
EXPORT CUresult cuDeviceGet(int* device, int ordinal) {
    ENTER;
    if (!device_at(ordinal)) return kInvalidDevice;
    *device = ordinal;
    return kSuccess;
}
EXPORT CUresult cuDeviceGetName(char* name, int length, int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    snprintf(name, length, "Varlen emulator");
    return kSuccess;
}
EXPORT CUresult cuDeviceGetAttribute(int* value, int attribute, int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    if (attribute < 1 || attribute > 160) return kInvalidValue;
    *value = attribute_of(attribute, device);
    return kSuccess;
}
EXPORT CUresult cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    memset(uuid, 0, 16);
    uuid[15] = (unsigned char)(device + 1);
    return kSuccess;
}
EXPORT CUresult cuDeviceCanAccessPeer(int* can, int device, int peer) {
    ENTER;
    if (!device_at(device) || !device_at(peer)) return kInvalidDevice;
    *can = 0;
    return kSuccess;
}
EXPORT CUresult cuDevicePrimaryCtxRetain(void** context, int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    device_at(device)->retained++;
    *context = device_at(device);
    return kSuccess;
}
EXPORT CUresult cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    if (device_at(device)->retained == 0) return kInvalidContext;
    device_at(device)->retained--;
    return kSuccess;
}
EXPORT CUresult cuCtxSetCurrent(void* context) {
    ENTER;
    auto* device = static_cast<Device*>(context);
    if (device && (device < devices || device >= devices + device_count() || device->retained == 0)) return kInvalidContext;
    current = device;
    return kSuccess;
}
EXPORT CUresult cuCtxGetCurrent(void** context) { ENTER; *context = current; return kSuccess; }
EXPORT CUresult cuCtxGetDevice(int* device) { ENTER_CONTEXT; *device = current->ordinal; return kSuccess; }
EXPORT CUresult cuCtxSynchronize() { ENTER_OUTSIDE; return kSuccess; }

// --- streams ---
EXPORT CUresult cuStreamCreate(void** stream, unsigned flags) {
    ENTER_CONTEXT;
    if (!stream || flags > 1) return kInvalidValue;
    *stream = *streams.insert(new Stream{current, flags}).first;
    return kSuccess;
}
EXPORT CUresult cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
EXPORT CUresult cuStreamDestroy_v2(void* stream) {
    ENTER_CONTEXT;
    if (capture_of(stream)) return kCaptureUnsupported;
    if (!streams.erase(static_cast<Stream*>(stream))) return kInvalidHandle;
    delete static_cast<Stream*>(stream);
    return kSuccess;
}
#define STREAM_CALL                                                  \
    ENTER_CONTEXT;                                                   \
    Device* device;                                                  \
    if (CUresult code = stream_device(stream, &device)) return code; \
    if (capture_of(stream)) return break_capture(find_stream(stream), __func__); \
    return kSuccess
EXPORT CUresult cuStreamSynchronize(void* stream) { STREAM_CALL; }
EXPORT CUresult cuStreamQuery(void* stream) { STREAM_CALL; }
EXPORT CUresult cuStreamWaitEvent(void* stream, void* event, unsigned) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    return events.count(static_cast<Event*>(event)) ? kSuccess : kInvalidHandle;
}
#define NOT_SUPPORTED(name) \
    EXPORT CUresult name() { ENTER; return kNotSupported; }
NOT_SUPPORTED(cuStreamGetCaptureInfo_v2) NOT_SUPPORTED(cuGraphCreate) NOT_SUPPORTED(cuGraphUpload) NOT_SUPPORTED(cuGraphExecUpdate_v2) NOT_SUPPORTED(cuLaunchKernelEx)

// --- events ---
EXPORT CUresult cuEventCreate(void** event, unsigned flags) {
    ENTER_CONTEXT;
    if (!event) return kInvalidValue;
    *event = *events.insert(new Event{current, flags}).first;
    return kSuccess;
}
EXPORT CUresult cuEventDestroy_v2(void* event) {
    ENTER_CONTEXT;
    if (!events.erase(static_cast<Event*>(event))) return kInvalidHandle;
    delete static_cast<Event*>(event);
    return kSuccess;
}
EXPORT CUresult cuEventRecord(void* event, void* stream) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    auto* e = static_cast<Event*>(event);
    if (!events.count(e) || e->device != device) return kInvalidHandle;
    e->captured = capture_of(stream) != nullptr;
    e->recorded = true;
    e->milliseconds = now();
    return kSuccess;
}
static CUresult passed(void* event) {
    auto* e = static_cast<Event*>(event);
    return !events.count(e) ? kInvalidHandle : e->captured ? kCapturedEvent : kSuccess;
}
EXPORT CUresult cuEventQuery(void* event) { ENTER_OUTSIDE; return passed(event); }
EXPORT CUresult cuEventSynchronize(void* event) { ENTER_OUTSIDE; return passed(event); }
EXPORT CUresult cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
    ENTER_CONTEXT;
    auto *a = static_cast<Event*>(begin), *b = static_cast<Event*>(end);
    if (!events.count(a) || !events.count(b) || !a->recorded || !b->recorded || (a->flags & 2) || (b->flags & 2)) return kInvalidHandle;
    *milliseconds = (float)(b->milliseconds - a->milliseconds);
    return kSuccess;
}
EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) { return cuEventElapsedTime(milliseconds, begin, end); }

// --- modules ---
EXPORT CUresult cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    ENTER_OUTSIDE;
    ImageHeader header;
    if (!module || !image) return kInvalidValue;
    if (memcmp(image, kImageMagic, sizeof kImageMagic) != 0) return report(kInvalidImage, "the module was not compiled by the emulator's NVRTC");
    memcpy(&header, image, sizeof header);
    if (header.stamp != EMULATOR_STAMP) return report(kInvalidImage, "the module was compiled by another version of the emulator");
    // A file of its own: the loader takes files of one name, or one inode, for the same library.
    const char* bytes = static_cast<const char*>(image) + sizeof header;
    std::string path = temporary_file(bytes, header.bytes);
    void* library = path.empty() ? nullptr : dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    unlink(path.c_str());
    if (!library) return report(kInvalidImage, !path.empty() ? dlerror() : "the temporary file could not be written");
    auto* facts = static_cast<ModuleFacts*>(dlsym(library, "emulated_module"));
    if (!facts) return report(kInvalidImage, "the module does not include the emulated ptx.cuh");
    *module = *modules.insert(new Module{current, library, std::string(bytes, header.bytes), *facts, {}}).first;
    return kSuccess;
}
EXPORT CUresult cuModuleLoadData(void** module, const void* image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
EXPORT CUresult cuModuleUnload(void* module) {
    ENTER_CONTEXT;
    auto* m = static_cast<Module*>(module);
    if (!modules.erase(m)) return kInvalidHandle;
    for (Function* f : m->functions) delete f;
    dlclose(m->library);
    delete m;
    return kSuccess;
}
EXPORT CUresult cuModuleGetFunction(void** function, void* module, const char* name) {
    ENTER_CONTEXT;
    auto* m = static_cast<Module*>(module);
    if (!modules.count(m)) return kInvalidHandle;
    void* entry = dlsym(m->library, name);
    auto* facts = static_cast<KernelFacts*>(dlsym(m->library, (std::string(name) + "_facts").c_str()));
    if (!entry || !facts) return kNotFound;
    *function = *m->functions.insert(new Function{m, name, reinterpret_cast<void (*)(const void*)>(entry), *facts, 49152}).first;
    return kSuccess;
}

// --- functions ---
static bool known(Function* f) {
    for (Module* m : modules)
        if (m->functions.count(f)) return true;
    return false;
}
EXPORT CUresult cuFuncSetAttribute(void* function, int attribute, int value) {
    ENTER_CONTEXT;
    auto* f = static_cast<Function*>(function);
    if (!known(f)) return kInvalidHandle;
    if (attribute == 8) {
        if (value < 0 || value > (int)kSharedBytes) return kInvalidValue;
        f->dynamic_limit = value;
    } else if (attribute != 9) return kInvalidValue;
    return kSuccess;
}
EXPORT CUresult cuFuncGetParamInfo(void* function, size_t index, size_t* offset, size_t* bytes) {
    ENTER_CONTEXT;
    auto* f = static_cast<Function*>(function);
    if (!known(f)) return kInvalidHandle;
    if (index > 0) return kInvalidValue;
    *offset = 0;
    if (bytes) *bytes = f->facts.argument_bytes;
    return kSuccess;
}
EXPORT CUresult cuFuncGetAttribute(int* value, int attribute, void* function) {
    ENTER_CONTEXT;
    auto* f = static_cast<Function*>(function);
    if (!known(f)) return kInvalidHandle;
    switch (attribute) {
        case 0: *value = (int)f->facts.threads; break;
        case 4: *value = 64; break;              // registers
        case 5: case 6: *value = 90; break;
        case 8: *value = f->dynamic_limit; break;
        case 9: *value = -1; break;
        default: *value = 0;                     // static shared memory is known for the file only
    }
    return attribute >= 0 && attribute <= 15 ? kSuccess : kInvalidValue;
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t shared) {
    ENTER_CONTEXT;
    auto* f = static_cast<Function*>(function);
    if (!known(f)) return kInvalidHandle;
    if (!blocks || threads < 1) return kInvalidValue;
    bool fits = threads <= (int)f->facts.threads && (int)shared <= f->dynamic_limit;
    *blocks = fits ? (int)std::min<size_t>({32, 2048u / (unsigned)threads, 233472 / (shared + 1024)}) : 0;
    return kSuccess;
}
EXPORT CUresult cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** parameters, void** extra) {
    ENTER_CONTEXT;
    auto* f = static_cast<Function*>(function);
    Device* device;
    if (!known(f)) return kInvalidHandle;
    if (CUresult code = stream_device(stream, &device)) return code;
    if (f->module->device != device) return kInvalidHandle;
    if (!gx || !gy || !gz || gx > 2147483647u || gy > 65535 || gz > 65535 || !bx || by != 1 || bz != 1 || bx > kMaxThreads) return kInvalidValue;
    if (!parameters || !parameters[0] || extra) return kInvalidValue;
    if ((int)shared > f->dynamic_limit) return kInvalidValue;
    if (bx > f->facts.threads) return kOutOfResources;
    auto* given = static_cast<const unsigned char*>(parameters[0]);
    if (!capture_of(stream)) return launch(f, Extent{gx, gy, gz}, bx, shared, given, device);
    return enqueue(stream, [=, kept = std::vector<unsigned char>(given, given + f->facts.argument_bytes)] {
        return known(f) ? launch(f, Extent{gx, gy, gz}, bx, shared, kept.data(), device) : report(kInvalidHandle, "a graph launches a kernel whose module was unloaded");
    });
}

// --- errors ---
EXPORT CUresult cuGetErrorName(int code, const char** text) {
    const ErrorName* e = error_at(code);
    *text = e ? e->name : nullptr;
    return e ? kSuccess : kInvalidValue;
}
// What the emulator saw takes the place of the general words.
EXPORT CUresult cuGetErrorString(int code, const char** text) {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    static thread_local std::string kept;
    const ErrorName* e = error_at(code);
    bool special = code == kIllegalAddress || code == kLaunchFailed || code == kInvalidImage;
    kept = special && !last_report().empty() ? last_report() : e ? e->text : "";
    *text = e ? kept.c_str() : nullptr;
    return e ? kSuccess : kInvalidValue;
}
EXPORT CUresult cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
    ENTER;
    *function = dlsym(RTLD_DEFAULT, name);
    if (!*function) {
        Dl_info self;
        dladdr(reinterpret_cast<void*>(cuGetProcAddress_v2), &self);
        if (void* library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD)) {
            for (const char* suffix : {"", "_v2"})
                if (!*function) *function = dlsym(library, (std::string(name) + suffix).c_str());
            dlclose(library);
        }
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? kSuccess : kNotFound;
}
