// Instructions that C++ has no word for, one function each. Everything a kernel does beyond plain C++ goes through this file, so that a
// build for another target (the emulator of the tests) replaces it and nothing else.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A kernel with its one argument, called "a" in its body. Both bounds are given: they fix registers at entry.
#define KERNEL(name, Arguments, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Arguments a)

// Shared memory whose size the launch decides.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

// The same value, but the compiler does not know that: what is computed from it is computed where it is used, not ahead of a loop into
// registers that the loop needs.
__device__ __forceinline__ u32 opaque(u32 x) { asm volatile("" : "+r"(x)); return x; }

__device__ __forceinline__ u32 lane_id() { return threadIdx.x & 31; }

// --- synchronisation ---
__device__ __forceinline__ void block_sync() { asm volatile("bar.sync 0;" ::: "memory"); }
__device__ __forceinline__ void warp_sync() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }
// Barrier "id" (1..15) among "threads" threads of the block.
__device__ __forceinline__ void named_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
// Pauses the warp for up to about twice as many nanoseconds.
__device__ __forceinline__ void sleep_ns(u32 nanoseconds) { asm volatile("nanosleep.u32 %0;" ::"r"(nanoseconds)); }
// Arrives at barrier "id" without waiting: the other threads of its count wait for this one.
__device__ __forceinline__ void named_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// --- global memory ---
// Adds, and returns what was there; orders nothing else.
__device__ __forceinline__ u32 atomic_add(u32* p, u32 x) {
    u32 y;
    asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], %2;" : "=r"(y) : "l"(p), "r"(x) : "memory");
    return y;
}

// --- warp exchange; all 32 lanes take part ---
__device__ __forceinline__ u32 shuffle_xor(u32 x, int mask) {
    u32 y;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x), "r"(mask));
    return y;
}
__device__ __forceinline__ u32 shuffle(u32 x, int lane) {
    u32 y;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x), "r"(lane));
    return y;
}
__device__ __forceinline__ u32 ballot(bool predicate) {
    u32 y;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xffffffff; }" : "=r"(y) : "r"((u32)predicate));
    return y;
}
__device__ __forceinline__ bool any(bool predicate) { return ballot(predicate) != 0; }

// --- bits and conversions ---
__device__ __forceinline__ u32 float_bits(float x) { u32 y; asm("mov.b32 %0, %1;" : "=r"(y) : "f"(x)); return y; }
__device__ __forceinline__ float bits_to_float(u32 x) { float y; asm("mov.b32 %0, %1;" : "=f"(y) : "r"(x)); return y; }
__device__ __forceinline__ int count_bits(u32 x) { int y; asm("popc.b32 %0, %1;" : "=r"(y) : "r"(x)); return y; }
__device__ __forceinline__ float half_to_float(u16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x)); return y; }
__device__ __forceinline__ u16 float_to_half(float x) { u16 y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
__device__ __forceinline__ u16 float_to_bf16(float x) { u16 y; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
// Two values in one register, the first in the low half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) { u32 y; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }
__device__ __forceinline__ u32 pack_half(float low, float high) { u32 y; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }

// --- arithmetic ---
// 2^x; results below 2^-126 are 0. Relative error 2^-22.
__device__ __forceinline__ float exp2_fast(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ float reciprocal_fast(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
// The larger one; NaN when either is.
__device__ __forceinline__ float max_nan(float x, float y) { float z; asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y)); return z; }

// --- shared memory ---
// Address within shared memory, as the instructions below take it.
__device__ __forceinline__ u32 shared_address(const void* p) {
    u32 y;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(y) : "l"(p));
    return y;
}

// Adds to a number in shared memory that other threads add to, too; gives what was there before.
__device__ __forceinline__ u32 shared_add(u32* p, u32 x) {
    u32 y;
    asm volatile("atom.shared.add.u32 %0, [%1], %2;" : "=r"(y) : "r"(shared_address(p)), "r"(x) : "memory");
    return y;
}

// Copies 16 bytes from global to shared memory in the background; with bytes = 0 it reads nothing and writes zeros.
__device__ __forceinline__ void copy_async_16(u32 shared, const void* global, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_async_4(u32 shared, const void* global, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of this thread are under way.
template <int N> __device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrix_4(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void load_matrix_4_transposed(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// --- global memory ---
// Adds to four adjacent elements, 16-byte aligned, each in any order with other additions.
__device__ __forceinline__ void add_global_4(float* p, float x, float y, float z, float w) {
#if __CUDA_ARCH__ >= 900
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(p), "f"(x), "f"(y), "f"(z), "f"(w) : "memory");
#else
    asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(p), "f"(x) : "memory");
    asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(p + 1), "f"(y) : "memory");
    asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(p + 2), "f"(z) : "memory");
    asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(p + 3), "f"(w) : "memory");
#endif
}

// Adds one; the number before.
__device__ __forceinline__ u32 count_up(u32* counter) { u32 y; asm volatile("atom.global.add.u32 %0, [%1], 1;" : "=r"(y) : "l"(counter) : "memory"); return y; }

// --- tensor cores ---
// c += a b for a 16x16, b 16x8, c 16x8. Lane l holds rows l / 4 and l / 4 + 8 of a and c, columns 2 (l % 4) + {0, 1} (+ 8) of a, and of b
// rows 2 (l % 4) + {0, 1} (+ 8), column l / 4.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_half(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float shuffle_xor(float x, int mask) { return bits_to_float(shuffle_xor(float_bits(x), mask)); }
__device__ __forceinline__ float shuffle(float x, int lane) { return bits_to_float(shuffle(float_bits(x), lane)); }
__device__ __forceinline__ double shuffle_xor(double x, int mask) {
    u32 low, high;
    asm("mov.b64 {%0, %1}, %2;" : "=r"(low), "=r"(high) : "d"(x));
    low = shuffle_xor(low, mask);
    high = shuffle_xor(high, mask);
    double y;
    asm("mov.b64 %0, {%1, %2};" : "=d"(y) : "r"(low), "r"(high));
    return y;
}
