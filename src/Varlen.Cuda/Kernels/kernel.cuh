// What every kernel includes: element types, rounding, vectors, reductions. No CUDA header is used. A kernel takes one argument, a struct
// by value whose C# twin has the same fields in the same order; instructions that C++ has no word for are in ptx.cuh.
#pragma once
#include "ptx.cuh"

typedef signed char i8;
typedef int i32;
typedef long long i64;

// Storage of 16-bit floating-point values; arithmetic is single precision.
struct bf16 { u16 bits; };
struct f16 { u16 bits; };
typedef float f32;
typedef double f64;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return bits_to_float((u32)x.bits << 16); }
__device__ __forceinline__ float to_float(f16 x) { return half_to_float(x.bits); }

// Rounds to nearest, ties to even.
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return bf16{float_to_bf16(x)}; }
template <> __device__ __forceinline__ f16 from_float<f16>(float x) { return f16{float_to_half(x)}; }

// Two values as one register of the type, the first in the low half.
__device__ __forceinline__ u32 pack(bf16, float low, float high) { return pack_bf16(low, high); }
__device__ __forceinline__ u32 pack(f16, float low, float high) { return pack_half(low, high); }

constexpr float kLog2E = 1.44269504088896340736f;
// NVRTC has no constant for it.
#define kInfinity bits_to_float(0x7F800000u)

// N adjacent elements, moved by one instruction when N * sizeof(T) is 4, 8 or 16.
template <class T, int N> struct alignas(sizeof(T) * N) Vec {
    T v[N];
    __device__ __forceinline__ T& operator[](int i) { return v[i]; }
    __device__ __forceinline__ const T& operator[](int i) const { return v[i]; }
};

// Elements of a 16-byte vector.
template <class T> constexpr int kVector = 16 / (int)sizeof(T);

template <int N, class T> __device__ __forceinline__ Vec<T, N> load(const T* p) { return *reinterpret_cast<const Vec<T, N>*>(p); }
template <int N, class T> __device__ __forceinline__ void store(T* p, const Vec<T, N>& x) { *reinterpret_cast<Vec<T, N>*>(p) = x; }

// Codes of element types, in the order of Varlen.DType.
enum DType : i32 { kFloat64, kFloat32, kBFloat16, kFloat16, kInt32, kInt64, kBool };

// A gradient's destination whose type is known only at run time: the parameters' are single precision whatever ops compute in. Not for
// the large operands of a hot kernel, whose type is a compile option.
struct Target {
    void* data;      // null: nobody wants it
    i32 dtype;
    i32 accumulate;  // add to what is there
    __device__ __forceinline__ void write(i64 index, float value) const {
        switch (dtype) {
            case kFloat32: { float* p = (float*)data + index; *p = accumulate ? *p + value : value; break; }
            case kBFloat16: { bf16* p = (bf16*)data + index; *p = from_float<bf16>(accumulate ? to_float(*p) + value : value); break; }
            case kFloat16: { f16* p = (f16*)data + index; *p = from_float<f16>(accumulate ? to_float(*p) + value : value); break; }
        }
    }
};

// The numbers of a training step; the twin of Varlen.Optim.StepState.Values.
struct StepState {
    double learning_rate, loss_scale, clip_factor, gradient_norm;
    i64 step;
    u64 seed;
    i64 finite;
    double loss_sum;
};

template <class T> __device__ __forceinline__ T min_of(T a, T b) { return a < b ? a : b; }
template <class T> __device__ __forceinline__ T max_of(T a, T b) { return a > b ? a : b; }
__host__ __device__ constexpr __forceinline__ i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

// Sums over a warp, in a fixed order; every lane gets the result.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x = max_nan(x, shuffle_xor(x, mask));
    return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}

// Sums over a block of up to 1024 threads, in a fixed order; every thread gets the result. scratch: 32 elements of shared memory, free
// for reuse when the call returns. All threads must call it.
template <class A> __device__ __forceinline__ A block_sum(A x, A* scratch) {
    x = warp_sum(x);
    if (blockDim.x == 32) return x;
    if (lane_id() == 0) scratch[threadIdx.x / 32] = x;
    block_sync();
    int warps = (blockDim.x + 31) / 32;
    A total = scratch[0];
    for (int i = 1; i < warps; i++) total += scratch[i];
    block_sync();
    return total;
}

__device__ __forceinline__ float block_max(float x, float* scratch) {
    x = warp_max(x);
    if (blockDim.x == 32) return x;
    if (lane_id() == 0) scratch[threadIdx.x / 32] = x;
    block_sync();
    int warps = (blockDim.x + 31) / 32;
    float total = scratch[0];
    for (int i = 1; i < warps; i++) total = max_nan(total, scratch[i]);
    block_sync();
    return total;
}

// Philox4x32-10 (Salmon et al., 2011): four words of a counter's stream.
struct Philox { u32 x, y, z, w; };
__device__ __forceinline__ Philox philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        u32 n0 = (u32)(p1 >> 32) ^ c1 ^ k0, n2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c1 = (u32)p1; c3 = (u32)p0; c0 = n0; c2 = n2;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    return Philox{c0, c1, c2, c3};
}

#ifndef JITTER
#define JITTER 0
#endif
// In a build that looks for races, sleeps for a time that differs between warps and steps.
__device__ __forceinline__ void jitter(int step) {
#if JITTER
    sleep_ns(philox(threadIdx.x / 32, step, blockIdx.x, 0, 7, 11).x & 1023);
#endif
}
