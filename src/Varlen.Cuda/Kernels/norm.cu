// Layer norm and RMS norm. Memory-bound: a row is read once into registers, kept in its own type, and statistics are taken there in two passes
// (mean, then squared distance from it), so large offsets cost no digits. Short rows take a warp each, longer ones a block; the choice and
// the order of sums depend on the number of features alone. Rows beyond what a block's registers hold are read again.
#include "rows.cuh"

constexpr int N = kVector<ELEMENT>, kPieces = 4;
typedef Columns<ELEMENT> Piece;

// Sums over the threads that share a row: a warp, or a whole block.
template <bool WIDE> __device__ __forceinline__ float row_sum(float x, float* scratch) { return WIDE ? block_sum(x, scratch) : warp_sum(x); }

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
template <bool ALIGNED> __device__ __forceinline__ Piece read_sum(const NormForwardArguments& a, i64 at, int left) {
    Piece x = load_columns<ALIGNED>(a.input + at, left);
    if (a.addend) {
        Piece y = load_columns<ALIGNED>(a.addend + at, left);
        float sum[N];
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] = x[i] + y[i];
        x.set(sum);
    }
    return x;
}

template <bool ALIGNED> __device__ __forceinline__ void write_normed(const NormForwardArguments& a, i64 row, int column, const Piece& x, float mean, float rstd) {
    int left = a.features - column;
    if (ALIGNED && left <= 0) return;
    Piece y, w, b;
    if (a.weight) w = load_columns<ALIGNED>(a.weight + column, left);
    if (a.bias) b = load_columns<ALIGNED>(a.bias + column, left);
    float values[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        values[i] = (x[i] - mean) * rstd;
        if (a.weight) values[i] *= w[i];
        if (a.bias) values[i] += b[i];
    }
    y.set(values);
    store_columns<ALIGNED>(a.output + row * a.features + column, left, y);
}

template <bool WIDE, bool ALIGNED> __device__ __forceinline__ void normalise(const NormForwardArguments& a, float* scratch) {
    int threads = WIDE ? blockDim.x : 32, thread = WIDE ? threadIdx.x : lane_id();
    i64 row = WIDE ? blockIdx.x : (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= a.rows) return;
    i64 start = row * a.features;
    Piece x[kPieces];
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
            for (int i = 0; i < N; i++) sum += x[v][i];
        mean = row_sum<WIDE>(sum, scratch) / a.features;
    }
    float squares = 0;
#pragma unroll
    for (int v = 0; v < kPieces; v++) {
        int left = a.features - (v * threads + thread) * N;
#pragma unroll
        for (int i = 0; i < N; i++) {
            float d = x[v][i] - mean;
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
        if (a.sum) store_columns<ALIGNED>(a.sum + start + column, a.features - column, x[v]);
        write_normed<ALIGNED>(a, row, column, x[v], mean, rstd);
    }
}

// Features up to 32 * kPieces * N: a warp for each row.
KERNEL(norm_forward, NormForwardArguments, 256, 3) {
    if (a.aligned) normalise<false, true>(a, nullptr);
    else normalise<false, false>(a, nullptr);
}

// Up to 512 * kPieces * N: a block for each row.
KERNEL(norm_forward_wide, NormForwardArguments, 512, 1) {
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
        Piece x = read_sum<false>(a, start + column, left);
        if (a.sum) store_columns<false>(a.sum + start + column, left, x);
#pragma unroll
        for (int i = 0; i < N; i++) sum += x[i];
    }
    if (a.mean) mean = block_sum(sum, scratch) / a.features;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int column = (int)c, left = a.features - column;
        Piece x = load_columns<false>(from + column, left);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float d = x[i] - mean;
            if (i < left) squares += d * d;
        }
    }
    float rstd = 1 / sqrtf(block_sum(squares, scratch) / a.features + a.epsilon);
    if (threadIdx.x == 0) {
        if (a.mean) a.mean[row] = mean;
        a.rstd[row] = rstd;
    }
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N)
        write_normed<false>(a, row, (int)c, load_columns<false>(from + c, a.features - (int)c), mean, rstd);
}

// --- backward ---

struct NormBackwardArguments {
    const ELEMENT *output_gradient, *sum_gradient, *input, *weight;
    const float *mean, *rstd;
    float* partials;  // [blocks, 2, features]: of the weight and of the bias; null when neither is wanted
    i64 rows, rows_per_block;
    i32 features, aligned, row_threads, padding;
    Target first, second;
};

__device__ __forceinline__ bool wants_rows(const NormBackwardArguments& a) { return a.first.data || a.second.data; }

// dx = rstd * (g - mean(g) - n * mean(g * n)) + passed, with g = dy * w and n the normalised x.
template <bool ALIGNED> __device__ __forceinline__ void write_gradient(
    const NormBackwardArguments& a, i64 at, int left, const Piece& dy, const Piece& x, const Piece& w, const Piece& passed, float mean, float rstd, float mean_g, float mean_gn) {
    if (ALIGNED && left <= 0) return;
    float dx[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        float g = dy[i], n = (x[i] - mean) * rstd;
        if (a.weight) g *= w[i];
        dx[i] = rstd * (g - mean_g - n * mean_gn);
        if (a.sum_gradient) dx[i] += passed[i];
    }
    if (a.first.data) write_columns<ALIGNED, ELEMENT>(a.first, at, left, dx);
    if (a.second.data) write_columns<ALIGNED, ELEMENT>(a.second, at, left, dx);
}

// A block owns consecutive rows, which its groups of threads take in turn; a thread has eight columns of them. Each row is read once, and its share
// of the parameters' gradients stays in registers.
constexpr int kOwned = 8, kOwnedPieces = kOwned / N, kSharedThreads = 192;

// Sums of two numbers over a group. "scratch" is used by turns, so one barrier is enough.
__device__ __forceinline__ void group_sum(float& x, float& y, int threads, int group, float (&scratch)[32][2]) {
    x = warp_sum(x);
    y = warp_sum(y);
    if (threads == 32) return;
    int warp = threadIdx.x / 32, first = group * threads / 32;
    if (lane_id() == 0) {
        scratch[warp][0] = x;
        scratch[warp][1] = y;
    }
    named_sync(1 + group, threads);
    x = scratch[first][0];
    y = scratch[first][1];
    for (int w = first + 1; w < first + threads / 32; w++) {
        x += scratch[w][0];
        y += scratch[w][1];
    }
}

template <bool ALIGNED> __device__ __forceinline__ void differentiate(const NormBackwardArguments& a, float (&scratch)[2][32][2], float (&sums)[2][kOwned * kSharedThreads]) {
    int threads = a.row_threads, group = threadIdx.x / threads, thread = threadIdx.x - group * threads, groups = blockDim.x / threads, turn = 0;
    i64 first = blockIdx.x * a.rows_per_block, end = min_of(first + a.rows_per_block, a.rows);
    Piece w[kOwnedPieces] = {};
    float dw[kOwned], db[kOwned];
#pragma unroll
    for (int i = 0; i < kOwned; i++) dw[i] = db[i] = 0;
    if (a.weight) {
#pragma unroll
        for (int v = 0; v < kOwnedPieces; v++) {
            int column = (v * threads + thread) * N;
            w[v] = load_columns<ALIGNED>(a.weight + column, a.features - column);
        }
    }
    for (i64 row = first + group; row < end; row += groups) {
        i64 start = row * a.features;
        Piece dy[kOwnedPieces], x[kOwnedPieces], passed[kOwnedPieces];
#pragma unroll
        for (int v = 0; v < kOwnedPieces; v++) {
            int column = (v * threads + thread) * N, left = a.features - column;
            dy[v] = load_columns<ALIGNED>(a.output_gradient + start + column, left);
            x[v] = load_columns<ALIGNED>(a.input + start + column, left);
            if (a.sum_gradient) passed[v] = load_columns<ALIGNED>(a.sum_gradient + start + column, left);
        }
        float mean = a.mean ? a.mean[row] : 0, rstd = a.rstd[row], mean_g = 0, mean_gn = 0;
#pragma unroll
        for (int v = 0; v < kOwnedPieces; v++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                // Beyond the row's end dy is zero, and so is all that is added.
                float y = dy[v][i], n = (x[v][i] - mean) * rstd, g = a.weight ? y * w[v][i] : y;
                mean_g += g;
                mean_gn += g * n;
                dw[v * N + i] += y * n;
                db[v * N + i] += y;
            }
            dy[v].forget();
            x[v].forget();
            w[v].forget();
        }
        if (!wants_rows(a)) continue;
        group_sum(mean_g, mean_gn, threads, group, scratch[turn]);
        turn ^= 1;
        mean_g = a.mean ? mean_g / a.features : 0;
        mean_gn /= a.features;
#pragma unroll
        for (int v = 0; v < kOwnedPieces; v++) {
            int column = (v * threads + thread) * N;
            write_gradient<ALIGNED>(a, start + column, a.features - column, dy[v], x[v], w[v], passed[v], mean, rstd, mean_g, mean_gn);
        }
    }
    if (!a.partials) return;
    // The groups' sums, added in order; the last one has the total.
    for (int g = 0; g < groups - 1; g++) {
#pragma unroll
        for (int i = 0; i < kOwned; i++) {
            int at = i * threads + thread;
            if (group == g) {
                sums[0][at] = dw[i];
                sums[1][at] = db[i];
            }
        }
        block_sync();
#pragma unroll
        for (int i = 0; i < kOwned; i++) {
            int at = i * threads + thread;
            if (group == g + 1) {
                dw[i] += sums[0][at];
                db[i] += sums[1][at];
            }
        }
        block_sync();
    }
    if (group != groups - 1) return;
    float* partials = a.partials + (i64)blockIdx.x * 2 * a.features;
#pragma unroll
    for (int i = 0; i < kOwned; i++) {
        int column = (i / N * threads + thread) * N + i % N;
        if (column >= a.features) continue;
        partials[column] = dw[i];
        partials[a.features + column] = db[i];
    }
}

// Features up to 384 * kOwned; groups of more than kSharedThreads threads are alone in their block.
KERNEL(norm_backward, NormBackwardArguments, 384, 2) {
    __shared__ float scratch[2][32][2], sums[2][kOwned * kSharedThreads];
    if (a.aligned) differentiate<true>(a, scratch, sums);
    else differentiate<false>(a, scratch, sums);
}

// Up to 1024 * kOwned.
KERNEL(norm_backward_wide, NormBackwardArguments, 1024, 1) {
    __shared__ float scratch[2][32][2], sums[2][kOwned * kSharedThreads];
    if (a.aligned) differentiate<true>(a, scratch, sums);
    else differentiate<false>(a, scratch, sums);
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
    Piece w, passed;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int left = a.features - (int)c;
        Piece dy = load_columns<false>(a.output_gradient + start + c, left), x = load_columns<false>(a.input + start + c, left);
        if (a.weight) w = load_columns<false>(a.weight + c, left);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float g = a.weight ? dy[i] * w[i] : dy[i];
            sum_g += g;
            sum_gn += g * ((x[i] - mean) * rstd);
        }
    }
    float mean_g = a.mean ? block_sum(sum_g, scratch) / a.features : 0, mean_gn = block_sum(sum_gn, scratch) / a.features;
    for (i64 c = (i64)threadIdx.x * N; c < a.features; c += (i64)blockDim.x * N) {
        int left = a.features - (int)c;
        Piece dy = load_columns<false>(a.output_gradient + start + c, left), x = load_columns<false>(a.input + start + c, left);
        if (a.weight) w = load_columns<false>(a.weight + c, left);
        if (a.sum_gradient) passed = load_columns<false>(a.sum_gradient + start + c, left);
        write_gradient<false>(a, start + c, left, dy, x, w, passed, mean, rstd, mean_g, mean_gn);
    }
}
