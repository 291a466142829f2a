// Sums over the rows of a dense matrix: a bias's gradient. A block takes a tile of columns and a chunk of rows, and leaves its sums for
// partial_sums.cu to add.
#include "kernel.cuh"

struct ColumnSumsArguments {
    const ELEMENT* values;  // [rows, columns]
    float* partials;        // [chunks, columns]
    const float* factor;    // multiplies the sums when given: a number on the device
    i64 rows, rows_per_chunk, columns;
    i32 tiles, is_vector;
};

constexpr int kColumnThreads = 32, kRowThreads = 8, kUnroll = 4;

// N adjacent columns a thread, every eighth row. Several rows are on their way at a time.
template <int N> __device__ __forceinline__ void sum_chunk(const ColumnSumsArguments& a, float* shared) {
    int lane = threadIdx.x % kColumnThreads, row_thread = threadIdx.x / kColumnThreads;
    i64 chunk = blockIdx.x / a.tiles, column = ((i64)(blockIdx.x % a.tiles) * kColumnThreads + lane) * N;
    i64 first = chunk * a.rows_per_chunk, end = min_of(first + a.rows_per_chunk, a.rows);
    bool is_inside = column < a.columns;
    float sums[N];
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] = 0;
    if (is_inside) {
        i64 row = first + row_thread;
        for (; row + (kUnroll - 1) * kRowThreads < end; row += kUnroll * kRowThreads) {
            Vec<ELEMENT, N> x[kUnroll];
#pragma unroll
            for (int u = 0; u < kUnroll; u++) x[u] = load<N>(a.values + (row + u * kRowThreads) * a.columns + column);
#pragma unroll
            for (int u = 0; u < kUnroll; u++)
#pragma unroll
                for (int i = 0; i < N; i++) sums[i] += to_float(x[u][i]);
        }
        for (; row < end; row += kRowThreads) {
            Vec<ELEMENT, N> x = load<N>(a.values + row * a.columns + column);
#pragma unroll
            for (int i = 0; i < N; i++) sums[i] += to_float(x[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) shared[(row_thread * N + i) * kColumnThreads + lane] = sums[i];
    block_sync();
    // Each of the block's columns is added by one thread, in the order of rows.
    float factor = a.factor ? *a.factor : 1;
    for (int at = threadIdx.x; at < N * kColumnThreads; at += kColumnThreads * kRowThreads) {
        int i = at / kColumnThreads, of = at % kColumnThreads;
        i64 to = ((i64)(blockIdx.x % a.tiles) * kColumnThreads + of) * N + i;
        if (to >= a.columns) continue;
        float total = 0;
        for (int r = 0; r < kRowThreads; r++) total += shared[(r * N + i) * kColumnThreads + of];
        a.partials[chunk * a.columns + to] = total * factor;
    }
}

KERNEL(column_sums, ColumnSumsArguments, 256, 4) {
    __shared__ float shared[kRowThreads * kVector<ELEMENT> * kColumnThreads];
    if (a.is_vector) sum_chunk<kVector<ELEMENT>>(a, shared);
    else sum_chunk<1>(a, shared);
}
