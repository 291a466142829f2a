// Cross entropy of softmax. A block takes a row: one pass over it finds the largest logit and the sum of exponentials together, and keeps
// the row in shared memory where it fits, so that a gradient that takes the logits' place costs one read and one write.
#include "rows.cuh"

// Below e^-69 (1e-30) counts as zero, as on the CPU.
constexpr float kNegligible = -69;
constexpr int kUnroll = 4;

struct CrossEntropyArguments {
    const ELEMENT* logits;
    const void* targets;
    i64 ignore_index;
    double* losses;     // [rows]
    float* statistics;  // [rows, 2]: the largest logit and the reciprocal of the sum; null when nobody wants it
    ELEMENT* gradient;  // softmax - onehot; may be the logits' memory; null when nobody wants it
    i32 classes, wide_targets, is_vector, keeps;
};

__device__ __forceinline__ i64 target_of(const void* targets, i32 wide, i64 row) { return wide ? ((const i64*)targets)[row] : ((const i32*)targets)[row]; }

__device__ __forceinline__ float exp_below(float x, float max) {
    float d = x - max;
    return d < kNegligible ? 0.0f : exp2_fast(d * kLog2E);
}

// What a thread reads of a row at a time: 16 bytes, or one element where rows begin anywhere.
struct Single {
    static constexpr int N = 1;
    ELEMENT x;
    __device__ __forceinline__ float operator[](int) const { return to_float(x); }
    __device__ __forceinline__ void set(const float (&y)[1]) { x = from_float<ELEMENT>(y[0]); }
};

__device__ __forceinline__ void read(Columns<ELEMENT>& x, const ELEMENT* p) { x = load_columns<true>(p, 1); }
__device__ __forceinline__ void read(Single& x, const ELEMENT* p) { x.x = *p; }
__device__ __forceinline__ void write(ELEMENT* p, const Columns<ELEMENT>& x) { store_columns<true>(p, 1, x); }
__device__ __forceinline__ void write(ELEMENT* p, const Single& x) { *p = x.x; }

// A thread's largest value and its sum of e^(x - largest), over what it has seen. NaN counts in the sum only.
struct Running {
    float max, sum;
    template <class Piece> __device__ __forceinline__ void add(const Piece& x) {
        float most = x[0];
#pragma unroll
        for (int i = 1; i < Piece::N; i++) most = fmaxf(most, x[i]);
        if (most > max) {
            // The sum is still zero when the maximum is -infinity, whose own exponential would be NaN.
            if (sum != 0) sum *= exp2_fast((max - most) * kLog2E);
            max = most;
        }
        float base = max == -kInfinity ? 0.0f : max;
#pragma unroll
        for (int i = 0; i < Piece::N; i++) sum += exp2_fast((x[i] - base) * kLog2E);
    }
};

// A thread's next pieces of a row, of which it has every blockDim.x-th from "first".
template <class Piece> __device__ __forceinline__ void read_pieces(Piece (&x)[kUnroll], const ELEMENT* row, int first, int pieces) {
#pragma unroll
    for (int u = 0; u < kUnroll; u++)
        if (first + u * (int)blockDim.x < pieces) read(x[u], row + (i64)(first + u * (int)blockDim.x) * Piece::N);
}

template <class Piece> __device__ __forceinline__ void cross_entropy(const CrossEntropyArguments& a, float* scratch, Piece* kept) {
    constexpr int N = Piece::N;
    i64 row = blockIdx.x;
    const ELEMENT* logits = a.logits + row * a.classes;
    ELEMENT* gradient = a.gradient + row * a.classes;
    int pieces = a.classes / N, threads = blockDim.x, thread = threadIdx.x;
    float y[N];
    // Of most rows that is all, and it is on its way before the target says whether it is wanted.
    Piece x[kUnroll];
    read_pieces(x, logits, thread, pieces);
    const i64 target = target_of(a.targets, a.wide_targets, row);
    if (target == a.ignore_index) {
        if (thread == 0) a.losses[row] = 0;
        if (!a.gradient) return;
        Piece zero;
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = 0;
        zero.set(y);
        for (int at = thread; at < pieces; at += threads) write(gradient + (i64)at * N, zero);
        return;
    }
    // A target that is no class gives NaN: the host checks those that it sees.
    bool is_class = target >= 0 && target < a.classes;
    float chosen = is_class ? to_float(logits[target]) : bits_to_float(0x7FC00000);
    Running running = {-kInfinity, 0};
    for (int first = thread; first < pieces; first += kUnroll * threads) {
        if (first > thread) read_pieces(x, logits, first, pieces);
#pragma unroll
        for (int u = 0; u < kUnroll; u++) {
            if (first + u * threads >= pieces) continue;
            if (a.keeps) kept[first + u * threads] = x[u];
            running.add(x[u]);
        }
    }
    float max = block_max(running.max, scratch);
    // A thread without a value has a maximum of -infinity; so has the whole row when it is that, and then everything is NaN.
    float sum = block_sum(running.sum == 0 && max != -kInfinity ? 0.0f : running.sum * exp2_fast((running.max - max) * kLog2E), scratch);
    if (thread == 0) {
        a.losses[row] = logf(sum) + (max - chosen);
        if (a.statistics) {
            a.statistics[2 * row] = max;
            a.statistics[2 * row + 1] = 1 / sum;
        }
    }
    if (!a.gradient) return;
    float factor = 1 / sum;
    int target_piece = is_class ? (int)target / N : -1, place = is_class ? (int)target % N : -1;
    for (int first = thread; first < pieces; first += kUnroll * threads) {
#pragma unroll
        for (int u = 0; u < kUnroll; u++) {
            if (first + u * threads >= pieces) continue;
            if (a.keeps) x[u] = kept[first + u * threads];
            else read(x[u], logits + (i64)(first + u * threads) * N);
        }
#pragma unroll
        for (int u = 0; u < kUnroll; u++) {
            int at = first + u * threads, here = at == target_piece ? place : -1;
            if (at >= pieces) continue;
#pragma unroll
            for (int i = 0; i < N; i++) {
                y[i] = exp_below(x[u][i], max) * factor;
                if (i == here) y[i] -= 1;
            }
            x[u].set(y);
            write(gradient + (i64)at * N, x[u]);
        }
    }
}

KERNEL(cross_entropy_rows, CrossEntropyArguments, 512, 2) {
    DYNAMIC_SHARED(kept);
    __shared__ float scratch[32];
    if (a.is_vector) cross_entropy(a, scratch, (Columns<ELEMENT>*)kept);
    else cross_entropy(a, scratch, (Single*)kept);
}

struct CrossEntropyBackwardArguments {
    const ELEMENT* logits;
    const void* targets;
    i64 ignore_index;
    const float* statistics;
    const void* loss_gradient;  // a scalar of either precision
    double scale;
    i32 classes, wide_targets, aligned, loss_gradient_is_double;
    Target gradient;
};

template <bool ALIGNED> __device__ __forceinline__ void differentiate(const CrossEntropyBackwardArguments& a) {
    constexpr int N = kVector<ELEMENT>;
    i64 row = blockIdx.x, target = target_of(a.targets, a.wide_targets, row), start = row * a.classes;
    bool is_ignored = target == a.ignore_index;
    if (is_ignored && a.gradient.accumulate) return;
    float factor = (float)(a.scale * (a.loss_gradient_is_double ? *(const double*)a.loss_gradient : (double)*(const float*)a.loss_gradient));
    float max = is_ignored ? 0 : a.statistics[2 * row], reciprocal = is_ignored ? 0 : a.statistics[2 * row + 1];
    for (i64 column = (i64)threadIdx.x * N; column < a.classes; column += (i64)blockDim.x * N) {
        int left = a.classes - (int)column;
        float y[N];
        if (is_ignored) {
#pragma unroll
            for (int i = 0; i < N; i++) y[i] = 0;
        } else {
            Columns<ELEMENT> x = load_columns<ALIGNED>(a.logits + start + column, left);
#pragma unroll
            for (int i = 0; i < N; i++) {
                y[i] = exp_below(x[i], max) * (reciprocal * factor);
                if (column + i == target) y[i] -= factor;
            }
        }
        write_columns<ALIGNED, ELEMENT>(a.gradient, start + column, left, y);
    }
}

KERNEL(cross_entropy_backward, CrossEntropyBackwardArguments, 256, 4) {
    if (a.aligned) differentiate<true>(a);
    else differentiate<false>(a);
}

struct LossSumArguments {
    const double* losses;
    i64 rows;
    double scale;
    float* loss;
};

// One block: the order of the sum depends on the number of rows alone.
KERNEL(sum_losses, LossSumArguments, 1024, 1) {
    __shared__ double scratch[32];
    double sum = 0;
    for (i64 row = threadIdx.x; row < a.rows; row += blockDim.x) sum += a.losses[row];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *a.loss = (float)(sum * a.scale);
}

struct NarrowArguments {
    const double* from;
    float* to;
};

// A scalar in the precision that matrix products take their factor in.
KERNEL(narrow_scalar, NarrowArguments, 32, 1) {
    if (threadIdx.x == 0) *a.to = (float)*a.from;
}
