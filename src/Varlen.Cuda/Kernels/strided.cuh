// Walks over operands of any strides. The host merges dimensions that lie behind each other, so most calls come down to one or two.
#pragma once
#include "kernel.cuh"

constexpr int kMaxRank = 8;

// Sizes and strides, in elements, of up to N operands walked together; the innermost dimension is last. Twin of StridedWalk<N>.
template <int N> struct StridedWalk {
    i32 rank;
    i32 sizes[kMaxRank];
    i64 strides[N][kMaxRank];

    // Offsets of all operands at a position in row-major order.
    __device__ __forceinline__ void offsets(i64 index, i64 (&at)[N]) const {
#pragma unroll
        for (int n = 0; n < N; n++) at[n] = 0;
        for (int d = rank - 1; d > 0; d--) {
            // 64-bit division is a long routine; nearly all tensors do without.
            i64 next;
            i32 place;
            if (index <= 0x7fffffff) {
                u32 quotient = (u32)index / (u32)sizes[d];
                place = (i32)((u32)index - quotient * (u32)sizes[d]);
                next = quotient;
            } else {
                next = index / sizes[d];
                place = (i32)(index - next * sizes[d]);
            }
#pragma unroll
            for (int n = 0; n < N; n++) at[n] += place * strides[n][d];
            index = next;
        }
#pragma unroll
        for (int n = 0; n < N; n++) at[n] += index * strides[n][0];
    }
};
