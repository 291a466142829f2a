// Sums and maxima over any dimensions. The terms of a result are cut into runs of a length that depends on their number alone; a run's terms are
// added in single precision in short chains, the chains and the runs in a fixed order, so results do not depend on the launch or on each other.
#include "pointwise.cuh"

constexpr int kAxes = kMaxRank;

// The dimensions of one kind, kept or reduced, merged: sizes, and strides in the input and the output. Twin of Axes.
struct Axes {
    i32 rank, padding;
    i64 sizes[kAxes], input[kAxes], output[kAxes];
    __device__ __forceinline__ i64 offset(i64 index, const i64* strides) const {
        i64 at = 0;
        for (int d = rank - 1; d > 0; d--) {
            i64 next = index <= 0x7fffffff && sizes[d] <= 0x7fffffff ? (i64)((u32)index / (u32)sizes[d]) : index / sizes[d];
            at += (index - next * sizes[d]) * strides[d];
            index = next;
        }
        return at + index * strides[0];
    }
};

struct ReduceArguments {
    const void* input;
    Target output;
    float* partials;      // [runs, outputs] when there is more than one run
    i64 outputs, terms;
    i64 runs, run_terms;
    i32 is_max, is_vector;
    i32 row_threads;      // threads that share a run along rows: 32 or 256
    float scale;
    Axes kept, reduced;
};

struct Sum {
    static __device__ __forceinline__ float identity() { return 0; }
    static __device__ __forceinline__ float combine(float x, float y) { return x + y; }
    static __device__ __forceinline__ float across(float x, bool is_block, float* scratch) { return is_block ? block_sum(x, scratch) : warp_sum(x); }
};
struct Max {
    static __device__ __forceinline__ float identity() { return bits_to_float(0xFF800000u); }
    static __device__ __forceinline__ float combine(float x, float y) { return max_nan(x, y); }
    static __device__ __forceinline__ float across(float x, bool is_block, float* scratch) { return is_block ? block_max(x, scratch) : warp_max(x); }
};

// The nearest neighbours are terms of one result: a warp or a block takes a run of it.
template <class Op> __device__ __forceinline__ void along_rows(const ReduceArguments& a, float* scratch) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = 4;
    i64 item = ((i64)blockIdx.x * 256 + threadIdx.x) / a.row_threads;
    int thread = threadIdx.x % a.row_threads;
    bool is_item = item < a.outputs * a.runs;
    i64 run = item / a.outputs, output = item - run * a.outputs;
    i64 term = run * a.run_terms, end = is_item ? min_of(a.terms, term + a.run_terms) : term;
    const T* x = (const T*)a.input + a.kept.offset(is_item ? output : 0, a.kept.input);
    float total = Op::identity();
    if (a.is_vector) {
        i64 i = term + thread * N, step = a.row_threads * N;
        for (; i + (U - 1) * step + N <= end; i += U * step) {
            Raw raw[U];
#pragma unroll
            for (int u = 0; u < U; u++) raw[u] = load<4>((const u32*)(x + i + u * step));
            float chain = Op::identity();
#pragma unroll
            for (int u = 0; u < U; u++) {
                float v[N];
                unpack<T>(raw[u], v);
#pragma unroll
                for (int j = 0; j < N; j++) chain = Op::combine(chain, v[j]);
            }
            total = Op::combine(total, chain);
        }
        for (; i < end; i += step) {
            float v[N], chain = Op::identity();
            unpack<T>(load_part(x + i, (int)min_of((i64)N, end - i), end - i >= N), v);
#pragma unroll
            for (int j = 0; j < N; j++)
                if (j < end - i) chain = Op::combine(chain, v[j]);
            total = Op::combine(total, chain);
        }
    } else {
        for (i64 i = term + thread; i < end; i += a.row_threads * N) {
            T v[N];
#pragma unroll
            for (int k = 0; k < N; k++) {
                i64 at = i + (i64)k * a.row_threads;
                if (at < end) v[k] = x[a.reduced.offset(at, a.reduced.input)];
            }
            float chain = Op::identity();
#pragma unroll
            for (int k = 0; k < N; k++)
                if (i + (i64)k * a.row_threads < end) chain = Op::combine(chain, to_float(v[k]));
            total = Op::combine(total, chain);
        }
    }
    total = Op::across(total, a.row_threads == 256, scratch);
    if (thread != 0 || !is_item) return;
    if (a.runs > 1) a.partials[item] = total;
    else a.output.write(a.kept.offset(output, a.kept.output), total * a.scale);
}

KERNEL(reduce_rows, ReduceArguments, 256, 4) {
    __shared__ float scratch[32];
    if (a.is_max) along_rows<Max>(a, scratch);
    else along_rows<Sum>(a, scratch);
}

// The nearest neighbours are different results: a block takes a run of a strip of them, 32 threads side by side.
template <class Op> __device__ __forceinline__ void down_columns(const ReduceArguments& a, float (&shared)[8][33 * 8]) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = 4;
    int width = a.is_vector ? N : 1, place = threadIdx.x & 31, lane = threadIdx.x / 32;
    i64 strips = ceil_div(a.outputs, 32 * width), run = blockIdx.x / strips, output = ((i64)blockIdx.x - run * strips) * 32 * width + place * width;
    i64 end = min_of(a.terms, (run + 1) * a.run_terms);
    float total[N];
#pragma unroll
    for (int j = 0; j < N; j++) total[j] = Op::identity();
    if (output < a.outputs) {
        const T* x = (const T*)a.input + a.kept.offset(output, a.kept.input);
        auto at = [&](i64 term) { return x + a.reduced.offset(term, a.reduced.input); };
        auto use = [&](const Raw& raw) {
            float v[N];
            unpack<T>(raw, v);
#pragma unroll
            for (int j = 0; j < N; j++) total[j] = Op::combine(total[j], v[j]);
        };
        i64 i = run * a.run_terms + lane;
        if (a.is_vector) {
            for (; i + 8 * (U - 1) < end; i += 8 * U) {
                Raw raw[U];
#pragma unroll
                for (int u = 0; u < U; u++) raw[u] = load<4>((const u32*)at(i + 8 * u));
#pragma unroll
                for (int u = 0; u < U; u++) use(raw[u]);
            }
        }
        for (; i < end; i += 8) use(load_part(at(i), width, a.is_vector));
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < width) shared[lane][place * width + j] = total[j];
    block_sync();
    i64 at = output - place * width + threadIdx.x;
    if ((int)threadIdx.x >= 32 * width || at >= a.outputs) return;
    float all = shared[0][threadIdx.x];
    for (int l = 1; l < 8; l++) all = Op::combine(all, shared[l][threadIdx.x]);
    if (a.runs > 1) a.partials[run * a.outputs + at] = all;
    else a.output.write(a.kept.offset(at, a.kept.output), all * a.scale);
}

KERNEL(reduce_columns, ReduceArguments, 256, 4) {
    __shared__ float shared[8][33 * 8];
    if (a.is_max) down_columns<Max>(a, shared);
    else down_columns<Sum>(a, shared);
}

// The runs of each result, in double precision.
KERNEL(reduce_runs, ReduceArguments, 1024, 1) {
    __shared__ double shared[32][33];
    int place = threadIdx.x & 31, lane = threadIdx.x / 32;
    i64 output = (i64)blockIdx.x * 32 + place;
    double total = a.is_max ? (double)Max::identity() : 0;
    if (output < a.outputs) {
        // All loads of eight are on their way at once.
        for (i64 run = lane; run < a.runs; run += 32 * 8) {
            float x[8];
#pragma unroll
            for (int u = 0; u < 8; u++)
                if (run + 32 * u < a.runs) x[u] = a.partials[(run + 32 * u) * a.outputs + output];
#pragma unroll
            for (int u = 0; u < 8; u++)
                if (run + 32 * u < a.runs) total = a.is_max ? (double)max_nan((float)total, x[u]) : total + x[u];
        }
    }
    shared[lane][place] = total;
    block_sync();
    if (lane != 0 || output >= a.outputs) return;
    for (int l = 1; l < 32; l++) total = a.is_max ? (double)max_nan((float)total, (float)shared[l][place]) : total + shared[l][place];
    a.output.write(a.kept.offset(output, a.kept.output), (float)(total * a.scale));
}

// 1, or a third value, where the input equals its maximum or both are NaN; else 0.
struct Maxima {
    static constexpr int kInputs = 3, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&x)[3][N], float (&y)[1][N]) {
        EACH(x[0][i] == x[1][i] || (x[0][i] != x[0][i] && x[1][i] != x[1][i]) ? (a.function ? x[2][i] : 1.0f) : 0.0f)
    }
};

POINTWISE(maxima, Maxima)
