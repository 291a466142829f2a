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
    i32 is_even, padding;   // rows are whole vectors, and every input that is read has a value for each place of a row
    StridedWalk<5> walk;
};

// The walk comes down to rows: at most two dimensions, whose inner one has stride 1 (inputs also 0), and all rows aligned.
struct RowPlace {
    i64 row;
    int column;
    __device__ __forceinline__ RowPlace(const PointwiseArguments& a, u32 vector, int length) {
        u32 r = a.walk.rank > 1 ? a.row_vectors.divide(vector) : 0;
        row = r;
        column = (int)(vector - r * a.row_vectors.divisor) * length;
    }
    // Where operand n of the walk has its row.
    __device__ __forceinline__ i64 start(const PointwiseArguments& a, int n) const { return a.walk.rank > 1 ? row * a.walk.strides[n][0] : 0; }
};

template <class Op> __device__ __forceinline__ void pointwise_finish(const PointwiseArguments& a, const RowPlace& place, const Raw (&raw)[Op::kInputs], int left, bool whole) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>;
    float x[Op::kInputs][N], y[Op::kOutputs][N];
#pragma unroll
    for (int n = 0; n < Op::kInputs; n++) unpack<T>(raw[n], x[n]);
    Op::template run<N>(a, x, y);
#pragma unroll
    for (int n = 0; n < Op::kOutputs; n++)
        if (a.outputs[n].data) store_part<T>(a.outputs[n], place.start(a, 3 + n) + place.column, y[n], left, whole);
}

template <class Op> __device__ __forceinline__ void pointwise_rows(const PointwiseArguments& a) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = kPointwiseUnroll;
    u32 block = blockIdx.x * (kPointwiseThreads * U), first = block + threadIdx.x;
    if (a.is_even && block + kPointwiseThreads * U <= a.vectors) {
        // Nothing but whole vectors: loads without a branch between them.
        Raw raw[U][Op::kInputs];
#pragma unroll
        for (int u = 0; u < U; u++) {
            RowPlace place(a, first + u * kPointwiseThreads, N);
#pragma unroll
            for (int n = 0; n < Op::kInputs; n++) {
                raw[u][n] = Raw{};
                if (a.inputs[n]) raw[u][n] = load<4>((const u32*)((const T*)a.inputs[n] + place.start(a, n) + place.column));
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++) pointwise_finish<Op>(a, RowPlace(a, first + u * kPointwiseThreads, N), raw[u], N, true);
        return;
    }
#pragma unroll 1
    for (int u = 0; u < U; u++) {
        u32 v = first + u * kPointwiseThreads;
        if (v >= a.vectors) break;
        RowPlace place(a, v, N);
        int left = a.columns - place.column;
        Raw raw[Op::kInputs];
#pragma unroll
        for (int n = 0; n < Op::kInputs; n++) {
            const T* p = (const T*)a.inputs[n] + place.start(a, n);
            if (a.inputs[n] == nullptr) raw[n] = Raw{};
            else if ((a.steps >> n & 1) == 0) raw[n] = splat(*p);
            else raw[n] = load_part(p + place.column, left, left >= N);
        }
        pointwise_finish<Op>(a, place, raw, left, left >= N);
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
