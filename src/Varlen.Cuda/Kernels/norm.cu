// Layer norm and RMS norm. Memory-bound: a row is read once into registers, kept in its own type, and statistics are taken there in two passes
// (mean, then squared distance from it), so large offsets cost no digits. Short rows take a warp each, longer ones a block; the choice and
// the order of sums depend on the number of features alone. Rows beyond what a block's registers hold are read again.
#include "rows.cuh"

constexpr int N = kVector<ELEMENT>, kPieces = 4;
typedef Vec<ELEMENT, N> Columns;

struct NormForwardArguments {
    const ELEMENT *input, *addend, *weight, *bias;
    ELEMENT *sum, *output;
    float *mean, *rstd;
    i64 rows;
    i32 features, aligned;
    float epsilon;
    i32 padding;
};

// x (+ addend, rounded and kept) of one thread's columns.
template <bool ALIGNED> __device__ __forceinline__ Columns read_sum(const NormForwardArguments& a, i64 at, int left) {
    Columns x = load_columns<ALIGNED, N>(a.input + at, left);
    if (a.addend) {
        Columns y = load_columns<ALIGNED, N>(a.addend + at, left);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = from_float<ELEMENT>(to_float(x[i]) + to_float(y[i]));
    }
    return x;
}

template <bool ALIGNED> __device__ __forceinline__ void write_normed(const NormForwardArguments& a, i64 row, int column, const Columns& x, float mean, float rstd) {
    int left = a.features - column;
    Columns y;
    if (!ALIGNED || left > 0) {
        Columns w, b;
        if (a.weight) w = load_columns<ALIGNED, N>(a.weight + column, left);
        if (a.bias) b = load_columns<ALIGNED, N>(a.bias + column, left);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float value = (to_float(x[i]) - mean) * rstd;
            if (a.weight) value *= to_float(w[i]);
            if (a.bias) value += to_float(b[i]);
            y[i] = from_float<ELEMENT>(value);
        }
    }
    store_columns<ALIGNED, N>(a.output + row * a.features + column, left, y);
}

template <bool WIDE, bool ALIGNED> __device__ __forceinline__ void normalise(const NormForwardArguments& a, float* scratch) {
    int threads = WIDE ? blockDim.x : 32, thread = WIDE ? threadIdx.x : lane_id();
    i64 row = WIDE ? blockIdx.x : (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= a.rows) return;
    i64 start = row * a.features;
    Columns x[kPieces];
#pragma unroll
    for (int v = 0; v < kPieces; v++) {
        int column = (v * threads + thread) * N;
        x[v] = read_sum<ALIGNED>(a, start + column, a.features - column);
    }
    float mean = 0;
    if (a.mean) {
        float sum = 0;
#pragma unroll
        for (int v = 0; v < kPieces; v++)
#pragma unroll
            for (int i = 0; i < N; i++) sum += to_float(x[v][i]);
        mean = row_sum<WIDE>(sum, scratch) / a.features;
    }
    float squares = 0;
#pragma unroll
    for (int v = 0; v < kPieces; v++) {
        int left = a.features - (v * threads + thread) * N;
#pragma unroll
        for (int i = 0; i < N; i++) {
            float d = to_float(x[v][i]) - mean;
            if (exists<ALIGNED>(i, left)) squares += d * d;
        }
    }
    float rstd = 1 / sqrtf(row_sum<WIDE>(squares, scratch) / a.features + a.epsilon);
    if (thread == 0) {
        if (a.mean) a.mean[row] = mean;
        a.rstd[row] = rstd;
    }
#pragma unroll
    for (int v = 0; v < kPieces; v++) {
        int column = (v * threads + thread) * N;
        if (a.sum) store_columns<ALIGNED, N>(a.sum + start + column, a.features - column, x[v]);
        write_normed<ALIGNED>(a, row, column, x[v], mean, rstd);
    }
}

// Features up to 32 * kPieces * N: a warp for each row.
KERNEL(norm_forward, NormForwardArguments, 256, 4) {
    if (a.aligned) normalise<false, true>(a, nullptr);
    else normalise<false, false>(a, nullptr);
}

// Up to 1024 * kPieces * N: a block for each row.
KERNEL(norm_forward_wide, NormForwardArguments, 1024, 1) {
    __shared__ float scratch[32];
    if (a.aligned) normalise<true, true>(a, scratch);
    else normalise<true, false>(a, scratch);
}

// Any number: each thread reads its own columns three times.
KERNEL(norm_forward_long, NormForwardArguments, 1024, 1) {
    __shared__ float scratch[32];
    i64 row = blockIdx.x, start = row * a.features;
    const ELEMENT* from = a.sum ? a.sum + start : a.input + start;
    float mean = 0, sum = 0, squares = 0;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int column = (int)c, left = a.features - column;
        Columns x = read_sum<false>(a, start + column, left);
        if (a.sum) store_columns<false, N>(a.sum + start + column, left, x);
        for (int i = 0; i < N; i++) sum += to_float(x[i]);
    }
    if (a.mean) mean = block_sum(sum, scratch) / a.features;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int column = (int)c, left = a.features - column;
        Columns x = load_columns<false, N>(from + column, left);
        for (int i = 0; i < N; i++) {
            float d = to_float(x[i]) - mean;
            if (i < left) squares += d * d;
        }
    }
    float rstd = 1 / sqrtf(block_sum(squares, scratch) / a.features + a.epsilon);
    if (threadIdx.x == 0) {
        if (a.mean) a.mean[row] = mean;
        a.rstd[row] = rstd;
    }
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N)
        write_normed<false>(a, row, (int)c, load_columns<false, N>(from + c, a.features - (int)c), mean, rstd);
}

// --- backward ---

struct NormBackwardArguments {
    const ELEMENT *output_gradient, *sum_gradient, *input, *weight;
    const float *mean, *rstd;
    float* partials;  // [blocks, 2, features]: of the weight and of the bias; null when neither is wanted
    i64 rows, rows_per_block;
    i32 features, aligned;
    Target first, second;
};

__device__ __forceinline__ bool wants_rows(const NormBackwardArguments& a) { return a.first.data || a.second.data; }

// dx = rstd * (g - mean(g) - n * mean(g * n)) + passed, with g = dy * w and n the normalised x.
template <bool ALIGNED> __device__ __forceinline__ void write_gradient(
    const NormBackwardArguments& a, i64 at, int left, const Columns& dy, const Columns& x, const Columns& w, const Columns& passed, float mean, float rstd, float mean_g, float mean_gn) {
    if (ALIGNED && left <= 0) return;
    float dx[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        float g = to_float(dy[i]), n = (to_float(x[i]) - mean) * rstd;
        if (a.weight) g *= to_float(w[i]);
        dx[i] = rstd * (g - mean_g - n * mean_gn);
        if (a.sum_gradient) dx[i] += to_float(passed[i]);
    }
    if (a.first.data) write_columns<ALIGNED, ELEMENT>(a.first, at, left, dx);
    if (a.second.data) write_columns<ALIGNED, ELEMENT>(a.second, at, left, dx);
}

// A block owns consecutive rows. Each row's gradients are read once, and its share of the parameters' gradients stays in registers: V * N
// columns of a warp that takes every so-many-th row, or of a thread of a block that takes them all.
template <bool WIDE, bool ALIGNED, int V> __device__ __forceinline__ void differentiate(const NormBackwardArguments& a, float* scratch, float (&dw)[V][N], float (&db)[V][N]) {
    int threads = WIDE ? blockDim.x : 32, thread = WIDE ? threadIdx.x : lane_id();
    i64 first = blockIdx.x * a.rows_per_block, end = min_of(first + a.rows_per_block, a.rows);
    Columns w[V];
#pragma unroll
    for (int v = 0; v < V; v++) {
        int column = (v * threads + thread) * N;
        if (a.weight) w[v] = load_columns<ALIGNED, N>(a.weight + column, a.features - column);
#pragma unroll
        for (int i = 0; i < N; i++) dw[v][i] = db[v][i] = 0;
    }
    for (i64 row = WIDE ? first : first + threadIdx.x / 32; row < end; row += WIDE ? 1 : blockDim.x / 32) {
        i64 start = row * a.features;
        Columns dy[V], x[V], passed[V];
#pragma unroll
        for (int v = 0; v < V; v++) {
            int column = (v * threads + thread) * N, left = a.features - column;
            dy[v] = load_columns<ALIGNED, N>(a.output_gradient + start + column, left);
            x[v] = load_columns<ALIGNED, N>(a.input + start + column, left);
            if (a.sum_gradient) passed[v] = load_columns<ALIGNED, N>(a.sum_gradient + start + column, left);
        }
        float mean = a.mean ? a.mean[row] : 0, rstd = a.rstd[row], sum_g = 0, sum_gn = 0;
#pragma unroll
        for (int v = 0; v < V; v++)
#pragma unroll
            for (int i = 0; i < N; i++) {
                // Beyond the row's end dy is zero, and so is all that is added.
                float y = to_float(dy[v][i]), n = (to_float(x[v][i]) - mean) * rstd, g = a.weight ? y * to_float(w[v][i]) : y;
                sum_g += g;
                sum_gn += g * n;
                dw[v][i] += y * n;
                db[v][i] += y;
            }
        if (!wants_rows(a)) continue;
        float mean_g = a.mean ? row_sum<WIDE>(sum_g, scratch) / a.features : 0, mean_gn = row_sum<WIDE>(sum_gn, scratch) / a.features;
#pragma unroll
        for (int v = 0; v < V; v++) {
            int column = (v * threads + thread) * N;
            write_gradient<ALIGNED>(a, start + column, a.features - column, dy[v], x[v], w[v], passed[v], mean, rstd, mean_g, mean_gn);
        }
    }
}

constexpr int kBackwardThreads = 384;

template <bool ALIGNED> __device__ __forceinline__ void differentiate_narrow(const NormBackwardArguments& a, float (&sums)[2][32 * kPieces * N]) {
    float dw[kPieces][N], db[kPieces][N];
    differentiate<false, ALIGNED, kPieces>(a, nullptr, dw, db);
    if (!a.partials) return;
    // The warps' sums, added in order. Neighbouring lanes lie side by side, whatever columns they hold.
    int lane = lane_id(), warp = threadIdx.x / 32;
    for (int turn = 0; turn < kBackwardThreads / 32; turn++) {
        if (warp == turn) {
#pragma unroll
            for (int v = 0; v < kPieces; v++)
#pragma unroll
                for (int i = 0; i < N; i++) {
                    int at = (v * N + i) * 32 + lane;
                    sums[0][at] = turn == 0 ? dw[v][i] : sums[0][at] + dw[v][i];
                    sums[1][at] = turn == 0 ? db[v][i] : sums[1][at] + db[v][i];
                }
        }
        block_sync();
    }
    float* partials = a.partials + (i64)blockIdx.x * 2 * a.features;
    for (int column = threadIdx.x; column < a.features; column += kBackwardThreads) {
        int at = (column / (32 * N) * N + column % N) * 32 + column / N % 32;
        partials[column] = sums[0][at];
        partials[a.features + column] = sums[1][at];
    }
}

// Features up to 32 * kPieces * N.
KERNEL(norm_backward, NormBackwardArguments, 384, 1) {
    __shared__ float sums[2][32 * kPieces * N];
    if (a.aligned) differentiate_narrow<true>(a, sums);
    else differentiate_narrow<false>(a, sums);
}

constexpr int kWidePieces = 8 / N;

template <bool ALIGNED> __device__ __forceinline__ void differentiate_wide(const NormBackwardArguments& a, float* scratch) {
    float dw[kWidePieces][N], db[kWidePieces][N];
    differentiate<true, ALIGNED, kWidePieces>(a, scratch, dw, db);
    if (!a.partials) return;
    float* partials = a.partials + (i64)blockIdx.x * 2 * a.features;
#pragma unroll
    for (int v = 0; v < kWidePieces; v++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            int column = (v * blockDim.x + threadIdx.x) * N + i;
            if (column >= a.features) continue;
            partials[column] = dw[v][i];
            partials[a.features + column] = db[v][i];
        }
}

// Up to 8192.
KERNEL(norm_backward_wide, NormBackwardArguments, 1024, 1) {
    __shared__ float scratch[32];
    if (a.aligned) differentiate_wide<true>(a, scratch);
    else differentiate_wide<false>(a, scratch);
}

// Any number of features, in two kernels. The parameters' part comes first, because rows may be written over the gradients they are read from:
// a block takes 256 columns of its rows.
KERNEL(norm_parameters_long, NormBackwardArguments, 256, 4) {
    i64 strips = ceil_div(a.features, 256), chunk = blockIdx.x / strips, column = (blockIdx.x - chunk * strips) * 256 + threadIdx.x;
    if (column >= a.features) return;
    float dw = 0, db = 0;
    for (i64 row = chunk * a.rows_per_block; row < min_of((chunk + 1) * a.rows_per_block, a.rows); row++) {
        i64 at = row * a.features + column;
        float y = to_float(a.output_gradient[at]);
        dw += y * ((to_float(a.input[at]) - (a.mean ? a.mean[row] : 0)) * a.rstd[row]);
        db += y;
    }
    float* partials = a.partials + chunk * 2 * a.features;
    partials[column] = dw;
    partials[a.features + column] = db;
}

KERNEL(norm_rows_long, NormBackwardArguments, 1024, 1) {
    __shared__ float scratch[32];
    i64 row = blockIdx.x, start = row * a.features;
    float mean = a.mean ? a.mean[row] : 0, rstd = a.rstd[row], sum_g = 0, sum_gn = 0;
    Columns w, passed;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int left = a.features - (int)c;
        Columns dy = load_columns<false, N>(a.output_gradient + start + c, left), x = load_columns<false, N>(a.input + start + c, left);
        if (a.weight) w = load_columns<false, N>(a.weight + c, left);
        for (int i = 0; i < N; i++) {
            float g = a.weight ? to_float(dy[i]) * to_float(w[i]) : to_float(dy[i]);
            sum_g += g;
            sum_gn += g * ((to_float(x[i]) - mean) * rstd);
        }
    }
    float mean_g = a.mean ? block_sum(sum_g, scratch) / a.features : 0, mean_gn = block_sum(sum_gn, scratch) / a.features;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int left = a.features - (int)c;
        Columns dy = load_columns<false, N>(a.output_gradient + start + c, left), x = load_columns<false, N>(a.input + start + c, left);
        if (a.weight) w = load_columns<false, N>(a.weight + c, left);
        if (a.sum_gradient) passed = load_columns<false, N>(a.sum_gradient + start + c, left);
        write_gradient<false>(a, start + c, left, dy, x, w, passed, mean, rstd, mean_g, mean_gn);
    }
}
