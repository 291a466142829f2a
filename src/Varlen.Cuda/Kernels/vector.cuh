// Pieces of rows: 16 bytes at once where the layout allows, and results of any type that kernels compute in.
#pragma once
#include "strided.cuh"

// Division of numbers below 2^31 by a number that the host knows, as a multiplication (Granlund and Montgomery, 1994). Twin of Divider.
struct Divider {
    u32 divisor, multiplier, shift;
    __device__ __forceinline__ u32 divide(u32 n) const { return ((u32)(((u64)multiplier * n) >> 32) + n) >> shift; }
};

template <class T> constexpr i32 kTypeCode = kFloat32;
template <> constexpr i32 kTypeCode<bf16> = kBFloat16;
template <> constexpr i32 kTypeCode<f16> = kFloat16;

// 16 bytes of elements as they come from memory: words, so that two 16-bit elements are converted by as few instructions as there are.
typedef Vec<u32, 4> Raw;

template <class T> __device__ __forceinline__ void unpack(const Raw& raw, float (&x)[kVector<T>]);
template <> __device__ __forceinline__ void unpack<float>(const Raw& raw, float (&x)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = bits_to_float(raw[i]);
}
template <> __device__ __forceinline__ void unpack<bf16>(const Raw& raw, float (&x)[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = bits_to_float(raw[i] << 16);
        x[2 * i + 1] = bits_to_float(raw[i] & 0xFFFF0000u);
    }
}
template <> __device__ __forceinline__ void unpack<f16>(const Raw& raw, float (&x)[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = half_to_float((u16)raw[i]);
        x[2 * i + 1] = half_to_float((u16)(raw[i] >> 16));
    }
}

template <class T> __device__ __forceinline__ Raw pack(const float (&x)[kVector<T>]);
template <> __device__ __forceinline__ Raw pack<float>(const float (&x)[4]) {
    return Raw{{float_bits(x[0]), float_bits(x[1]), float_bits(x[2]), float_bits(x[3])}};
}
template <> __device__ __forceinline__ Raw pack<bf16>(const float (&x)[8]) {
    return Raw{{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])}};
}
template <> __device__ __forceinline__ Raw pack<f16>(const float (&x)[8]) {
    return Raw{{pack_half(x[0], x[1]), pack_half(x[2], x[3]), pack_half(x[4], x[5]), pack_half(x[6], x[7])}};
}

__device__ __forceinline__ u32 element_bits(float x) { return float_bits(x); }
__device__ __forceinline__ u32 element_bits(bf16 x) { return x.bits; }
__device__ __forceinline__ u32 element_bits(f16 x) { return x.bits; }

// Of N elements the first "count": one access when "whole" says that all are wanted and their place is aligned. The rest is 0.
template <class T> __device__ __forceinline__ Raw load_part(const T* p, int count, bool whole) {
    if (whole) return load<4>((const u32*)p);
    constexpr int perWord = 4 / (int)sizeof(T);
    Raw raw;
#pragma unroll
    for (int w = 0; w < 4; w++) {
        raw[w] = perWord * w < count ? element_bits(p[perWord * w]) : 0;
        if (perWord == 2 && perWord * w + 1 < count) raw[w] |= element_bits(p[perWord * w + 1]) << 16;
    }
    return raw;
}

// One element N times.
template <class T> __device__ __forceinline__ Raw splat(T x) {
    u32 word = sizeof(T) == 2 ? element_bits(x) * 0x10001u : element_bits(x);
    return Raw{{word, word, word, word}};
}

// Writes or adds the first "count" of N results; "whole" as above, and then the target's type is T or f32.
template <class T> __device__ __forceinline__ void store_part(const Target& target, i64 index, float (&y)[kVector<T>], int count, bool whole) {
    constexpr int N = kVector<T>;
    if (!whole) {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < count) target.write(index + i, y[i]);
    } else if (target.dtype == kTypeCode<T>) {
        u32* p = (u32*)((T*)target.data + index);
        if (target.accumulate) {
            float old[N];
            unpack<T>(load<4>(p), old);
#pragma unroll
            for (int i = 0; i < N; i++) y[i] += old[i];
        }
        store(p, pack<T>(y));
    } else {
        u32* p = (u32*)((float*)target.data + index);
#pragma unroll
        for (int part = 0; part < N; part += 4) {
            float z[4] = {y[part], y[part + 1], y[part + 2], y[part + 3]};
            if (target.accumulate) {
                float old[4];
                unpack<float>(load<4>(p + part), old);
#pragma unroll
                for (int i = 0; i < 4; i++) z[i] += old[i];
            }
            store(p + part, pack<float>(z));
        }
    }
}

// 1 / (1 + e^-x): relative error below 1e-6 for x > -10. Saturates to 0 and 1.
__device__ __forceinline__ float sigmoid_fast(float x) { return reciprocal_fast(1.0f + exp2_fast(x * -1.44269504f)); }
