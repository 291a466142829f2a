// Pieces of rows in registers. A thread holds the same columns whether it can read 16 bytes at a time or not, so a row's sums have the same
// bits at every address.
#pragma once
#include "kernel.cuh"

template <class T> constexpr i32 kCode = -1;
template <> constexpr i32 kCode<float> = kFloat32;
template <> constexpr i32 kCode<bf16> = kBFloat16;
template <> constexpr i32 kCode<f16> = kFloat16;

// Adjacent columns of a row, packed as in memory: 16-bit values that lie in registers of their own would take twice the room.
template <class T> struct alignas(16) Columns {
    static constexpr int N = kVector<T>;
    u32 words[4];
    __device__ __forceinline__ float operator[](int i) const { return unpack((const T*)nullptr, i); }
    __device__ __forceinline__ void set(const float (&y)[N]) { pack((const T*)nullptr, y); }

    // From here on the compiler unpacks anew, instead of keeping what it unpacked before.
    __device__ __forceinline__ void forget() {
#pragma unroll
        for (int i = 0; i < 4; i++) words[i] = opaque(words[i]);
    }

private:
    __device__ __forceinline__ float unpack(const float*, int i) const { return bits_to_float(words[i]); }
    __device__ __forceinline__ float unpack(const bf16*, int i) const { return bits_to_float(i & 1 ? words[i / 2] & 0xFFFF0000u : words[i / 2] << 16); }
    __device__ __forceinline__ float unpack(const f16*, int i) const { return half_to_float((u16)(i & 1 ? words[i / 2] >> 16 : words[i / 2])); }
    template <int M> __device__ __forceinline__ void pack(const float*, const float (&y)[M]) {
#pragma unroll
        for (int i = 0; i < 4; i++) words[i] = float_bits(y[i]);
    }
    template <int M> __device__ __forceinline__ void pack(const bf16*, const float (&y)[M]) {
#pragma unroll
        for (int i = 0; i < 4; i++) words[i] = pack_bf16(y[2 * i], y[2 * i + 1]);
    }
    template <int M> __device__ __forceinline__ void pack(const f16*, const float (&y)[M]) {
#pragma unroll
        for (int i = 0; i < 4; i++) words[i] = pack_half(y[2 * i], y[2 * i + 1]);
    }
};

// Bits of one element, and back.
__device__ __forceinline__ u32 bits_of(float x) { return float_bits(x); }
__device__ __forceinline__ u32 bits_of(bf16 x) { return x.bits; }
__device__ __forceinline__ u32 bits_of(f16 x) { return x.bits; }
template <class T> __device__ __forceinline__ T element_of(u32 bits) { return T{(u16)bits}; }
template <> __device__ __forceinline__ float element_of<float>(u32 bits) { return bits_to_float(bits); }

// The columns from p on of a row that has "left" of them; zeros beyond its end. ALIGNED: rows begin at multiples of 16 bytes and hold whole vectors.
template <bool ALIGNED, class T> __device__ __forceinline__ Columns<T> load_columns(const T* p, int left) {
    constexpr int kPerWord = 4 / (int)sizeof(T);
    Columns<T> x = {{0, 0, 0, 0}};
    if (ALIGNED) {
        if (left > 0) {
            Vec<u32, 4> words = load<4>((const u32*)p);
#pragma unroll
            for (int i = 0; i < 4; i++) x.words[i] = words[i];
        }
    } else {
#pragma unroll
        for (int i = 0; i < kVector<T>; i++)
            if (i < left) x.words[i / kPerWord] |= bits_of(p[i]) << (i % kPerWord * 16);
    }
    return x;
}

template <bool ALIGNED, class T> __device__ __forceinline__ void store_columns(T* p, int left, const Columns<T>& x) {
    constexpr int kPerWord = 4 / (int)sizeof(T);
    if (ALIGNED) {
        if (left > 0) store((u32*)p, Vec<u32, 4>{{x.words[0], x.words[1], x.words[2], x.words[3]}});
    } else {
#pragma unroll
        for (int i = 0; i < kVector<T>; i++)
            if (i < left) p[i] = element_of<T>(x.words[i / kPerWord] >> (i % kPerWord * 16));
    }
}

// Whether column i of a thread's piece exists.
template <bool ALIGNED> __device__ __forceinline__ bool exists(int i, int left) { return ALIGNED ? left > 0 : i < left; }

// N is a multiple of a vector of D.
template <bool ALIGNED, class D, int N> __device__ __forceinline__ void write_as(D* p, bool accumulate, int left, const float (&y)[N]) {
#pragma unroll
    for (int j = 0; j < N; j += kVector<D>) {
        float values[kVector<D>];
        Columns<D> out;
        if (accumulate) out = load_columns<ALIGNED>(p + j, left - j);
#pragma unroll
        for (int i = 0; i < kVector<D>; i++) values[i] = accumulate ? out[i] + y[j + i] : y[j + i];
        out.set(values);
        store_columns<ALIGNED>(p + j, left - j, out);
    }
}

// Adjacent columns of a gradient. Its type is nearly always the one that is named, or single precision.
template <bool ALIGNED, class Usual> __device__ __forceinline__ void write_columns(const Target& target, i64 at, int left, const float (&y)[kVector<Usual>]) {
    if (target.dtype == kCode<Usual>) write_as<ALIGNED>((Usual*)target.data + at, target.accumulate, left, y);
    else if (target.dtype == kFloat32) write_as<ALIGNED>((float*)target.data + at, target.accumulate, left, y);
    else {
#pragma unroll
        for (int i = 0; i < kVector<Usual>; i++)
            if (i < left) target.write(at + i, y[i]);
    }
}
