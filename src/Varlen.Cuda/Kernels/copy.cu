// Copies with conversion, and fills. Element types are run-time data: one module serves all pairs.
#include "strided.cuh"

struct CopyArguments {
    const void* source;
    void* destination;
    i64 count;
    i32 source_type, destination_type;
    i32 accumulate;
    StridedWalk<2> walk;
};

struct FillArguments {
    void* destination;
    i64 count;
    i32 type, padding;
    double value;
    StridedWalk<2> walk;
};

// What is read: integers exactly, everything else as double, which holds every narrower value.
struct Value { double real; i64 whole; bool is_whole; };

__device__ __forceinline__ Value read(const void* p, i64 i, i32 type) {
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

__device__ __forceinline__ void write(void* p, i64 i, i32 type, Value x) {
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

KERNEL(copy_strided, CopyArguments, 256, 4) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += (i64)gridDim.x * blockDim.x) {
        i64 at[2];
        a.walk.offsets(i, at);
        Value x = read(a.source, at[0], a.source_type);
        if (a.accumulate) {
            Value y = read(a.destination, at[1], a.destination_type);
            if (x.is_whole && y.is_whole) x.whole += y.whole;
            else x = Value{(x.is_whole ? (double)x.whole : x.real) + (y.is_whole ? (double)y.whole : y.real), 0, false};
        }
        write(a.destination, at[1], a.destination_type, x);
    }
}

KERNEL(fill_strided, FillArguments, 256, 4) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += (i64)gridDim.x * blockDim.x) {
        i64 at[2];
        a.walk.offsets(i, at);
        write(a.destination, at[1], a.type, Value{a.value, 0, false});
    }
}

// Dense and aligned: eight elements a thread and step.
template <class S, class D> __device__ __forceinline__ void copy_all(const CopyArguments& a) {
    constexpr int N = 8;
    const S* source = (const S*)a.source;
    D* destination = (D*)a.destination;
    i64 vectors = a.count / N, thread = (i64)blockIdx.x * blockDim.x + threadIdx.x, threads = (i64)gridDim.x * blockDim.x;
    for (i64 v = thread; v < vectors; v += threads) {
        alignas(16) S x[N];
        alignas(16) D y[N];
#pragma unroll
        for (int i = 0; i < N; i += kVector<S>) *(Vec<S, kVector<S>>*)(x + i) = load<kVector<S>>(source + v * N + i);
        if (a.accumulate) {
#pragma unroll
            for (int i = 0; i < N; i += kVector<D>) *(Vec<D, kVector<D>>*)(y + i) = load<kVector<D>>(destination + v * N + i);
        }
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = from_float<D>(a.accumulate ? to_float(y[i]) + to_float(x[i]) : to_float(x[i]));
#pragma unroll
        for (int i = 0; i < N; i += kVector<D>) store(destination + v * N + i, *(Vec<D, kVector<D>>*)(y + i));
    }
    for (i64 i = vectors * N + thread; i < a.count; i += threads)
        destination[i] = from_float<D>(a.accumulate ? to_float(destination[i]) + to_float(source[i]) : to_float(source[i]));
}

template <class S> __device__ __forceinline__ void copy_from(const CopyArguments& a) {
    switch (a.destination_type) {
        case kFloat32: copy_all<S, float>(a); break;
        case kBFloat16: copy_all<S, bf16>(a); break;
        case kFloat16: copy_all<S, f16>(a); break;
    }
}

// The types that kernels compute in only.
KERNEL(copy_dense, CopyArguments, 256, 4) {
    switch (a.source_type) {
        case kFloat32: copy_from<float>(a); break;
        case kBFloat16: copy_from<bf16>(a); break;
        case kFloat16: copy_from<f16>(a); break;
    }
}
