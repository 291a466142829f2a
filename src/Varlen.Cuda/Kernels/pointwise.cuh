// Functions of the values of up to three tensors at each place of a shape, with up to two results. An op says how many it has and computes
// N places at once:
//
//     struct Op {
//         static constexpr int kInputs = 2, kOutputs = 1;
//         template <int N> static __device__ void run(const PointwiseArguments& a, const float (&x)[kInputs][N], float (&y)[kOutputs][N]);
//     };
//
// All of a thread's inputs are read before its first result is written, and a thread writes only places that it reads, so a result may be
// the memory of an input.
#pragma once
#include "vector.cuh"

constexpr int kPointwiseThreads = 256;
// Vectors of each input that a thread has on their way from memory at once.
constexpr int kPointwiseUnroll = 2;

// Twin of PointwiseArguments. Operands of the walk: three inputs, two results.
struct PointwiseArguments {
    const void* inputs[3];  // null: reads as zeros
    Target outputs[2];
    i64 count;
    i32 function;           // which one, for an op that has several
    float constant;
    i32 steps;              // bit n: input n has a value for each place of a row, not one for all
    i32 columns;            // places of a row
    Divider row_vectors;    // vectors of a row
    u32 vectors;            // in all
    StridedWalk<5> walk;
};

// The walk comes down to rows: at most two dimensions, whose inner one has stride 1 (inputs also 0), and all rows aligned.
template <class Op> __device__ __forceinline__ void pointwise_rows(const PointwiseArguments& a) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = kPointwiseUnroll;
    Raw raw[Op::kInputs][U];
    i64 row[U];
    int column[U], left[U];
    u32 first = blockIdx.x * (kPointwiseThreads * U) + threadIdx.x;
#pragma unroll
    for (int u = 0; u < U; u++) {
        u32 v = first + u * kPointwiseThreads, r = a.walk.rank > 1 ? a.row_vectors.divide(v) : 0;
        row[u] = r;
        column[u] = (int)(v - r * a.row_vectors.divisor) * N;
        left[u] = v < a.vectors ? a.columns - column[u] : 0;
        if (left[u] == 0) continue;
#pragma unroll
        for (int n = 0; n < Op::kInputs; n++) {
            const T* p = (const T*)a.inputs[n] + (a.walk.rank > 1 ? row[u] * a.walk.strides[n][0] : 0);
            if (a.inputs[n] == nullptr) raw[n][u] = Raw{};
            else if ((a.steps >> n & 1) == 0) raw[n][u] = splat(*p);
            else raw[n][u] = load_part(p + column[u], left[u], left[u] >= N);
        }
    }
#pragma unroll
    for (int u = 0; u < U; u++) {
        if (left[u] == 0) continue;
        float x[Op::kInputs][N], y[Op::kOutputs][N];
#pragma unroll
        for (int n = 0; n < Op::kInputs; n++) unpack<T>(raw[n][u], x[n]);
        Op::template run<N>(a, x, y);
#pragma unroll
        for (int n = 0; n < Op::kOutputs; n++)
            if (a.outputs[n].data)
                store_part<T>(a.outputs[n], (a.walk.rank > 1 ? row[u] * a.walk.strides[3 + n][0] : 0) + column[u], y[n], left[u], left[u] >= N);
    }
}

// Any strides, an element at a time.
template <class Op> __device__ __forceinline__ void pointwise_strided(const PointwiseArguments& a) {
    typedef ELEMENT T;
    for (i64 i = (i64)blockIdx.x * kPointwiseThreads + threadIdx.x; i < a.count; i += (i64)gridDim.x * kPointwiseThreads) {
        i64 at[5];
        a.walk.offsets(i, at);
        float x[Op::kInputs][1], y[Op::kOutputs][1];
#pragma unroll
        for (int n = 0; n < Op::kInputs; n++) x[n][0] = a.inputs[n] ? to_float(((const T*)a.inputs[n])[at[n]]) : 0;
        Op::template run<1>(a, x, y);
#pragma unroll
        for (int n = 0; n < Op::kOutputs; n++)
            if (a.outputs[n].data) a.outputs[n].write(at[3 + n], y[n][0]);
    }
}

// Both kernels of an op: NAME_rows and NAME_strided.
#define POINTWISE(name, Op)                                                                          \
    KERNEL(name##_rows, PointwiseArguments, kPointwiseThreads, 4) { pointwise_rows<Op>(a); }         \
    KERNEL(name##_strided, PointwiseArguments, kPointwiseThreads, 4) { pointwise_strided<Op>(a); }

// In an op: y[0] = expression of the place i.
#define EACH(expression) { _Pragma("unroll") for (int i = 0; i < N; i++) y[0][i] = (expression); }
