// GELU of input + bias, in its exact and its tanh form, and the gradients of both.
#include "pointwise.cuh"

enum GeluForm : i32 { kExact, kTanh };

// The upper tail of the standard normal distribution over e^(-a^2 / 2), as a polynomial of t = 1 / (1 + a / 4) times t: a function so smooth
// that few terms do. erff and an exponential of their own would cost more instructions than memory leaves time for.
// Single precision: relative error below 2e-7 for a from 0 to 15.
template <class T> __device__ __forceinline__ float tail_series(float t) {
    float p = fmaf(0.02783552135f, t, -0.1626800955f);
    p = fmaf(p, t, 0.3156093329f);
    p = fmaf(p, t, -0.2269314843f);
    p = fmaf(p, t, 0.2155007891f);
    p = fmaf(p, t, 0.02747558179f);
    p = fmaf(p, t, 0.10503097f);
    p = fmaf(p, t, 0.09835330593f);
    return fmaf(p, t, 0.09980606944f);
}
// For results of 16 bits: relative error of the tail below 4.5e-5 for a from 0 to 13 (least maximum, by iterated weighted least squares), which is
// a fifth of half a unit in the last place of f16 at most, and in the positive half far less.
__device__ __forceinline__ float short_tail_series(float t) {
    float p = fmaf(0.2420272201f, t, -0.1049147759f);
    p = fmaf(p, t, 0.1812807161f);
    p = fmaf(p, t, 0.08020131883f);
    return fmaf(p, t, 0.1013884035f);
}
template <> __device__ __forceinline__ float tail_series<bf16>(float t) { return short_tail_series(t); }
template <> __device__ __forceinline__ float tail_series<f16>(float t) { return short_tail_series(t); }

// Cumulative distribution of the standard normal distribution, accurate relative to itself in both tails, and e^(-x^2 / 2).
__device__ __forceinline__ float normal_cdf(float x, float& exponential) {
    exponential = exp2_fast(x * x * -0.72134752f);
    float t = reciprocal_fast(fmaf(fabsf(x), 0.25f, 1.0f)), tail = exponential * (tail_series<ELEMENT>(t) * t);
    return x > 0 ? 1 - tail : tail;
}

constexpr float kTwiceSqrtTwoOverPi = 1.59576912f, kCubic = 0.044715f;

// (1 + tanh u) / 2 is the logistic function of 2u.
__device__ __forceinline__ float tanh_gate(float x) { return sigmoid_fast(x * fmaf(x * x, kCubic * kTwiceSqrtTwoOverPi, kTwiceSqrtTwoOverPi)); }

// The derivative of x cdf(x), and of the tanh form.
template <int N> __device__ __forceinline__ void gradients(i32 form, const float (&dy)[N], const float (&x)[N], float (&dx)[N]) {
    if (form == kExact) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float exponential, cdf = normal_cdf(x[i], exponential);
            dx[i] = dy[i] * fmaf(x[i] * 0.398942280f, exponential, cdf);
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float s = tanh_gate(x[i]), slope = fmaf(x[i] * x[i], 3 * kCubic * kTwiceSqrtTwoOverPi, kTwiceSqrtTwoOverPi);
            dx[i] = dy[i] * (s + x[i] * (s * (1 - s)) * slope);
        }
    }
}

struct Forward {
    static constexpr int kInputs = 2, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&in)[2][N], float (&y)[1][N]) {
        float x[N], unused;
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = in[0][i] + in[1][i];
        if (a.function == kExact) EACH(x[i] * normal_cdf(x[i], unused))
        else EACH(x[i] * tanh_gate(x[i]))
    }
};

struct Backward {
    static constexpr int kInputs = 3, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&in)[3][N], float (&y)[1][N]) {
        float x[N];
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = in[1][i] + in[2][i];
        gradients(a.function, in[0], x, y[0]);
    }
};

POINTWISE(gelu_forward, Forward)
POINTWISE(gelu_backward, Backward)

struct BiasArguments {
    const void *output_gradient, *input, *bias;
    Target input_gradient;
    float* partials;     // [chunks, features]
    i64 rows, chunk_rows;
    i64 output_gradient_stride, input_stride, input_gradient_stride;
    i32 features, form;
    i32 row_threads;     // threads that share a row, a power of two
    i32 column_blocks;   // blocks that share a row
    i32 is_vector;
};

// One row of a thread's columns.
template <int N> __device__ __forceinline__ void bias_row(
    const BiasArguments& a, i64 row, int column, const Raw& raw_dy, const Raw& raw_x, const float (&bias)[N], float (&sums)[N], int left, bool whole) {
    float dy[N], x[N], dx[N];
    unpack<ELEMENT>(raw_dy, dy);
    unpack<ELEMENT>(raw_x, x);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] += bias[i];
    gradients(a.form, dy, x, dx);
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] += dx[i];
    if (a.input_gradient.data) store_part<ELEMENT>(a.input_gradient, row * a.input_gradient_stride + column, dx, left, whole);
}

// The input's gradient, and its sums over a chunk of rows, in one pass: a thread stays in its columns and keeps their sums in registers.
KERNEL(gelu_backward_bias, BiasArguments, 256, 3) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = 2;
    __shared__ float shared[256][N + 1];
    i64 chunk = blockIdx.x / a.column_blocks;
    int place = threadIdx.x & (a.row_threads - 1), lane = threadIdx.x / a.row_threads, lanes = 256 / a.row_threads;
    int block_column = (int)(blockIdx.x - chunk * a.column_blocks) * a.row_threads * N, column = block_column + place * N, left = a.features - column;
    bool whole = a.is_vector && left >= N;
    i64 end = min_of(a.rows, (chunk + 1) * a.chunk_rows);
    float bias[N], sums[N];
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] = 0;
    unpack<T>(load_part((const T*)a.bias + column, left, whole), bias);
    const T *dy = (const T*)a.output_gradient + column, *x = (const T*)a.input + column;
    i64 row = chunk * a.chunk_rows + lane;
    if (whole) {
        for (; row + (U - 1) * lanes < end; row += U * lanes) {
            Raw raw_dy[U], raw_x[U];
#pragma unroll
            for (int u = 0; u < U; u++) {
                raw_dy[u] = load<4>((const u32*)(dy + (row + u * lanes) * a.output_gradient_stride));
                raw_x[u] = load<4>((const u32*)(x + (row + u * lanes) * a.input_stride));
            }
#pragma unroll
            for (int u = 0; u < U; u++) bias_row(a, row + u * lanes, column, raw_dy[u], raw_x[u], bias, sums, left, whole);
        }
    }
    for (; left > 0 && row < end; row += lanes)
        bias_row(a, row, column, load_part(dy + row * a.output_gradient_stride, left, whole), load_part(x + row * a.input_stride, left, whole), bias, sums, left, whole);
#pragma unroll
    for (int i = 0; i < N; i++) shared[threadIdx.x][i] = sums[i];
    block_sync();
    for (int c = threadIdx.x; c < a.row_threads * N && block_column + c < a.features; c += 256) {
        float total = 0;
        for (int l = 0; l < lanes; l++) total += shared[l * a.row_threads + c / N][c % N];
        a.partials[chunk * a.features + block_column + c] = total;
    }
}
