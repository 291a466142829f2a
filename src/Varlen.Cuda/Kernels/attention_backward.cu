// Attention's backward pass. Two kernels, each a plain walk with its results in registers: the first owns queries, the second keys. The
// scores are computed twice, which costs 7 products instead of 5, but no sum ever leaves its warp: no atomics, no single-precision
// workspace to clear and convert, one fixed order of additions, and no barrier between products.
// Options: ELEMENT, HEAD_DIM (a bucket; features beyond the real head dim are 0), FEATURES.
#include "attention_copy.cuh"
#include "attention_scores.cuh"

struct AttentionBackwardArguments {
    Problem problem;
    TileList query_list, key_list;
    Operand query, key, value, output, d_output, d_query, d_key, d_value;
    Statistic lse, d_lse;
    Statistic rows;  // pairs for each query and head, made by the first kernel for the second: log-sum-exp in base 2, and delta
    i32 parts;  // of the second kernel, above 128 features
    i32 unused;
};

// What a row's weights and their gradients need: the log-sum-exp in base 2, +infinity where it sees no key, so that weights become 0; and
// delta = sum(d_output * output) - d_lse.
struct RowTerms { float lse[2], delta[2]; };

template <class T> __device__ __forceinline__ float dot_vector(const T* x, const T* y, bool vector, int count) {
    constexpr int kWidth = kVector<T>;
    float sum = 0;
    if (vector) {
        Vec<T, kWidth> a = load<kWidth>(x), b = load<kWidth>(y);
#pragma unroll
        for (int e = 0; e < kWidth; e++) sum = fmaf(to_float(a[e]), to_float(b[e]), sum);
    } else {
        // The same order of additions.
        for (int e = 0; e < count; e++) sum = fmaf(to_float(x[e]), to_float(y[e]), sum);
    }
    return sum;
}

// Terms of the warp's 16 rows, two lanes a row; kept for the second kernel.
template <class T> __device__ __forceinline__ RowTerms row_terms(const AttentionBackwardArguments& a, const Place& at, int row, int rows) {
    constexpr int kWidth = kVector<T>;
    const int lane = lane_id(), r = lane / 2, dim = a.problem.dim;
    const Tile& tile = at.tile;
    float delta = 0, lse = 0;
    if (r < rows) {
        const i64 token = tile.query_start + row + r;
        if (a.d_output.data) {
            const T *o = row_of<T>(a.output, tile, token, at.head), *g = row_of<T>(a.d_output, tile, token, at.head);
            const bool vector = a.output.vector && a.d_output.vector;
            for (int f = (lane & 1) * kWidth; f < dim; f += 2 * kWidth) delta += dot_vector(o + f, g + f, vector, min_of(kWidth, dim - f));
        }
        lse = *row_of(a.lse, tile, token, at.head);
        lse = lse == -kInfinity ? kInfinity : lse * kLog2E;
    }
    delta += shuffle_xor(delta, 1);
    if (r < rows) {
        const i64 token = tile.query_start + row + r;
        if (a.d_lse.data) delta -= *row_of(a.d_lse, tile, token, at.head);
        if ((lane & 1) == 0) store(row_of(a.rows, tile, token, at.head), Vec<float, 2>{lse, delta});
    }
    RowTerms terms;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int source = 2 * (lane / 4 + 8 * i);
        terms.lse[i] = shuffle(lse, source);
        terms.delta[i] = shuffle(delta, source);
    }
    return terms;
}

// The gradient of a score's product from its weight and the weight's gradient. Hidden links have none, whatever the operands hold.
__device__ __forceinline__ float product_gradient(bool hidden, float weight, float d_weight, float delta, float slope) {
    float d = weight * (d_weight - delta);
    if constexpr (kFeatures) d *= slope;
    return hidden ? 0.f : d;
}

// One block of keys, from "first" of the sequence; see the forward pass.
template <class T, int D, bool Edge>
__device__ __forceinline__ void add_keys(const AttentionBackwardArguments& a, const Place& at, const Scores& scores, const Shared& s, const LeftRows<T, D, 1>& queries, const LeftRows<T, D, 1>& d_outputs,
                                         const RowTerms& terms, float (&d_query)[D / 8][4], int row, int last_row, int first, int keys, int values, int scratch) {
    constexpr int kKeys = Shape<T, D>::kKeys, kGroups = kKeys / 16;
    const Problem& p = a.problem;
    int begin = 0, end = kGroups;
    float x[1][kKeys / 8][4] = {}, y[1][kKeys / 8][4] = {}, slopes[kKeys / 8][4];
    if constexpr (Edge) {
        begin = max_of(0, keys_of(p, at.tile, row).low - first) / 16;
        end = min_of(kKeys, keys_of(p, at.tile, last_row).high - first + 15) / 16;
        multiply_groups<T, D, 1, kKeys>(x, s, queries, keys, begin, end);
        multiply_groups<T, D, 1, kKeys>(y, s, d_outputs, values, begin, end);
    } else {
        multiply_rows<T, D, 1, kKeys>(x, s, queries, keys, 0);
        multiply_rows<T, D, 1, kKeys>(y, s, d_outputs, values, 0);
    }
    score<false, kKeys, true>(p, scores, x[0], slopes, row, first, at.tile.queries, at.tile.keys);
    if constexpr (Edge) hide<kKeys>(x[0], keys_of(p, at.tile, row + lane_id() / 4), keys_of(p, at.tile, row + lane_id() / 4 + 8), first);
    u32 keep = ~0u;
    if constexpr (kFeatures)
        if (p.state) keep = kept_columns<false, kKeys>(p, scores, row, first);
#pragma unroll
    for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float weight = exp2_fast(fmaf(x[0][n][e], scores.factor, -terms.lse[e >> 1]));
            const float d_weight = !kFeatures ? y[0][n][e] : keep >> (4 * n + e) & 1 ? y[0][n][e] * p.keep : 0.f;
            y[0][n][e] = product_gradient((Edge || kFeatures) && x[0][n][e] == -kInfinity, weight, d_weight, terms.delta[e >> 1], slopes[n][e]);
        }
    const Weights<T, kKeys> d_products(y[0], s, scratch);
    multiply_across<T, D, kKeys, Edge>(d_query, s, d_products, scratch, keys, 0, begin, end);
}

template <class T, int D, bool Whole> __device__ __forceinline__ void query_gradients(const AttentionBackwardArguments& a, const Place& at, const Shared& s) {
    using S = Shape<T, D>;
    constexpr int kRowBytes = D * (int)sizeof(T), kTile = S::kRows * kRowBytes, kKeys = S::kKeys;
    constexpr int kScratch = 2 * kTile + Ring<T, D, kKeys, Whole>::kBytes;
    const Problem& p = a.problem;
    const Tile& tile = at.tile;
    const int key_head = at.head / (p.query_heads / p.key_heads);
    const int tile_last = tile.first + tile.rows - 1;
    const int row = tile.first + 16 * at.warp, rows = min_of(16, tile.first + tile.rows - row), last_row = row + rows - 1;
    const int queries_at = Whole ? 0 : 16 * at.warps * at.team * kRowBytes, warp_queries = queries_at + 16 * at.warp * kRowBytes;
    const Ring<T, D, kKeys, Whole> ring{row_of<T>(a.key, tile, tile.key_start, key_head), row_of<T>(a.value, tile, tile.key_start, key_head), a.key.token, a.value.token,
                                 a.key.vector != 0, a.value.vector != 0, 2 * kTile + queries_at};
    int block = 0, blocks = Whole ? 0 : 1;
    if (Whole && tile.keys > 0) {
        block = keys_of(p, tile, tile.first).low / kKeys;
        blocks = (keys_of(p, tile, tile_last).high + kKeys - 1) / kKeys;
    }
    // Nobody wants the gradient: only the rows' terms are computed.
    if (a.d_query.data == nullptr) blocks = 0;
    if (block < blocks) {
        copy_tile<T, D, S::kRows, Whole>(s, queries_at, at, row_of<T>(a.query, tile, tile.query_start + tile.first, at.head), a.query.token, a.query.vector, tile.rows, p.dim);
        copy_tile<T, D, S::kRows, Whole>(s, kTile + queries_at, at, row_of<T>(a.d_output, tile, tile.query_start + tile.first, at.head), a.d_output.token, a.d_output.vector,
                                  a.d_output.data ? tile.rows : 0, p.dim);
        ring.fetch(s.here(), at, block, block, tile.keys, tile.keys, p.dim);
        copy_async_commit();
    }
    const RowTerms terms = row_terms<T>(a, at, row, rows);
    const Scores scores = scores_of(p, tile, at.head);
    LeftRows<T, D, 1> queries, d_outputs;
    float d_query[D / 8][4] = {};
    if (block < blocks) {
        copy_async_wait<0>();
        block_sync();
        queries.hold(s, warp_queries);
        d_outputs.hold(s, kTile + warp_queries);
    }
    const Bounds head = keys_of(p, tile, row), tail = keys_of(p, tile, last_row);
    for (; block < blocks; block++) {
        if (block + 1 < blocks) {
            ring.fetch(s.here(), at, block + 1, block + 1, tile.keys, tile.keys, p.dim);
            copy_async_commit();
        }
        jitter(block);
        const int first = block * kKeys, slot = ring.slot(block), scratch = kScratch + 16 * kKeys * 4 * (int)(threadIdx.x / 32);
        if (rows > 0 && first < tail.high && first + kKeys > head.low) {
            if (kPlainPath<T> && Whole && first >= tail.low && first + kKeys <= head.high)
                add_keys<T, D, !kPlainPath<T>>(a, at, scores, s.here(), queries, d_outputs, terms, d_query, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
            else
                add_keys<T, D, true>(a, at, scores, s.here(), queries, d_outputs, terms, d_query, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
        }
        if (block + 1 < blocks) {
            copy_async_wait<0>();
            block_sync();
        }
    }
    write_rows<T, D>(s, warp_queries, d_query, p.scale, p.scale, a.d_query, row_of<T>(a.d_query, tile, tile.query_start + row, at.head), rows, p.dim);
}

enum { kValuePart = 1, kKeyPart = 2 };

// Chunk queries, "first" of the sequence, "at_row" of the slots: what they add to the gradients of the warp's 16 keys. Rows are keys here
// and columns queries, so that weights and their gradients are born as left operands of the sums over queries.
template <class T, int D, int Chunk, int Parts, bool Edge>
__device__ __forceinline__ void add_queries(const AttentionBackwardArguments& a, const Place& at, const Scores& scores, const Shared& s, const LeftRows<T, D, 1>& keys, const LeftRows<T, D, 1>& values,
                                            float (&d_key)[D / 8][4], float (&d_value)[D / 8][4], int row, int first, int at_row, int queries, int d_outputs, int terms, int scratch) {
    const Problem& p = a.problem;
    float x[1][Chunk / 8][4] = {}, y[1][Chunk / 8][4] = {}, slopes[Chunk / 8][4];
    multiply_rows<T, D, 1, Chunk>(x, s, keys, queries, at_row);
    if constexpr (Parts & kKeyPart) multiply_rows<T, D, 1, Chunk>(y, s, values, d_outputs, at_row);
    score<true, Chunk, true>(p, scores, x[0], slopes, row, first, at.tile.keys, at.tile.queries);
    if constexpr (Edge) hide<Chunk>(x[0], queries_of(p, at.tile, row + lane_id() / 4), queries_of(p, at.tile, row + lane_id() / 4 + 8), first);
    u32 keep = ~0u;
    if constexpr (kFeatures)
        if (p.state) keep = kept_columns<true, Chunk>(p, scores, row, first);
#pragma unroll
    for (int n = 0; n < Chunk / 8; n++) {
        // Log-sum-exp and delta of two queries.
        const Vec<float, 4> t = load<4>((const float*)(s.data + terms) + 2 * (at_row + 8 * n + 2 * ((int)lane_id() & 3)));
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const bool hidden = (Edge || kFeatures) && x[0][n][e] == -kInfinity;
            const float weight = exp2_fast(fmaf(x[0][n][e], scores.factor, -t[2 * (e & 1)]));
            const float d_weight = !kFeatures ? y[0][n][e] : keep >> (4 * n + e) & 1 ? y[0][n][e] * p.keep : 0.f;
            y[0][n][e] = product_gradient(hidden, weight, d_weight, t[2 * (e & 1) + 1], slopes[n][e]);
            x[0][n][e] = hidden || (kFeatures && !(keep >> (4 * n + e) & 1)) ? 0.f : weight;
        }
    }
    if constexpr (Parts & kValuePart) {
        const Weights<T, Chunk> weights(x[0], s, scratch);
        multiply_across<T, D, Chunk, false>(d_value, s, weights, scratch, d_outputs, at_row, 0, 0);
    }
    if constexpr (Parts & kKeyPart) {
        const Weights<T, Chunk> d_products(y[0], s, scratch);
        multiply_across<T, D, Chunk, false>(d_key, s, d_products, scratch, queries, at_row, 0, 0);
    }
}

template <class T, int D, int Parts, bool Whole> __device__ __forceinline__ void key_gradients(const AttentionBackwardArguments& a, const Place& at, const Shared& s) {
    using S = Shape<T, D>;
    constexpr int kRowBytes = D * (int)sizeof(T), kTile = S::kRows * kRowBytes, kQueries = S::kQueries;
    // A small sequence of 16 queries has no more rows of its own.
    constexpr int kChunk = Whole ? S::kChunk : 16;
    constexpr int kTerms = 2 * kTile + Ring<T, D, kQueries, Whole>::kBytes, kScratch = kTerms + 2 * kQueries * 8;
    const Problem& p = a.problem;
    const Tile& tile = at.tile;
    const int group = p.query_heads / p.key_heads;
    const int row = tile.first + 16 * at.warp, rows = min_of(16, tile.first + tile.rows - row);
    const int keys_at = Whole ? 0 : 16 * at.warps * at.team * kRowBytes, warp_keys = keys_at + 16 * at.warp * kRowBytes;
    // Blocks of queries that see any of the tile's keys, for each head of the group.
    int begin = 0, blocks = Whole ? 0 : 1;
    if (Whole && tile.queries > 0) {
        begin = queries_of(p, tile, tile.first).low / kQueries;
        blocks = max_of(0, (queries_of(p, tile, tile.first + tile.rows - 1).high + kQueries - 1) / kQueries - begin);
    }
    const int count = blocks * group;
    const T *query = row_of<T>(a.query, tile, tile.query_start, at.head * group), *d_output = row_of<T>(a.d_output, tile, tile.query_start, at.head * group);
    Ring<T, D, kQueries, Whole> ring{query, d_output, a.query.token, a.d_output.token, a.query.vector != 0, a.d_output.vector != 0, 2 * kTile + keys_at};
    const int terms_at = kTerms + (Whole ? 0 : 16 * at.warps * at.team * 8);

    int next_head = 0, next_block = 0;
    // Fetches block "number" of all, which is next_block of next_head.
    const auto fetch = [&](int number) __attribute__((always_inline)) {
        const int index = begin + next_block, first = index * kQueries;
        ring.first = query + next_head * a.query.head;
        ring.second = d_output + next_head * a.d_output.head;
        ring.fetch(s.here(), at, number, index, tile.queries, a.d_output.data ? tile.queries : 0, p.dim);
        const int thread = at.thread(), q = first + thread / 2;
        const float* from = row_of(a.rows, tile, tile.query_start, at.head * group + next_head);
        if (thread < (Whole ? 2 * kQueries : at.threads()))
            copy_async_4(s.address + terms_at + (Whole ? (number & 1) * kQueries * 8 : 0) + thread * 4, from + (q < tile.queries ? q * a.rows.token + (thread & 1) : 0), q < tile.queries ? 4 : 0);
        copy_async_commit();
        if (++next_block == blocks) next_block = 0, next_head++;
    };

    LeftRows<T, D, 1> keys, values;
    float d_key[D / 8][4] = {}, d_value[D / 8][4] = {};
    if (count > 0) {
        copy_tile<T, D, S::kRows, Whole>(s, keys_at, at, row_of<T>(a.key, tile, tile.key_start + tile.first, at.head), a.key.token, a.key.vector, tile.rows, p.dim);
        copy_tile<T, D, S::kRows, Whole>(s, kTile + keys_at, at, row_of<T>(a.value, tile, tile.key_start + tile.first, at.head), a.value.token, a.value.vector, tile.rows, p.dim);
        fetch(0);
        copy_async_wait<0>();
        block_sync();
        keys.hold(s, warp_keys);
        values.hold(s, kTile + warp_keys);
    }
    const Bounds head = queries_of(p, tile, row), tail = queries_of(p, tile, row + rows - 1);
    Scores scores = scores_of(p, tile, at.head * group);
    int block = 0, query_head = 0;
    for (int number = 0; number < count; number++) {
        if (Whole && number + 1 < count) fetch(number + 1);
        jitter(number);
        if (kFeatures && block == 0 && query_head > 0) scores = scores_of(p, tile, at.head * group + query_head);
        const int start = (begin + block) * kQueries, slot = ring.slot(number), terms = terms_at + (Whole ? (number & 1) * kQueries * 8 : 0);
        const int scratch = kScratch + 16 * S::kChunk * 4 * (int)(threadIdx.x / 32);
        if (rows > 0)
#pragma unroll 1
            for (int at_row = 0; at_row < kQueries; at_row += kChunk) {
                const int first = start + at_row;
                if (first >= tail.high || first + kChunk <= head.low) continue;
                if (kPlainPath<T> && Whole && first >= tail.low && first + kChunk <= head.high)
                    add_queries<T, D, kChunk, Parts, !kPlainPath<T>>(a, at, scores, s.here(), keys, values, d_key, d_value, row, first, at_row, slot, slot + 2 * ring.kTile, terms, scratch);
                else
                    add_queries<T, D, kChunk, Parts, true>(a, at, scores, s.here(), keys, values, d_key, d_value, row, first, at_row, slot, slot + 2 * ring.kTile, terms, scratch);
            }
        if (++block == blocks) block = 0, query_head++;
        if (number + 1 < count) {
            if (!Whole) {
                block_sync();
                fetch(number + 1);
            }
            copy_async_wait<0>();
            block_sync();
        }
    }
    if constexpr (Parts & kKeyPart) write_rows<T, D>(s, warp_keys, d_key, p.scale, p.scale, a.d_key, row_of<T>(a.d_key, tile, tile.key_start + row, at.head), rows, p.dim);
    if constexpr (Parts & kValuePart) write_rows<T, D>(s, kTile + warp_keys, d_value, p.keep, p.keep, a.d_value, row_of<T>(a.d_value, tile, tile.key_start + row, at.head), rows, p.dim);
}

typedef Shape<ELEMENT, HEAD_DIM> BackwardShape;

// 168 registers hold what 64 features need, and three blocks hide each other's waits; more features need more.
constexpr int kBackwardBlocks = HEAD_DIM <= 64 && kPlainPath<ELEMENT> ? 3 : 2;

KERNEL(attention_backward_queries, AttentionBackwardArguments, BackwardShape::kThreads, kBackwardBlocks) {
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    const Place at = locate<BackwardShape::kWarps>(a.query_list, a.problem.query_heads);
    if (at.idle) return;
    if (at.warps < BackwardShape::kWarps) query_gradients<ELEMENT, HEAD_DIM, false>(a, at, s);
    else query_gradients<ELEMENT, HEAD_DIM, true>(a, at, s);
}

template <int Parts> __device__ __forceinline__ void key_gradients(const AttentionBackwardArguments& a, const Shared& s) {
    const Place at = locate<BackwardShape::kWarps>(a.key_list, a.problem.key_heads);
    if (at.idle) return;
    if (at.warps < BackwardShape::kWarps) key_gradients<ELEMENT, HEAD_DIM, Parts, false>(a, at, s);
    else key_gradients<ELEMENT, HEAD_DIM, Parts, true>(a, at, s);
}

KERNEL(attention_backward_keys, AttentionBackwardArguments, BackwardShape::kThreads, kBackwardBlocks) {
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    // Above 128 features the sums for keys and values do not fit the registers together. They take a launch each, because both may be added
    // to one tensor's gradient.
    if constexpr (HEAD_DIM <= 128) key_gradients<kKeyPart | kValuePart>(a, s);
    else if (a.parts == kKeyPart) key_gradients<kKeyPart>(a, s);
    else key_gradients<kValuePart>(a, s);
}
