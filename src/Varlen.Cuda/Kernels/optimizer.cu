// Updates of all parameters in one launch, and the norm of all their gradients. Parameters are cut into chunks, a block each; the table of
// chunks lies on the device. What changes from step to step is read from the step state there.
#include "kernel.cuh"

struct Parameter {
    float *master, *gradient, *first, *second;
    void* copy;         // the 16-bit compute copy; null when there is none
    i64 count;
    double weight_decay;
    i32 copy_type, aligned;
};

struct Chunk {
    i32 parameter, number;
};

constexpr int kChunk = 16384;

struct UpdateArguments {
    const Parameter* parameters;
    const Chunk* chunks;
    const StepState* state;
    i64* update_count;
    float* numbers;  // made by the first kernel for the second: see adamw_begin
    double beta1, beta2, epsilon, momentum;
    i32 nesterov, padding;
};

// Applies a rule to each element of a block's chunk: four at a time where all tensors lie at multiples of 16 bytes.
template <int N, class Rule> __device__ __forceinline__ void update_by(const Parameter& p, i64 start, i64 end, const Rule& rule) {
    for (i64 i = start + threadIdx.x * N; i < end; i += blockDim.x * N) {
        Vec<float, N> w = load<N>(p.master + i), g = load<N>(p.gradient + i), m, v;
        if (Rule::kStates > 0 && p.first) m = load<N>(p.first + i);
        if (Rule::kStates > 1) v = load<N>(p.second + i);
#pragma unroll
        for (int j = 0; j < N; j++) rule.apply(w[j], g[j], m[j], v[j], p.first != nullptr);
        store(p.master + i, w);
        if (Rule::kStates > 0 && p.first) store(p.first + i, m);
        if (Rule::kStates > 1) store(p.second + i, v);
        if (p.copy && p.copy_type == kBFloat16) {
            Vec<bf16, N> c;
#pragma unroll
            for (int j = 0; j < N; j++) c[j] = from_float<bf16>(w[j]);
            store((bf16*)p.copy + i, c);
        } else if (p.copy) {
            Vec<f16, N> c;
#pragma unroll
            for (int j = 0; j < N; j++) c[j] = from_float<f16>(w[j]);
            store((f16*)p.copy + i, c);
        }
    }
}

template <class Rule> __device__ __forceinline__ void update(const Parameter& p, i32 number, const Rule& rule) {
    i64 start = (i64)number * kChunk, end = min_of(start + kChunk, p.count), vectors_end = p.aligned ? start + (end - start) / 4 * 4 : start;
    update_by<4>(p, start, vectors_end, rule);
    update_by<1>(p, vectors_end, end, rule);
}

struct AdamWRule {
    static constexpr int kStates = 2;
    float clip, to_mean, beta2, to_square, keep, size, scale, epsilon;
    __device__ __forceinline__ void apply(float& p, float g, float& m, float& v, bool) const {
        g *= clip;
        m += (g - m) * to_mean;
        v = v * beta2 + g * g * to_square;
        p = p * keep - m * size / (sqrtf(v) * scale + epsilon);
    }
};

// Counts the update, and prepares in double precision what depends on the count: step size and the scale of the root.
KERNEL(adamw_begin, UpdateArguments, 32, 1) {
    if (threadIdx.x != 0 || a.state->finite == 0) return;
    i64 count = ++*a.update_count;
    a.numbers[0] = (float)(a.state->learning_rate / (1 - pow(a.beta1, (double)count)));
    a.numbers[1] = (float)(1 / sqrt(1 - pow(a.beta2, (double)count)));
}

KERNEL(adamw_update, UpdateArguments, 256, 4) {
    if (a.state->finite == 0) return;
    Chunk chunk = a.chunks[blockIdx.x];
    const Parameter& p = a.parameters[chunk.parameter];
    AdamWRule rule = {
        (float)a.state->clip_factor, (float)(1 - a.beta1), (float)a.beta2, (float)(1 - a.beta2), (float)(1 - a.state->learning_rate * p.weight_decay), a.numbers[0], a.numbers[1], (float)a.epsilon,
    };
    update(p, chunk.number, rule);
}

struct SgdRule {
    static constexpr int kStates = 1;
    float rate, clip, momentum, decay;
    bool nesterov;
    __device__ __forceinline__ void apply(float& p, float g, float& b, float&, bool gathers) const {
        float direction = g * clip + p * decay;
        if (gathers) {
            b = b * momentum + direction;
            direction = nesterov ? direction + b * momentum : b;
        }
        p -= direction * rate;
    }
};

KERNEL(sgd_begin, UpdateArguments, 32, 1) {
    if (threadIdx.x == 0 && a.state->finite != 0) ++*a.update_count;
}

KERNEL(sgd_update, UpdateArguments, 256, 4) {
    if (a.state->finite == 0) return;
    Chunk chunk = a.chunks[blockIdx.x];
    const Parameter& p = a.parameters[chunk.parameter];
    SgdRule rule = {(float)a.state->learning_rate, (float)a.state->clip_factor, (float)a.momentum, (float)p.weight_decay, a.nesterov != 0};
    update(p, chunk.number, rule);
}

struct GradientNormArguments {
    const Parameter* parameters;
    const Chunk* chunks;
    double* sums;  // one for each chunk
    StepState* state;
    i64 chunk_count;
    double max_norm;
    i32 clips, padding;
};

// The sum of squares of a chunk of a gradient, in double precision.
KERNEL(gradient_squares, GradientNormArguments, 256, 4) {
    __shared__ double scratch[32];
    Chunk chunk = a.chunks[blockIdx.x];
    const Parameter& p = a.parameters[chunk.parameter];
    i64 start = (i64)chunk.number * kChunk, end = min_of(start + kChunk, p.count), vectors_end = p.aligned ? start + (end - start) / 4 * 4 : start;
    double sums[4] = {0, 0, 0, 0};
#pragma unroll 4
    for (i64 i = start + threadIdx.x * 4; i < vectors_end; i += 256 * 4) {
        Vec<float, 4> g = load<4>(p.gradient + i);
#pragma unroll
        for (int j = 0; j < 4; j++) sums[j] += (double)g[j] * (double)g[j];
    }
    for (i64 i = vectors_end + threadIdx.x; i < end; i += 256) sums[0] += (double)p.gradient[i] * (double)p.gradient[i];
    double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), scratch);
    if (threadIdx.x == 0) a.sums[blockIdx.x] = sum;
}

KERNEL(gradient_norm, GradientNormArguments, 1024, 1) {
    __shared__ double scratch[32];
    double sum = 0;
    for (i64 i = threadIdx.x; i < a.chunk_count; i += blockDim.x) sum += a.sums[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0) return;
    double norm = sqrt(sum);
    const double largest = 1.7976931348623157e308;
    bool is_finite = fabs(norm) <= largest && fabs(a.state->loss_sum) <= largest;
    a.state->gradient_norm = norm;
    a.state->finite = is_finite;
    a.state->clip_factor = a.clips && is_finite ? min_of(1.0, a.max_norm / (norm + 1e-6)) : 1.0;
}
