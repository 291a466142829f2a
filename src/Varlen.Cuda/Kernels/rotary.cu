// Rotary position embedding. A block takes a few tokens: it works their cosines and sines out once, in double precision, and turns all heads.
#include "vector.cuh"

constexpr int kMostFrequencies = 256, kTable = 2048;

struct RotaryArguments {
    const void* input;
    Target output;
    const i32* positions;
    i64 tokens, input_token, input_head, output_token, output_head;  // strides
    i32 heads, dim, half;
    i32 interleaved, inverse, is_vector;  // the last: pairs are whole vectors
    i32 tile_tokens;
    i32 chunk_pairs, chunks;     // pairs of a block, and how often they fit into a head
    Divider token_items, head_items, table_pairs;
    double theta;
    double frequencies[kMostFrequencies];  // of the pairs, as far as they fit; the rest is computed here
};

// Reduced by quarter turns in double precision; the rest, at most pi / 4, needs single precision only: absolute error below 1.2e-7.
__device__ __forceinline__ void sine_cosine(double angle, float& sine, float& cosine) {
    double quarters = floor(angle * 0.63661977236758134 + 0.5);
    double rest = fma(quarters, -6.123233995736766e-17, fma(quarters, -1.5707963267948966, angle));
    int quadrant = (int)(quarters - 4 * floor(quarters * 0.25));
    float x = (float)rest, z = x * x;
    float s = fmaf(x * z, fmaf(z, fmaf(z, fmaf(z, 2.7557319e-6f, -1.9841270e-4f), 8.3333333e-3f), -0.16666667f), x);
    float c = fmaf(z, fmaf(z, fmaf(z, fmaf(z, 2.4801587e-5f, -1.3888889e-3f), 4.1666667e-2f), -0.5f), 1.0f);
    sine = quadrant & 1 ? c : s;
    cosine = quadrant & 1 ? s : c;
    if (quadrant & 2) sine = -sine;
    if (quadrant == 1 || quadrant == 2) cosine = -cosine;
}

// Pairs (a, b) = (a c - b s, b c + a s).
__device__ __forceinline__ void turn(float& a, float& b, float c, float s) {
    float y = a * c - b * s;
    b = b * c + a * s;
    a = y;
}

// N pairs of one head: two vectors, half a head apart or neighbours. Both are read before either is written.
template <bool interleaved, bool whole> __device__ __forceinline__ void turn_heads(const RotaryArguments& a, i64 first_token, int first_pair, const float* table) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = 2;
    u32 items = a.tile_tokens * a.token_items.divisor;
    for (u32 item = threadIdx.x; item < items; item += U * 256) {
        Raw low[U], high[U];
        int token[U], head[U], pair[U];
#pragma unroll
        for (int u = 0; u < U; u++) {
            u32 i = item + u * 256, t = a.token_items.divide(i), rest = i - t * a.token_items.divisor, h = a.head_items.divide(rest);
            token[u] = (int)t;
            head[u] = (int)h;
            pair[u] = first_pair + (int)(rest - h * a.head_items.divisor) * N;
            if (i >= items || first_token + t >= a.tokens || pair[u] >= a.half) {
                token[u] = -1;
                continue;
            }
            const T* x = (const T*)a.input + (first_token + t) * a.input_token + h * a.input_head;
            int left = a.half - pair[u];
            if (interleaved) {
                low[u] = load_part(x + 2 * pair[u], 2 * left, whole);
                high[u] = load_part(x + 2 * pair[u] + N, 2 * left - N, whole);
            } else {
                low[u] = load_part(x + pair[u], left, whole);
                high[u] = load_part(x + a.half + pair[u], left, whole);
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            if (token[u] < 0) continue;
            float x[N], y[N];
            unpack<T>(low[u], x);
            unpack<T>(high[u], y);
            const float* angles = table + token[u] * a.chunk_pairs + pair[u] - first_pair;
            alignas(16) float cosines[N], sines[N];
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                *(Vec<float, 4>*)(cosines + i) = load<4>(angles + i);
                *(Vec<float, 4>*)(sines + i) = load<4>(angles + kTable + i);
            }
            if (interleaved) {
#pragma unroll
                for (int i = 0; i < N / 2; i++) {
                    turn(x[2 * i], x[2 * i + 1], cosines[i], sines[i]);
                    turn(y[2 * i], y[2 * i + 1], cosines[N / 2 + i], sines[N / 2 + i]);
                }
            } else {
#pragma unroll
                for (int i = 0; i < N; i++) turn(x[i], y[i], cosines[i], sines[i]);
            }
            i64 out = (first_token + token[u]) * a.output_token + head[u] * a.output_head;
            int left = a.half - pair[u];
            if (interleaved) {
                store_part<T>(a.output, out + 2 * pair[u], x, 2 * left, whole);
                store_part<T>(a.output, out + 2 * pair[u] + N, y, 2 * left - N, whole);
            } else {
                store_part<T>(a.output, out + pair[u], x, left, whole);
                store_part<T>(a.output, out + a.half + pair[u], y, left, whole);
            }
        }
    }
}

KERNEL(rotary, RotaryArguments, 256, 3) {
    __shared__ __align__(16) float table[2 * kTable];
    i64 tile = blockIdx.x / a.chunks, first_token = tile * a.tile_tokens;
    int first_pair = (int)(blockIdx.x - tile * a.chunks) * a.chunk_pairs;
    for (u32 i = threadIdx.x; i < (u32)(a.tile_tokens * a.chunk_pairs); i += 256) {
        u32 token = a.table_pairs.divide(i);
        int pair = first_pair + (int)(i - token * a.table_pairs.divisor);
        float sine = 0, cosine = 0;
        if (first_token + token < a.tokens && pair < a.half) {
            double frequency = pair < kMostFrequencies ? a.frequencies[pair] : pow(a.theta, -2.0 * pair / (2 * a.half));
            sine_cosine(a.positions[first_token + token] * frequency, sine, cosine);
        }
        table[i] = cosine;
        table[kTable + i] = a.inverse ? -sine : sine;
    }
    block_sync();
    if (a.is_vector) {
        if (a.interleaved) turn_heads<true, true>(a, first_token, first_pair, table);
        else turn_heads<false, true>(a, first_token, first_pair, table);
    } else {
        if (a.interleaved) turn_heads<true, false>(a, first_token, first_pair, table);
        else turn_heads<false, false>(a, first_token, first_pair, table);
    }

    // Features that are not turned.
    int rest = a.dim - 2 * a.half;
    if (rest == 0 || first_pair > 0) return;
    for (i64 i = threadIdx.x; i < (i64)a.tile_tokens * a.heads * rest; i += 256) {
        i64 row = i / rest, token = first_token + row / a.heads, head = row % a.heads, feature = 2 * a.half + i % rest;
        if (token < a.tokens)
            a.output.write(token * a.output_token + head * a.output_head + feature, to_float(((const ELEMENT*)a.input)[token * a.input_token + head * a.input_head + feature]));
    }
}
