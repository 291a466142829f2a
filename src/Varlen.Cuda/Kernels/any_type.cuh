// Elements whose type is known only at run time.
#pragma once
#include "kernel.cuh"

// What is read: integers exactly, everything else as double, which holds every narrower value.
struct Value { double real; i64 whole; bool is_whole; };

__device__ __forceinline__ Value read_any(const void* p, i64 i, i32 type) {
    switch (type) {
        case kFloat64: return Value{((const double*)p)[i], 0, false};
        case kFloat32: return Value{((const float*)p)[i], 0, false};
        case kBFloat16: return Value{to_float(((const bf16*)p)[i]), 0, false};
        case kFloat16: return Value{to_float(((const f16*)p)[i]), 0, false};
        case kInt32: return Value{0, ((const i32*)p)[i], true};
        case kInt64: return Value{0, ((const i64*)p)[i], true};
        default: return Value{0, ((const u8*)p)[i] != 0, true};
    }
}

__device__ __forceinline__ void write_any(void* p, i64 i, i32 type, Value x) {
    double real = x.is_whole ? (double)x.whole : x.real;
    switch (type) {
        case kFloat64: ((double*)p)[i] = real; break;
        case kFloat32: ((float*)p)[i] = (float)real; break;
        case kBFloat16: ((bf16*)p)[i] = from_float<bf16>((float)real); break;
        case kFloat16: ((f16*)p)[i] = from_float<f16>((float)real); break;
        case kInt32: ((i32*)p)[i] = x.is_whole ? (i32)x.whole : (i32)x.real; break;
        case kInt64: ((i64*)p)[i] = x.is_whole ? x.whole : (i64)x.real; break;
        default: ((u8*)p)[i] = x.is_whole ? x.whole != 0 : x.real != 0; break;
    }
}

// The sum; of whole numbers exactly.
__device__ __forceinline__ Value add(Value x, Value y) {
    if (x.is_whole && y.is_whole) return Value{0, x.whole + y.whole, true};
    return Value{(x.is_whole ? (double)x.whole : x.real) + (y.is_whole ? (double)y.whole : y.real), 0, false};
}
