// Takes the place of src/Varlen.Cuda/Kernels/ptx.cuh: the same functions, for threads that are fibers of one processor thread.
// How to add one: see README.md.
#pragma once
#include "block.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// --- what NVRTC knows by itself ---
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#define threadIdx (emulator::Extent{emulator::thread(), 0, 0})
#define blockIdx (emulator::block()->block_index)
#define blockDim (emulator::Extent{emulator::block()->threads, 1, 1})
#define gridDim (emulator::block()->grid_extent)

#define DECLARE1(type, name) extern "C" type name(type) noexcept;
#define DECLARE2(type, name) extern "C" type name(type, type) noexcept;
DECLARE1(float, expf) DECLARE1(float, exp2f) DECLARE1(float, expm1f) DECLARE1(float, logf) DECLARE1(float, log2f) DECLARE1(float, log10f) DECLARE1(float, log1pf)
DECLARE1(float, tanhf) DECLARE1(float, sinhf) DECLARE1(float, coshf) DECLARE1(float, erff) DECLARE1(float, erfcf) DECLARE1(float, sqrtf) DECLARE1(float, cbrtf)
DECLARE1(float, fabsf) DECLARE1(float, floorf) DECLARE1(float, ceilf) DECLARE1(float, truncf) DECLARE1(float, roundf) DECLARE1(float, rintf)
DECLARE1(float, sinf) DECLARE1(float, cosf) DECLARE1(float, tanf) DECLARE1(float, atanf)
DECLARE2(float, powf) DECLARE2(float, fmodf) DECLARE2(float, fmaxf) DECLARE2(float, fminf) DECLARE2(float, copysignf) DECLARE2(float, atan2f)
DECLARE1(double, exp) DECLARE1(double, exp2) DECLARE1(double, expm1) DECLARE1(double, log) DECLARE1(double, log2) DECLARE1(double, log1p) DECLARE1(double, tanh)
DECLARE1(double, erf) DECLARE1(double, erfc) DECLARE1(double, sqrt) DECLARE1(double, cbrt) DECLARE1(double, fabs) DECLARE1(double, floor) DECLARE1(double, ceil)
DECLARE1(double, trunc) DECLARE1(double, round) DECLARE1(double, rint) DECLARE1(double, sin) DECLARE1(double, cos) DECLARE1(double, tan)
DECLARE2(double, pow) DECLARE2(double, fmod) DECLARE2(double, fmax) DECLARE2(double, fmin) DECLARE2(double, copysign)
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double fma(double, double, double) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" double ldexp(double, int) noexcept;
extern "C" void* memcpy(void*, const void*, unsigned long) noexcept;
extern "C" void* memset(void*, int, unsigned long) noexcept;
#undef DECLARE1
#undef DECLARE2
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }

#define EMULATED_JOIN_(a, b) a##b
#define EMULATED_JOIN(a, b) EMULATED_JOIN_(a, b)
#define EMULATED_EXPORT __attribute__((visibility("default")))
#define KERNEL(name, Arguments, threads, blocks)                                                                                        \
    static void EMULATED_JOIN(name, _body)(const Arguments& a);                                                                          \
    extern "C" EMULATED_EXPORT void name(const void* a) { EMULATED_JOIN(name, _body)(*static_cast<const Arguments*>(a)); }              \
    extern "C" EMULATED_EXPORT const emulator::KernelFacts EMULATED_JOIN(name, _facts) = {sizeof(Arguments), threads};                  \
    static void EMULATED_JOIN(name, _body)(const Arguments& a)

// --- shared memory: variables of the module, found in one section, and one array; a block at a time ---
#ifdef __clang__
#define __shared__ static __attribute__((used, section("emulated_shared")))
#else  // GCC refuses variables of templates in a named section
#define __shared__ static __attribute__((used))
#endif
#define DYNAMIC_SHARED(name) extern unsigned char name[] __asm__("emulated_dynamic_shared")

alignas(4096) unsigned char emulated_dynamic[emulator::kSharedBytes + emulator::kSharedGuard] __asm__("emulated_dynamic_shared");
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_emulated_shared[], __stop_emulated_shared[];
extern "C" EMULATED_EXPORT const emulator::ModuleFacts emulated_module = {emulated_dynamic, __start_emulated_shared, __stop_emulated_shared};

namespace emulator {

// The places of callers, as default arguments.
#define HERE emulator::Place place = emulator::here()
inline constexpr Place here(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return Place{function, file, line};
}

// Brings one value for each lane together: "all" gets the lanes (null: a thread that the block does not have) when the last one has come,
// and writes every lane's results.
template <class Lane, class All> inline __attribute__((always_inline)) void meet(Lane& lane, All, const Place& place) {
    block()->meet(&lane, [](void* const* lanes, unsigned) {
        All{}(reinterpret_cast<Lane* const*>(lanes));
        return true;
    }, place);
}

template <class Lane> inline void require_full(Lane* const* lanes, const Place& place) {
    if (lanes[31] == nullptr) block()->fail(place, "an instruction of the whole warp in a warp with fewer than 32 threads");
}

// Shared addresses have 32 bits and keep the low 12 bits of pointers. Integers, since the origin is no element of any array.
inline u64 shared_origin() { return (u64)emulated_dynamic - (1ul << 30); }
inline unsigned char* shared_pointer(u32 address, unsigned bytes, const Place& place) {
    u64 p = shared_origin() + address, dynamic = (u64)emulated_dynamic, begin = (u64)__start_emulated_shared, end = (u64)__stop_emulated_shared;
    bool is_dynamic = p >= dynamic && p + bytes <= dynamic + kSharedBytes;
#ifdef __clang__
    bool is_static = p >= begin && p + bytes <= end;
#else
    bool is_static = true;
#endif
    if (!is_dynamic && !is_static) block()->fail(place, "address %#x is not in shared memory", address);
    if (address % bytes != 0) block()->fail(place, "shared address %#x is not a multiple of %u", address, bytes);
    return (unsigned char*)p;
}

inline float bf16_to_float(u16 x) { u32 b = (u32)x << 16; float y; memcpy(&y, &b, 4); return y; }

}  // namespace emulator

__device__ __forceinline__ u32 opaque(u32 x) { asm volatile("" : "+r"(x)); return x; }
__device__ __forceinline__ u32 lane_id() { return emulator::thread() & 31; }

// --- synchronisation ---
inline void block_sync(HERE) {
    emulator::block()->meet(&place, [](void* const* lanes, unsigned) {
        emulator::Block* b = emulator::block();
        return b->arrive(0, (b->threads + 31) / 32, true, *static_cast<emulator::Place*>(lanes[0]));
    }, place);
}
inline void warp_sync(HERE) {
    int nothing = 0;
    emulator::meet(nothing, [](int* const*) {}, place);
}
namespace emulator {
template <bool waits> inline void come(int id, int threads, const Place& place) {
    struct Lane { int id, threads; Place place; } lane = {id, threads, place};
    block()->meet(&lane, [](void* const* lanes, unsigned) {
        Lane* first = static_cast<Lane*>(lanes[0]);
        Block* b = block();
        for (int i = 1; i < 32 && lanes[i]; i++) {
            Lane* other = static_cast<Lane*>(lanes[i]);
            if (other->id != first->id || other->threads != first->threads) b->fail(first->place, "lanes of a warp come to different barriers");
        }
        if (first->id < 1 || first->id > 15 || first->threads < 32 || first->threads % 32 != 0)
            b->fail(first->place, "barrier %d for %d threads: 1 to 15, and whole warps", first->id, first->threads);
        return b->arrive(first->id, first->threads / 32, waits, first->place);
    }, place);
}
}  // namespace emulator
inline void named_sync(int id, int threads, HERE) { emulator::come<true>(id, threads, place); }
inline void named_arrive(int id, int threads, HERE) { emulator::come<false>(id, threads, place); }
// Blocks run one after another, and a thread goes on until it waits.
inline u32 atomic_add(u32* p, u32 x) { u32 y = *p; *p = y + x; return y; }
// Lets the other threads go first.
inline void sleep_ns(u32, HERE) { emulator::block()->yield(place); }

// --- bits and conversions ---
__device__ __forceinline__ u32 float_bits(float x) { u32 y; memcpy(&y, &x, 4); return y; }
__device__ __forceinline__ float bits_to_float(u32 x) { float y; memcpy(&y, &x, 4); return y; }
__device__ __forceinline__ int count_bits(u32 x) { return __builtin_popcount(x); }
__device__ __forceinline__ float half_to_float(u16 x) { _Float16 h; memcpy(&h, &x, 2); return (float)h; }
__device__ __forceinline__ u16 float_to_half(float x) {
    if (x != x) return 0x7FFF;
    _Float16 h = (_Float16)x;
    u16 y;
    memcpy(&y, &h, 2);
    return y;
}
__device__ __forceinline__ u16 float_to_bf16(float x) {
    if (x != x) return 0x7FFF;
    u32 b = float_bits(x);
    return (u16)((b + 0x7FFF + ((b >> 16) & 1)) >> 16);
}
__device__ __forceinline__ u32 pack_bf16(float low, float high) { return float_to_bf16(low) | (u32)float_to_bf16(high) << 16; }
__device__ __forceinline__ u32 pack_half(float low, float high) { return float_to_half(low) | (u32)float_to_half(high) << 16; }

// --- arithmetic; approximations are as coarse as the instruction where that is far from exact, and flush as it does ---
namespace emulator {
inline float flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
}  // namespace emulator
__device__ __forceinline__ float exp2_fast(float x) { return emulator::flush(exp2f(emulator::flush(x))); }
__device__ __forceinline__ float reciprocal_fast(float x) { return emulator::flush(1.0f / emulator::flush(x)); }
__device__ __forceinline__ float max_nan(float x, float y) { return x != x ? x : y != y ? y : x > y ? x : y; }

// --- warp exchange; what a missing lane would give is garbage ---
inline u32 shuffle_xor(u32 x, int mask, HERE) {
    struct Lane { u32 x; int mask; u32 y; } lane = {x, mask, 0};
    emulator::meet(lane, [](Lane* const* lanes) {
        for (int i = 0; i < 32 && lanes[i]; i++) {
            Lane* from = lanes[(i ^ lanes[i]->mask) & 31];
            lanes[i]->y = from ? from->x : 0xFFFFFFFF;
        }
    }, place);
    return lane.y;
}
inline u32 shuffle(u32 x, int source, HERE) {
    struct Lane { u32 x; int source; u32 y; } lane = {x, source, 0};
    emulator::meet(lane, [](Lane* const* lanes) {
        for (int i = 0; i < 32 && lanes[i]; i++) {
            Lane* from = lanes[lanes[i]->source & 31];
            lanes[i]->y = from ? from->x : 0xFFFFFFFF;
        }
    }, place);
    return lane.y;
}
inline u32 ballot(bool predicate, HERE) {
    struct Lane { bool x; u32 y; } lane = {predicate, 0};
    emulator::meet(lane, [](Lane* const* lanes) {
        u32 all = 0;
        for (int i = 0; i < 32 && lanes[i]; i++) all |= (u32)lanes[i]->x << i;
        for (int i = 0; i < 32 && lanes[i]; i++) lanes[i]->y = all;
    }, place);
    return lane.y;
}
inline bool any(bool predicate, HERE) { return ballot(predicate, place) != 0; }
inline float shuffle_xor(float x, int mask, HERE) { return bits_to_float(shuffle_xor(float_bits(x), mask, place)); }
inline float shuffle(float x, int source, HERE) { return bits_to_float(shuffle(float_bits(x), source, place)); }
inline double shuffle_xor(double x, int mask, HERE) {
    struct Lane { double x; int mask; double y; } lane = {x, mask, 0};
    emulator::meet(lane, [](Lane* const* lanes) {
        for (int i = 0; i < 32 && lanes[i]; i++) {
            Lane* from = lanes[(i ^ lanes[i]->mask) & 31];
            lanes[i]->y = from ? from->x : __builtin_nan("");
        }
    }, place);
    return lane.y;
}

// --- shared memory ---
inline u32 shared_address(const void* p, HERE) {
    u32 address = (u32)((u64)p - emulator::shared_origin());
    emulator::shared_pointer(address, 1, place);
    return address;
}

// The target holds garbage until the copy is waited for; then the source is read.
inline u32 shared_add(u32* p, u32 x, HERE) {
    u32* q = (u32*)emulator::shared_pointer(shared_address(p, place), 4, place);
    u32 y = *q;
    *q = y + x;
    return y;
}
inline void copy_async_16(u32 shared, const void* global, int bytes, HERE) {
    if (bytes > 0 && (u64)global % 16 != 0) emulator::block()->fail(place, "global address %p is not a multiple of 16", global);
    emulator::block()->copy(emulator::shared_pointer(shared, 16, place), global, bytes, 16);
}
inline void copy_async_4(u32 shared, const void* global, int bytes, HERE) {
    if (bytes > 0 && (u64)global % 4 != 0) emulator::block()->fail(place, "global address %p is not a multiple of 4", global);
    emulator::block()->copy(emulator::shared_pointer(shared, 4, place), global, bytes, 4);
}
inline void add_global_4(float* p, float x, float y, float z, float w, HERE) {
    if ((u64)p % 16 != 0) emulator::block()->fail(place, "global address %p is not a multiple of 16", p);
    // One processor thread runs all blocks.
    p[0] += x;
    p[1] += y;
    p[2] += z;
    p[3] += w;
}
inline void copy_async_commit() { emulator::block()->copy_commit(); }
template <int N> inline void copy_async_wait() { emulator::block()->copy_wait(N); }

namespace emulator {
struct MatrixLane { u32 address; Place place; u32 r[4]; };

// Matrices 0..count-1 of 8 rows of 16 bytes; lane l gives the address of row l % 8 of matrix l / 8, and gets elements 2 (l % 4) + {0, 1} of
// row l / 4 (transposed: of column l / 4) of each.
template <int count, bool transposed> inline void load_matrices(u32* r, u32 address, const Place& place) {
    MatrixLane lane = {address, place, {}};
    meet(lane, [](MatrixLane* const* lanes) {
        require_full(lanes, lanes[0]->place);
        for (int m = 0; m < count; m++) {
            u16 values[8][8];
            for (int row = 0; row < 8; row++) {
                MatrixLane* from = lanes[8 * m + row];
                memcpy(values[row], shared_pointer(from->address, 16, from->place), 16);
            }
            for (int l = 0; l < 32; l++) {
                int i = l / 4, j = 2 * (l % 4);
                lanes[l]->r[m] = transposed ? values[j][i] | (u32)values[j + 1][i] << 16 : values[i][j] | (u32)values[i][j + 1] << 16;
            }
        }
    }, place);
    for (int m = 0; m < count; m++) r[m] = lane.r[m];
}
}  // namespace emulator

inline void load_matrix_4(u32 (&r)[4], u32 address, HERE) { emulator::load_matrices<4, false>(r, address, place); }
inline void load_matrix_4_transposed(u32 (&r)[4], u32 address, HERE) { emulator::load_matrices<4, true>(r, address, place); }

// --- global memory ---
inline u32 count_up(u32* counter) { return (*counter)++; }

// --- tensor cores ---
namespace emulator {
typedef float Row8 __attribute__((vector_size(32)));
struct ProductLane { float* c; const u32* a; u32 b0, b1; Place place; };

template <float (*convert)(u16)> inline __attribute__((always_inline)) void multiply_16_8_16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, const Place& place) {
    ProductLane lane = {c, a, b0, b1, place};
    meet(lane, [](ProductLane* const* lanes) {
        require_full(lanes, lanes[0]->place);
        float a[16][16];
        Row8 b[16], c[16];
        for (int l = 0; l < 32; l++) {
            ProductLane* x = lanes[l];
            int i = l / 4, j = 2 * (l % 4);
            for (int part = 0; part < 4; part++) {
                float* to = &a[i + 8 * (part & 1)][j + 8 * (part >> 1)];
                to[0] = convert((u16)x->a[part]);
                to[1] = convert((u16)(x->a[part] >> 16));
            }
            b[j][i] = convert((u16)x->b0);
            b[j + 1][i] = convert((u16)(x->b0 >> 16));
            b[j + 8][i] = convert((u16)x->b1);
            b[j + 9][i] = convert((u16)(x->b1 >> 16));
            c[i][j] = x->c[0];
            c[i][j + 1] = x->c[1];
            c[i + 8][j] = x->c[2];
            c[i + 8][j + 1] = x->c[3];
        }
        for (int i = 0; i < 16; i++) {
            Row8 sum = a[i][0] * b[0];
            for (int k = 1; k < 16; k++) sum += a[i][k] * b[k];
            c[i] += sum;
        }
        for (int l = 0; l < 32; l++) {
            int i = l / 4, j = 2 * (l % 4);
            float* to = lanes[l]->c;
            to[0] = c[i][j];
            to[1] = c[i][j + 1];
            to[2] = c[i + 8][j];
            to[3] = c[i + 8][j + 1];
        }
    }, place);
}
}  // namespace emulator

inline void mma_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, HERE) { emulator::multiply_16_8_16<emulator::bf16_to_float>(c, a, b0, b1, place); }
inline void mma_half(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, HERE) { emulator::multiply_16_8_16<half_to_float>(c, a, b0, b1, place); }
