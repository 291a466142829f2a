// Pieces of rows in registers. A thread holds the same columns whether it can read 16 bytes at a time or not, so a row's sums have the same
// bits at every address.
#pragma once
#include "kernel.cuh"

template <class T> constexpr i32 kCode = -1;
template <> constexpr i32 kCode<float> = kFloat32;
template <> constexpr i32 kCode<bf16> = kBFloat16;
template <> constexpr i32 kCode<f16> = kFloat16;

// N columns of a row that has "left" of them from p on; zeros beyond its end. ALIGNED: rows begin at multiples of 16 bytes and hold whole vectors.
template <bool ALIGNED, int N, class T> __device__ __forceinline__ Vec<T, N> load_columns(const T* p, int left) {
    Vec<T, N> x;
    if (ALIGNED) {
        if (left > 0) return load<N>(p);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = from_float<T>(0);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = i < left ? p[i] : from_float<T>(0);
    }
    return x;
}

template <bool ALIGNED, int N, class T> __device__ __forceinline__ void store_columns(T* p, int left, const Vec<T, N>& x) {
    if (ALIGNED) {
        if (left > 0) store(p, x);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < left) p[i] = x[i];
    }
}

// Whether column i of a thread's N exists.
template <bool ALIGNED> __device__ __forceinline__ bool exists(int i, int left) { return ALIGNED ? left > 0 : i < left; }

template <bool ALIGNED, class D, int N> __device__ __forceinline__ void write_as(D* p, bool accumulate, int left, const float (&y)[N]) {
    constexpr int M = N < kVector<D> ? N : kVector<D>;
#pragma unroll
    for (int j = 0; j < N; j += M) {
        Vec<D, M> out;
        if (accumulate) out = load_columns<ALIGNED, M>(p + j, left - j);
#pragma unroll
        for (int i = 0; i < M; i++) out[i] = from_float<D>(accumulate ? to_float(out[i]) + y[j + i] : y[j + i]);
        store_columns<ALIGNED, M>(p + j, left - j, out);
    }
}

// N columns of a gradient. Its type is nearly always the one that is named, or single precision.
template <bool ALIGNED, class Usual, int N> __device__ __forceinline__ void write_columns(const Target& target, i64 at, int left, const float (&y)[N]) {
    if (target.dtype == kCode<Usual>) write_as<ALIGNED>((Usual*)target.data + at, target.accumulate, left, y);
    else if (target.dtype == kFloat32) write_as<ALIGNED>((float*)target.data + at, target.accumulate, left, y);
    else {
#pragma unroll  // an index that is not known moves the values to local memory, for every path
        for (int i = 0; i < N; i++)
            if (i < left) target.write(at + i, y[i]);
    }
}

// Sums over the threads that share a row: a warp, or a whole block.
template <bool WIDE> __device__ __forceinline__ float row_sum(float x, float* scratch) { return WIDE ? block_sum(x, scratch) : warp_sum(x); }
