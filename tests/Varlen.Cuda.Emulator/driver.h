// What the parts of the fake driver share. One lock is held by every call, so nothing here is touched by two threads at once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>
#include "block.h"
#include "inject.h"

enum CUresult {
    kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kInvalidDevice = 101, kInvalidImage = 200, kInvalidContext = 201,
    kInvalidHandle = 400, kNotFound = 500, kNotReady = 600, kIllegalAddress = 700, kOutOfResources = 701, kLaunchFailed = 719, kNotSupported = 801,
    kCaptureUnsupported = 900, kCaptureInvalidated = 901, kCaptureImplicit = 906, kCapturedEvent = 907, kCaptureWrongThread = 908,
};

typedef uint64_t CUdeviceptr;

namespace emulator {

inline std::recursive_mutex api_lock;
inline bool initialized;

struct Pool { uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0, threshold = 0, reuse[4] = {0, 1, 1, 1}; };
struct Device {
    int ordinal;
    int retained = 0;
    Pool pool;
};
struct Capture;
struct Stream { Device* device; unsigned flags; Capture* capture = nullptr; };
struct Event { Device* device; unsigned flags; bool recorded = false; double milliseconds = 0; bool captured = false; };
struct Module { Device* device; void* library; std::string image; ModuleFacts facts; std::set<struct Function*> functions; };
struct Function { Module* module; std::string name; void (*entry)(const void*); KernelFacts facts; int dynamic_limit; };

inline thread_local Device* current;
int device_count();
Device* device_at(int ordinal);
CUresult stream_device(void* stream, Device** device);  // of the current context; null and the two special handles are its default stream

// --- capture ---
typedef std::function<CUresult()> Work;
Stream* find_stream(void* stream);  // null: the default stream, or none
const std::set<Stream*>& all_streams();
inline Capture* capture_of(void* stream) { Stream* s = find_stream(stream); return s ? s->capture : nullptr; }
// Does the work, or puts it into the graph that the stream is captured into.
CUresult enqueue(void* stream, Work work);
// An error, which spoils the capture, for calls that a thread may not make while it captures.
CUresult refuse_in_capture(const char* function);
CUresult break_capture(Stream* stream, const std::string& what);

// Says what went wrong on stderr and keeps it for cuGetErrorString; ends the process when VARLEN_EMULATOR_ABORT is set.
CUresult report(CUresult code, const std::string& message);
const std::string& last_report();
bool switched_on(const char* variable);

// --- memory ---
struct Allocation {
    unsigned char* base;
    size_t bytes;
    unsigned char* region;  // the mapping: an inaccessible page, the pages that hold the bytes and end with them, an inaccessible page
    size_t region_bytes;
    Device* device;         // null: the host's
    std::string freed_after;  // kernels launched before it was freed
};
CUresult allocate(Device* device, size_t bytes, CUdeviceptr* pointer);
CUresult release(Device* device, uint64_t pointer);
// The living allocation that holds the whole range; null when there is none.
Allocation* find(uint64_t pointer, size_t bytes);
Allocation* find_freed(uint64_t pointer);
// Empty, or which bytes around an allocation were overwritten.
std::string damage(const Allocation& allocation);
// In words: whose neighbour an address is.
std::string describe(uint64_t address);

std::string recent_kernels();
CUresult launch(Function* function, Extent grid, unsigned threads, unsigned shared, const void* arguments, Device* device);
void catch_faults();
// A file of its own with these bytes; empty when it could not be written.
std::string temporary_file(const void* bytes, size_t count);

}  // namespace emulator

#define ENTER                                                             \
    std::lock_guard<std::recursive_mutex> held(emulator::api_lock);       \
    if (int code = emulator::injected(__func__)) return (CUresult)code;   \
    if (!emulator::initialized) return kNotInitialized
#define ENTER_CONTEXT \
    ENTER;            \
    if (!emulator::current) return kInvalidContext
#define ENTER_OUTSIDE \
    ENTER_CONTEXT;    \
    if (CUresult refused = emulator::refuse_in_capture(__func__)) return refused
