// Rows of a packed tensor of attention, and gradients on their way to where they are wanted.
#pragma once
#include "kernel.cuh"

// [tokens, heads, HEAD_DIM or fewer features], rows made of aligned 16-byte vectors. The twin of Varlen.Backends.Cuda.Attention.AttentionRows.
struct Rows {
    void* data;       // null: absent, or nobody wants it
    i64 token, head;  // strides in elements
    i32 dtype, accumulate;
    __device__ __forceinline__ i64 at(i64 row, int of_head) const { return row * token + of_head * head; }
    // Two adjacent elements.
    __device__ __forceinline__ void write(i64 at, float x, float y) const {
        if (dtype == kFloat32) {
            float* p = (float*)data + at;
            p[0] = accumulate ? p[0] + x : x;
            p[1] = accumulate ? p[1] + y : y;
        } else {
            ELEMENT* p = (ELEMENT*)data + at;
            if (accumulate) {
                const Vec<ELEMENT, 2> before = load<2>(p);
                x += to_float(before[0]);
                y += to_float(before[1]);
            }
            *(u32*)p = pack(ELEMENT{}, x, y);
        }
    }
    // Eight.
    __device__ __forceinline__ void write(i64 at, float (&x)[8]) const {
        if (dtype == kFloat32) {
            Vec<float, 4>* p = (Vec<float, 4>*)((float*)data + at);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                Vec<float, 4> y = accumulate ? p[h] : Vec<float, 4>{};
#pragma unroll
                for (int i = 0; i < 4; i++) y[i] += x[4 * h + i];
                p[h] = y;
            }
        } else {
            Vec<ELEMENT, 8>* p = (Vec<ELEMENT, 8>*)((ELEMENT*)data + at);
            Vec<ELEMENT, 8> y;
            if (accumulate) {
                y = *p;
#pragma unroll
                for (int i = 0; i < 8; i++) x[i] += to_float(y[i]);
            }
#pragma unroll
            for (int i = 0; i < 8; i++) y[i] = from_float<ELEMENT>(x[i]);
            *p = y;
        }
    }
};

// The lanes of a pair, "mask" apart, swap what they have on the other's side: the upper one's low word, the lower one's high word.
__device__ __forceinline__ void swap(u32& low, u32& high, int mask) {
    const bool upper = lane_id() & mask;
    const u32 other = shuffle_xor(upper ? low : high, mask);
    low = upper ? other : low;
    high = upper ? high : other;
}

// Turns a 4 by 4 matrix of words around, whose columns lie in the four lanes of a quad.
__device__ __forceinline__ void turn(u32 (&w)[4]) {
    swap(w[0], w[1], 1);
    swap(w[2], w[3], 1);
    swap(w[0], w[2], 2);
    swap(w[1], w[3], 2);
}

// Writes 16 rows of a warp's sums as the tensor cores leave them, times a factor: lane l has of rows l / 4 (+ 8) columns 8 j + 2 (l % 4) + {0, 1} in
// x[4 j], x[4 j + 1] (+ 8: x[4 j + 2], x[4 j + 3]). The lanes of a quad exchange what they have of a row, so that each stores vectors; other types
// than the kernel's, and sums, are written from where they are. rows: how many there are.
template <int N> __device__ __forceinline__ void write_rows(const Rows& to, const float (&x)[N], float factor, i64 token, int head, int rows) {
    if (to.data == nullptr) return;
    const int lane = lane_id(), quarter = lane & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = lane / 4 + 8 * half;
        const i64 at = to.at(token + row, head);
        if (to.dtype == kFloat32 || to.accumulate) {
            if (row >= rows) continue;
#pragma unroll
            for (int j = 0; j < N / 4; j++) to.write(at + 8 * j + 2 * quarter, x[4 * j + 2 * half] * factor, x[4 * j + 2 * half + 1] * factor);
        } else {
#pragma unroll
            for (int m = 0; m < N / 16; m++) {
                u32 w[4];
#pragma unroll
                for (int i = 0; i < 4; i++) w[i] = pack(ELEMENT{}, x[16 * m + 4 * i + 2 * half] * factor, x[16 * m + 4 * i + 2 * half + 1] * factor);
                turn(w);
                if (row < rows) store((u32*)((ELEMENT*)to.data + at + 32 * m + 8 * quarter), Vec<u32, 4>{w[0], w[1], w[2], w[3]});
            }
        }
    }
}
