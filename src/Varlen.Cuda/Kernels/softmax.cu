// Softmax of rows and its logarithm. A row belongs to a warp, or to a block when it is long, so its bits depend on itself alone. The passes after
// the first find the row in registers or in the caches.
#include "vector.cuh"

struct SoftmaxArguments {
    const void *output_gradient, *values;  // values: the input forward, the output backward
    Target output;
    i64 rows;
    i32 features, logarithm;
    i32 row_threads;                       // 32 or 256
    i32 is_vector;
};

// The threads of a row.
struct Group {
    bool is_block;
    float* scratch;
    __device__ __forceinline__ float sum(float x) const { return is_block ? block_sum(x, scratch) : warp_sum(x); }
    __device__ __forceinline__ float max(float x) const { return is_block ? block_max(x, scratch) : warp_max(x); }
};

__device__ __forceinline__ float negative_infinity() { return bits_to_float(0xFF800000u); }

// Calls use(column, values, how many) for the vectors of a row that a thread has.
template <class Use> __device__ __forceinline__ void for_vectors(const SoftmaxArguments& a, const ELEMENT* row, int first, Use use) {
    constexpr int N = kVector<ELEMENT>;
    for (int i = first * N; i < a.features; i += a.row_threads * N) {
        float x[N];
        unpack<ELEMENT>(load_part(row + i, a.features - i, a.is_vector && a.features - i >= N), x);
        use(i, x, a.features - i);
    }
}

// Vectors of a row that a thread holds in registers, when they are all.
constexpr int kHeld = 4;

// A row that is gone over three times: from registers when it fits there, else from memory and the caches.
template <bool Held> struct Row {
    const SoftmaxArguments& a;
    const ELEMENT* values;
    int first;
    Raw held[kHeld];

    __device__ __forceinline__ Row(const SoftmaxArguments& a, const ELEMENT* values, int first) : a(a), values(values), first(first) {
        constexpr int N = kVector<ELEMENT>;
        if constexpr (Held) {
#pragma unroll
            for (int u = 0; u < kHeld; u++) {
                const int i = (first + u * a.row_threads) * N;
                if (i < a.features) held[u] = load_part(values + i, a.features - i, a.is_vector && a.features - i >= N);
            }
        }
    }

    template <class Use> __device__ __forceinline__ void each(Use use) const {
        constexpr int N = kVector<ELEMENT>;
        if constexpr (Held) {
#pragma unroll
            for (int u = 0; u < kHeld; u++) {
                const int i = (first + u * a.row_threads) * N;
                if (i >= a.features) continue;
                float x[N];
                unpack<ELEMENT>(held[u], x);
                use(i, x, a.features - i);
            }
        } else for_vectors(a, values, first, use);
    }
};

template <bool Held> __device__ __forceinline__ void softmax(const SoftmaxArguments& a, const Group& group, i64 index, int first) {
    constexpr int N = kVector<ELEMENT>;
    const Row<Held> row(a, (const ELEMENT*)a.values + index * a.features, first);
    float maximum = negative_infinity(), sum = 0;
    row.each([&](int, const float(&v)[N], int left) {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < left) maximum = max_nan(maximum, v[j]);
    });
    maximum = group.max(maximum);
    row.each([&](int, const float(&v)[N], int left) {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < left) sum += expf(v[j] - maximum);
    });
    sum = group.sum(sum);
    float factor = 1 / sum, logarithm = logf(sum);
    row.each([&](int i, float(&v)[N], int left) {
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = a.logarithm ? v[j] - maximum - logarithm : expf(v[j] - maximum) * factor;
        store_part<ELEMENT>(a.output, index * a.features + i, v, left, a.is_vector && left >= N);
    });
}

KERNEL(softmax_forward, SoftmaxArguments, 256, 4) {
    __shared__ float scratch[32];
    Group group{a.row_threads == 256, scratch};
    i64 row = ((i64)blockIdx.x * 256 + threadIdx.x) / a.row_threads;
    int first = row < a.rows ? threadIdx.x % a.row_threads : a.features;
    if (a.features <= kHeld * a.row_threads * kVector<ELEMENT>) softmax<true>(a, group, row, first);
    else softmax<false>(a, group, row, first);
}

KERNEL(softmax_backward, SoftmaxArguments, 256, 4) {
    constexpr int N = kVector<ELEMENT>;
    __shared__ float scratch[32];
    Group group{a.row_threads == 256, scratch};
    i64 row = ((i64)blockIdx.x * 256 + threadIdx.x) / a.row_threads;
    int first = row < a.rows ? threadIdx.x % a.row_threads : a.features;
    const ELEMENT *dy = (const ELEMENT*)a.output_gradient + row * a.features, *y = (const ELEMENT*)a.values + row * a.features;
    float sum = 0;
    for_vectors(a, dy, first, [&](int i, const float(&g)[N], int left) {
        float v[N];
        unpack<ELEMENT>(load_part(y + i, left, a.is_vector && left >= N), v);
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < left) sum += a.logarithm ? g[j] : g[j] * v[j];
    });
    sum = group.sum(sum);
    for_vectors(a, dy, first, [&](int i, float(&g)[N], int left) {
        float v[N];
        unpack<ELEMENT>(load_part(y + i, left, a.is_vector && left >= N), v);
#pragma unroll
        for (int j = 0; j < N; j++) g[j] = a.logarithm ? g[j] - expf(v[j]) * sum : (g[j] - sum) * v[j];
        store_part<ELEMENT>(a.output, row * a.features + i, g, left, a.is_vector && left >= N);
    });
}
