// The state of the block that runs now: shared by the driver, which runs it, and the kernels, which are compiled apart from it and include
// no other header than this one and ptx.cuh.
#pragma once

namespace emulator {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned long kStackBytes = 1ul << 17;                   // a thread's slot: a guard page, then its stack
constexpr unsigned long kArenaBytes = 2 * kStackBytes * kMaxThreads;  // the state, then, from the middle, the stacks; aligned to its size

// Where a thread waits: the function of ptx.cuh and the line that called it.
struct Place {
    const char* function;
    const char* file;
    int line;
};

// What a warp does when all its lanes have come to the same place; lanes[i] is what lane i brought (null: no such thread). Returns whether
// the warp goes on now; otherwise something else wakes it.
typedef bool (*Meeting)(void* const* lanes, unsigned present);

struct Warp {
    unsigned present, runnable, arrived, exited;  // one bit a lane
    unsigned asleep;                              // lanes that wait by themselves, for a barrier in shared memory
    Meeting meeting;
    Place place;
    void* lanes[32];
};

struct Barrier {
    unsigned warps;    // a bit for each one that has come
    unsigned waiting;  // those of them that wait
    unsigned needed;   // how many it is for
};

// A lane's part of a product of a warpgroup (wgmma); all lanes bring the same shape.
struct GroupShape {
    unsigned columns;  // 64 or 128
    bool a_in_registers, a_transposed, b_transposed, half, adds;
    unsigned long long a, b;  // descriptors
};
struct GroupProduct {
    float* c;
    GroupShape shape;
    unsigned a[4];
    Place place;
};

enum class Order : unsigned { ascending, descending, random };

struct Extent { unsigned x, y, z; };

struct Block {
    Extent block_index, grid_extent;
    unsigned threads;
    unsigned ready;    // a bit for each warp with a runnable lane
    Order order;       // in which threads are picked: which one goes first must not matter
    unsigned random;
    unsigned exited;
    unsigned spins;
    const char* kernel;
    void (*entry)(const void* arguments);
    const void* arguments;
    void* scheduler;   // stack pointer of the one that runs the block
    Warp warps[32];
    Barrier barriers[16];
    void* stacks[kMaxThreads];
    unsigned char *dynamic_begin, *dynamic_end, *static_begin, *static_end;  // shared memory

    void (*meet)(void* lane, Meeting meeting, const Place& place);
    bool (*arrive)(int barrier, unsigned warps, bool waits, const Place& place);  // from within a meeting
    void (*yield)(const Place& place);
    void (*copy)(void* target, const void* source, int bytes, int size);
    void (*copy_commit)();
    void (*copy_wait)(int groups);
    // What hopper.cuh asks for. The products are of the calling warp's quarter, from within a meeting.
    void (*multiply)(GroupProduct* const* lanes);
    void (*multiply_commit)();
    void (*multiply_wait)(int groups);
    void (*multiply_fence)();
    void (*barrier_init)(void* barrier, int arrivals, const Place& place);
    void (*barrier_arrive)(void* barrier, int bytes, const Place& place);
    void (*barrier_wait)(void* barrier, unsigned parity, const Place& place);
    void (*fence_async)();
    void (*tile_load)(unsigned char* shared, const void* map, void* barrier, const int* coordinates, const Place& place);
    void (*tile_store)(const void* map, const unsigned char* shared, const int* coordinates, const Place& place);
    void (*bulk_load)(unsigned char* shared, const void* global, int bytes, void* barrier, const Place& place);
    void (*bulk_add)(float* global, const unsigned char* shared, int bytes, const Place& place);
    void (*bulk_commit)();
    void (*bulk_wait)(int groups, bool reads_only, const Place& place);
    void (*fail)(const Place& place, const char* format, ...);  // ends the launch; does not return
};

// A thread is known by its stack, so asking for it needs neither memory nor thread-local storage.
inline __attribute__((always_inline)) unsigned long stack_pointer() {
    unsigned long sp;
    asm("mov %%rsp, %0" : "=r"(sp));
    return sp;
}
inline __attribute__((always_inline)) Block* block() { return reinterpret_cast<Block*>(stack_pointer() & ~(kArenaBytes - 1)); }
inline __attribute__((always_inline)) unsigned thread() { return (stack_pointer() / kStackBytes) % kMaxThreads; }

// What a compiled file and each of its kernels tell the driver.
struct ModuleFacts { unsigned char* dynamic_shared; unsigned char* static_begin; unsigned char* static_end; };
struct KernelFacts { unsigned long argument_bytes; unsigned threads; };

constexpr unsigned kSharedBytes = 232448;  // dynamic shared memory that a launch may ask for
constexpr unsigned kSharedGuard = 1024;    // checked after every block

// What the fake cuTensorMapEncodeTiled writes to the 128 bytes of a map. The address is disguised, since a ragged map's is no pointer but may look
// like one of freed memory.
struct TiledMap {
    unsigned long magic, disguised;
    unsigned long sizes[4], strides[3];
    unsigned short box[4];
    unsigned element_bytes, swizzled;
};
constexpr unsigned long kMapMagic = 0x50414D4E454C5256, kDisguise = 0xA5A5A5A5A5A5A5A5;

// Begins an emulated "cubin"; the bytes of a shared library follow.
struct ImageHeader {
    char magic[16];
    unsigned long bytes;
    unsigned long stamp;  // of the emulator that made it
};
constexpr char kImageMagic[16] = "VARLEN-EMULATED";

}  // namespace emulator
