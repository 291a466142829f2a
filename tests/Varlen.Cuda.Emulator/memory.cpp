// Device and pinned memory: every allocation ends where an inaccessible page begins, holds NaN at first, and is inaccessible once freed.
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include <deque>
#include "driver.h"

namespace emulator {

static std::map<uint64_t, Allocation> living;  // by the end of their bytes, so that upper_bound finds the holder
static std::deque<Allocation> freed;
static constexpr size_t kPage = 4096, kFreedKept = 512;
static constexpr uint64_t kReserveStep = 2 << 20;

static size_t round_up(size_t x, size_t step) { return (x + step - 1) / step * step; }

static size_t alignment() {
    // The least that vector accesses need, not the driver's 256, so that the end is exact.
    static size_t value = getenv("VARLEN_EMULATOR_ALIGNMENT") ? strtoul(getenv("VARLEN_EMULATOR_ALIGNMENT"), nullptr, 10) : 16;
    return value;
}

static uint64_t limit() {
    static uint64_t value = getenv("VARLEN_EMULATOR_MEMORY") ? strtoull(getenv("VARLEN_EMULATOR_MEMORY"), nullptr, 10) : 16ull << 30;
    return value;
}

CUresult allocate(Device* device, size_t bytes, CUdeviceptr* pointer) {
    if (bytes == 0 || !pointer) return kInvalidValue;
    if (device && (bytes > limit() || device->pool.used + bytes > limit())) return kOutOfMemory;
    size_t held = round_up(bytes, alignment()), inner = round_up(held, kPage);
    size_t region_bytes = inner + 2 * kPage;
    void* region = mmap(nullptr, region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return kOutOfMemory;
    unsigned char* first = static_cast<unsigned char*>(region) + kPage;
    if (mprotect(first, inner, PROT_READ | PROT_WRITE) != 0) {
        munmap(region, region_bytes);
        return kOutOfMemory;
    }
    memset(first, 0xFF, inner);
    Allocation made{first + inner - held, bytes, static_cast<unsigned char*>(region), region_bytes, device, {}};
    living.emplace((uint64_t)made.base + bytes, made);
    if (device) {
        Pool& p = device->pool;
        p.used += bytes;
        p.used_high = std::max(p.used_high, p.used);
        p.reserved = std::max<uint64_t>(p.reserved, round_up(p.used, kReserveStep));
        p.reserved_high = std::max(p.reserved_high, p.reserved);
    }
    *pointer = (uint64_t)made.base;
    return kSuccess;
}

Allocation* find(uint64_t pointer, size_t bytes) {
    auto at = living.upper_bound(pointer);
    if (at == living.end()) return nullptr;
    Allocation& a = at->second;
    return pointer >= (uint64_t)a.base && pointer + bytes <= at->first && pointer + bytes >= pointer ? &a : nullptr;
}

Allocation* find_freed(uint64_t pointer) {
    for (auto a = freed.rbegin(); a != freed.rend(); ++a)
        if (pointer >= (uint64_t)a->region && pointer < (uint64_t)a->region + a->region_bytes) return &*a;
    return nullptr;
}

std::string damage(const Allocation& a) {
    unsigned char* inner_end = a.region + a.region_bytes - kPage;
    char text[160];
    for (unsigned char* p = a.region + kPage; p < inner_end; p++) {
        if (p == a.base) p = a.base + a.bytes;
        if (p >= inner_end || *p == 0xFF) continue;
        if (p < a.base) snprintf(text, sizeof text, "the byte %ld before an allocation of %zu bytes was overwritten", (long)(a.base - p), a.bytes);
        else snprintf(text, sizeof text, "the byte %ld after the end of an allocation of %zu bytes was overwritten", (long)(p - a.base - a.bytes), a.bytes);
        // Said once.
        memset(a.region + kPage, 0xFF, a.base - a.region - kPage);
        memset(a.base + a.bytes, 0xFF, inner_end - a.base - a.bytes);
        return text;
    }
    return {};
}

std::string describe(uint64_t address) {
    char text[256];
    for (auto& [end, a] : living)
        if (address >= (uint64_t)a.region && address < (uint64_t)a.region + a.region_bytes) {
            const char* kind = a.device ? "an allocation" : "pinned memory";
            if (address >= end) snprintf(text, sizeof text, "%#lx, %lu bytes after the end of %s of %zu bytes", address, address - end, kind, a.bytes);
            else if (address < (uint64_t)a.base) snprintf(text, sizeof text, "%#lx, %lu bytes before %s of %zu bytes", address, (uint64_t)a.base - address, kind, a.bytes);
            else snprintf(text, sizeof text, "%#lx, byte %lu of %s of %zu bytes", address, address - (uint64_t)a.base, kind, a.bytes);
            return text;
        }
    if (Allocation* a = find_freed(address)) {
        snprintf(text, sizeof text, "%#lx, byte %ld of an allocation of %zu bytes that was freed after ", address, (long)(address - (uint64_t)a->base), a->bytes);
        return text + (a->freed_after.empty() ? "no kernel" : a->freed_after);
    }
    snprintf(text, sizeof text, "%#lx, which is in no allocation", address);
    return text;
}

CUresult release(Device* device, uint64_t pointer) {
    Allocation* a = find(pointer, 1);
    if (!a || (uint64_t)a->base != pointer || (a->device == nullptr) != (device == nullptr)) return kInvalidValue;
    std::string damaged = damage(*a);
    if (!damaged.empty()) {
        fprintf(stderr, "Varlen emulator: %s; found when it was freed. Last kernels: %s\n", damaged.c_str(), recent_kernels().c_str());
        abort();
    }
    if (a->device) a->device->pool.used -= a->bytes;
    Allocation kept = *a;
    living.erase((uint64_t)a->base + a->bytes);
    kept.freed_after = recent_kernels();
    // Inaccessible until its addresses are given away again, so that a later access is seen; the pages go back now.
    mmap(kept.region, kept.region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    freed.push_back(kept);
    if (freed.size() > kFreedKept) {
        munmap(freed.front().region, freed.front().region_bytes);
        freed.pop_front();
    }
    return kSuccess;
}

}  // namespace emulator

using namespace emulator;

EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, void* stream) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    // The real one would put an allocation into the graph; nothing here means that.
    if (capture_of(stream)) return break_capture(find_stream(stream), __func__);
    return allocate(device, bytes, pointer);
}
EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) { ENTER_OUTSIDE; return allocate(current, bytes, pointer); }
EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, void* stream) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    if (capture_of(stream)) return break_capture(find_stream(stream), __func__);
    return release(device, pointer);
}
EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) { ENTER_OUTSIDE; return pointer ? release(current, pointer) : kSuccess; }
EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) { ENTER_OUTSIDE; return allocate(nullptr, bytes, reinterpret_cast<CUdeviceptr*>(pointer)); }
EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) { ENTER_OUTSIDE; return allocate(nullptr, bytes, reinterpret_cast<CUdeviceptr*>(pointer)); }
EXPORT CUresult cuMemFreeHost(void* pointer) { ENTER_OUTSIDE; return release(nullptr, (uint64_t)pointer); }
EXPORT CUresult cuMemGetInfo_v2(size_t* available, size_t* total) {
    ENTER_CONTEXT;
    *available = limit() - current->pool.used;
    *total = limit();
    return kSuccess;
}
EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, int device) {
    ENTER;
    if (!device_at(device)) return kInvalidDevice;
    *bytes = limit();
    return kSuccess;
}

static bool is_device(uint64_t pointer, size_t bytes) {
    Allocation* a = find(pointer, bytes);
    return a && a->device;
}
// Null, or within a freed allocation, or past the end of pinned memory.
static bool is_bad_host(uint64_t pointer, size_t bytes) {
    if (!pointer) return true;
    Allocation* a = find(pointer, 1);
    return a ? !find(pointer, bytes) : find_freed(pointer) != nullptr;
}

#define COPY(check)                                                \
    ENTER_CONTEXT;                                                 \
    Device* device;                                                \
    if (CUresult code = stream_device(stream, &device)) return code; \
    if (bytes == 0) return kSuccess;                               \
    auto work = [=]() -> CUresult {                                \
        if (check) return kInvalidValue;                           \
        memmove((void*)target, (const void*)source, bytes);        \
        return kSuccess;                                           \
    };                                                             \
    return check ? kInvalidValue : emulator::enqueue(stream, work)

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void* source, size_t bytes, void* stream) {
    COPY(!is_device(target, bytes) || is_bad_host((uint64_t)source, bytes));
}
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, size_t bytes, void* stream) {
    COPY(!is_device(source, bytes) || is_bad_host((uint64_t)target, bytes));
}
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes, void* stream) {
    COPY(!is_device(target, bytes) || !is_device(source, bytes));
}
EXPORT CUresult cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, void* stream) {
    COPY(is_bad_host(target, bytes) || is_bad_host(source, bytes));
}
EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr target, void* targetContext, CUdeviceptr source, void* sourceContext, size_t bytes, void* stream) {
    COPY(!is_device(target, bytes) || !is_device(source, bytes) || find(target, bytes)->device != targetContext || find(source, bytes)->device != sourceContext);
}
EXPORT CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t bytes, void* stream) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    if (bytes == 0) return kSuccess;
    if (!is_device(target, bytes)) return kInvalidValue;
    return enqueue(stream, [=] {
        if (!is_device(target, bytes)) return kInvalidValue;
        memset((void*)target, value, bytes);
        return kSuccess;
    });
}
EXPORT CUresult cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, void* stream) {
    ENTER_CONTEXT;
    Device* device;
    if (CUresult code = stream_device(stream, &device)) return code;
    if (count == 0) return kSuccess;
    if (!is_device(target, 4 * count) || target % 4 != 0) return kInvalidValue;
    return enqueue(stream, [=] {
        if (!is_device(target, 4 * count)) return kInvalidValue;
        std::fill_n((unsigned*)target, count, value);
        return kSuccess;
    });
}

// A pool's handle is the pool itself.
EXPORT CUresult cuDeviceGetDefaultMemPool(void** pool, int device) {
    ENTER;
    Device* d = device_at(device);
    if (!d) return kInvalidDevice;
    *pool = &d->pool;
    return kSuccess;
}
EXPORT CUresult cuMemPoolSetAttribute(void* handle, int attribute, void* value) {
    ENTER;
    Pool* pool = static_cast<Pool*>(handle);
    if (!pool || !value) return kInvalidValue;
    if (attribute >= 1 && attribute <= 3) pool->reuse[attribute] = *static_cast<int*>(value);
    else if (attribute == 4) pool->threshold = *static_cast<uint64_t*>(value);
    else if (attribute == 6 && *static_cast<uint64_t*>(value) == 0) pool->reserved_high = pool->reserved;
    else if (attribute == 8 && *static_cast<uint64_t*>(value) == 0) pool->used_high = pool->used;
    else return kInvalidValue;
    return kSuccess;
}
EXPORT CUresult cuMemPoolGetAttribute(void* handle, int attribute, void* value) {
    ENTER;
    Pool* pool = static_cast<Pool*>(handle);
    if (!pool || !value) return kInvalidValue;
    uint64_t& result = *static_cast<uint64_t*>(value);
    switch (attribute) {
        case 1: case 2: case 3: *static_cast<int*>(value) = (int)pool->reuse[attribute]; break;
        case 4: result = pool->threshold; break;
        case 5: result = pool->reserved; break;
        case 6: result = pool->reserved_high; break;
        case 7: result = pool->used; break;
        case 8: result = pool->used_high; break;
        default: return kInvalidValue;
    }
    return kSuccess;
}
EXPORT CUresult cuMemPoolTrimTo(void* handle, size_t kept) {
    ENTER;
    Pool* pool = static_cast<Pool*>(handle);
    if (!pool) return kInvalidValue;
    pool->reserved = std::min<uint64_t>(pool->reserved, std::max<uint64_t>(round_up(pool->used, kReserveStep), round_up(kept, kReserveStep)));
    return kSuccess;
}

// For the fake cuBLASLt: whether a range lies in one device's memory.
EXPORT int emulatorHolds(uint64_t pointer, size_t bytes) {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    return bytes == 0 || is_device(pointer, bytes);
}
EXPORT void emulatorInject(const char* text) { inject(text); }
EXPORT size_t emulatorLiveAllocations() {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    return living.size();
}
