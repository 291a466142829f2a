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
