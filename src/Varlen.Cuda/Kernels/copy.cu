// Copies with conversion, and fills. Element types are run-time data: one module serves all pairs.
#include "any_type.cuh"
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

struct TailArguments {
    void* destination;
    const i32* first;  // index along the dimension from which on everything is filled
    i64 stride;        // of the dimension
    i64 others;        // elements at each of its indices
    i32 size, type;
    double value;
    StridedWalk<2> walk;  // of the other dimensions
};

KERNEL(copy_strided, CopyArguments, 256, 4) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += (i64)gridDim.x * blockDim.x) {
        i64 at[2];
        a.walk.offsets(i, at);
        Value x = read_any(a.source, at[0], a.source_type);
        if (a.accumulate) x = add(x, read_any(a.destination, at[1], a.destination_type));
        write_any(a.destination, at[1], a.destination_type, x);
    }
}

KERNEL(fill_strided, FillArguments, 256, 4) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += (i64)gridDim.x * blockDim.x) {
        i64 at[2];
        a.walk.offsets(i, at);
        write_any(a.destination, at[1], a.type, Value{a.value, 0, false});
    }
}

KERNEL(fill_tail, TailArguments, 256, 4) {
    const i64 first = *a.first, count = (a.size - first) * a.others;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
        const i64 row = count <= 0x7fffffff ? (u32)i / (u32)a.others : i / a.others;
        i64 at[2];
        a.walk.offsets(i - row * a.others, at);
        write_any(a.destination, at[1] + (first + row) * a.stride, a.type, Value{a.value, 0, false});
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
