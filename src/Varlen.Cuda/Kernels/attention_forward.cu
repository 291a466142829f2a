// Attention's forward pass: softmax(scores) V, key block by key block with a running maximum and sum (Dao et al., "FlashAttention-2").
// Options: ELEMENT, HEAD_DIM (a bucket; features beyond the real head dim are 0), FEATURES, PAGED (keys lie on pages of a cache).
#include "attention_copy.cuh"
#include "attention_scores.cuh"

#ifndef PAGED
#define PAGED 0
#endif

struct AttentionForwardArguments {
    Problem problem;
    TileList list;  // of queries
    Operand query, key, value, output;
    Statistic lse;
    const i32* pages;  // [sequences, columns], with PAGED
    i32 page_size, columns;
};

// What a warp carries through the key blocks for a slab of 16 rows: its sums so far. What is done with a slab is a function of one, called for each:
// NVRTC leaves a loop over this much work a loop, and "= {}" too, and what a loop indexes lies in local memory.
template <int D> struct Running {
    float output[D / 8][4];
    float maximum[2], sum[2];

    __device__ __forceinline__ void begin() {
        maximum[0] = maximum[1] = -kInfinity;
        sum[0] = sum[1] = 0;
        clear(output);
    }
};

// Scores of a slab, from the products x: weights in their place, and the sums so far brought to the new maximum.
template <class T, int D, int Keys, bool Edge>
__device__ __forceinline__ void weigh(const Problem& p, const Tile& tile, const Scores& scores, Running<D>& running, float (&x)[Keys / 8][4], int row, int first) {
    score<false, Keys, false>(p, scores, x, x, row, first, tile.queries, tile.keys);
    if constexpr (Edge) hide<Keys>(x, keys_of(p, tile, row + lane_id() / 4), keys_of(p, tile, row + lane_id() / 4 + 8), first);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float maximum = running.maximum[i];
#pragma unroll
        for (int n = 0; n < Keys / 8; n++) maximum = max_nan(maximum, max_nan(x[n][2 * i], x[n][2 * i + 1]));
        maximum = max_nan(maximum, shuffle_xor(maximum, 1));
        maximum = max_nan(maximum, shuffle_xor(maximum, 2));
        // A row that has seen nothing yet: any finite number keeps the infinities apart.
        const float base = maximum == -kInfinity ? 0.f : maximum;
        const float shrink = exp2_fast((running.maximum[i] - base) * scores.factor);
        running.maximum[i] = maximum;
        float sum = 0;
        const float offset = base * scores.factor;
#pragma unroll
        for (int n = 0; n < Keys / 8; n++)
#pragma unroll
            for (int e = 2 * i; e < 2 * i + 2; e++) {
                // Single precision wants the difference exact before it is scaled.
                float weight = exp2_fast(sizeof(T) == 4 ? (x[n][e] - base) * scores.factor : fmaf(x[n][e], scores.factor, -offset));
                x[n][e] = weight;
                sum += weight;
            }
        running.sum[i] = running.sum[i] * shrink + sum;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            running.output[n][2 * i] *= shrink;
            running.output[n][2 * i + 1] *= shrink;
        }
    }
    if constexpr (kFeatures)
        if (p.state) {
            const u32 keep = kept_columns<false, Keys>(p, scores, row, first);
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) x[n][e] = keep >> (4 * n + e) & 1 ? x[n][e] : 0.f;
        }
}

// One block of keys, from "first" of the sequence. Edge: some row does not see all of them, and groups of 16 that no row sees are skipped.
template <class T, int D, int Slabs, bool Edge>
__device__ __forceinline__ void add_keys(const Problem& p, const Tile& tile, const Scores& scores, const Shared& s, const LeftRows<T, D, Slabs>& queries,
                                         Running<D> (&running)[Slabs], int row, int last_row, int first, int keys, int values, int scratch) {
    constexpr int kKeys = Shape<T, D>::kForwardKeys;
    int begin = 0, end = kKeys / 16;
    if constexpr (Edge) {
        begin = max_of(0, keys_of(p, tile, row).low - first) / 16;
        end = min_of(kKeys, keys_of(p, tile, last_row).high - first + 15) / 16;
    }
    float x[Slabs][kKeys / 8][4];
    clear(x[0]);
    if constexpr (Slabs == 2) clear(x[1]);
    if constexpr (Edge) multiply_groups<T, D, Slabs, kKeys>(x, s, queries, keys, begin, end);
    else multiply_rows<T, D, Slabs, kKeys>(x, s, queries, keys, 0);
    weigh<T, D, kKeys, Edge>(p, tile, scores, running[0], x[0], row, first);
    if constexpr (Slabs == 1) {
        const Weights<T, kKeys> weights(x[0], s, scratch);
        multiply_across<T, D, kKeys, Edge>(running[0].output, s, weights, scratch, values, 0, begin, end);
    } else {
        weigh<T, D, kKeys, Edge>(p, tile, scores, running[1], x[1], row + 16, first);
        const Weights<T, kKeys> weights0(x[0], s, scratch), weights1(x[1], s, scratch);
#pragma unroll
        for (int step = 0; step < kKeys / kStep<T>; step++) {
            if (Edge && (step < begin || step >= end)) continue;
            Left<T> w0 = weights0.at(s, scratch, step), w1 = weights1.at(s, scratch, step);
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                Right<T> v = load_right_across<T, Shape<T, D>::kChunks>(s, values, step * kStep<T>, 16 * n);
                multiply(running[0].output[2 * n], running[0].output[2 * n + 1], w0, v);
                multiply(running[1].output[2 * n], running[1].output[2 * n + 1], w1, v);
            }
        }
    }
}

// A slab's rows, "rows" of them from "row" of the sequence, go out by way of shared memory at "staged".
template <class T, int D>
__device__ __forceinline__ void put_out(const AttentionForwardArguments& a, const Place& at, const Scores& scores, const Shared& s, const Running<D>& running, int row, int rows, int staged) {
    const Tile& tile = at.tile;
    float factor[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = running.sum[i];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        // A sum of 0 is a row that sees no key; NaN goes on.
        factor[i] = sum == 0 ? 0.f : (kFeatures ? a.problem.keep : 1.f) / sum;
        const int r = lane_id() / 4 + 8 * i;
        if ((lane_id() & 3) == 0 && r < rows)
            *row_of(a.lse, tile, tile.query_start + row + r, at.head) = sum == 0 ? -kInfinity : running.maximum[i] * scores.unit + logf(sum);
    }
    T* to = row_of<T>(a.output, tile, tile.query_start + row, at.head);
    write_rows<T, D>(s, staged, running.output, factor[0], factor[1], a.output, to, rows, a.problem.dim);
}

// All key blocks of this warp's rows, together with the warps it shares keys with.
template <class T, int D, int Slabs, bool Whole> __device__ __forceinline__ void attend(const AttentionForwardArguments& a, const Place& at, const Shared& s) {
    using S = Shape<T, D>;
    constexpr int kRowBytes = D * (int)sizeof(T), kKeys = S::kForwardKeys;
    constexpr int kKeyTiles = S::kRows * S::kSlabs * kRowBytes;
    constexpr int kScratch = kKeyTiles + Ring<T, D, kKeys, Whole>::kBytes;
    const Problem& p = a.problem;
    const Tile& tile = at.tile;
    const int key_head = at.head / (p.query_heads / p.key_heads);

    // The tile's rows, and this warp's of them.
    const int tile_last = tile.first + tile.rows - 1;
    const int row = tile.first + 16 * Slabs * at.warp, rows = min_of(16 * Slabs, tile.first + tile.rows - row), last_row = row + rows - 1;
    const int queries_at = Whole ? 0 : 16 * Slabs * at.warps * at.team * kRowBytes;
    const int warp_queries = queries_at + 16 * Slabs * at.warp * kRowBytes;

    int block = 0, blocks = Whole ? 0 : 1;
    if (Whole && tile.keys > 0) {
        block = keys_of(p, tile, tile.first).low / kKeys;
        blocks = (keys_of(p, tile, tile_last).high + kKeys - 1) / kKeys;
    }
    const T* query = row_of<T>(a.query, tile, tile.query_start + tile.first, at.head);
    const T* key = row_of<T>(a.key, tile, tile.key_start, key_head);
    const T* value = row_of<T>(a.value, tile, tile.key_start, key_head);
    // A small sequence's keys lie in the ring as its queries do in their tile.
#if PAGED
    const PagedRing<T, D, kKeys, Whole> ring({key, value, a.key.token, a.value.token, a.key.vector != 0, a.value.vector != 0, kKeyTiles + queries_at}, a.pages + (i64)tile.sequence * a.columns, a.page_size);
#else
    const Ring<T, D, kKeys, Whole> ring{key, value, a.key.token, a.value.token, a.key.vector != 0, a.value.vector != 0, kKeyTiles + queries_at};
#endif

    const Scores scores = scores_of(p, tile, at.head);
    LeftRows<T, D, Slabs> queries;
    Running<D> running[Slabs];
    running[0].begin();
    if constexpr (Slabs == 2) running[1].begin();
    if (block < blocks) {
        copy_tile<T, D, S::kRows * Slabs, Whole>(s, queries_at, at, query, a.query.token, a.query.vector, tile.rows, p.dim);
        ring.fetch(s.here(), at, block, block, tile.keys, tile.keys, p.dim);
        copy_async_commit();
        copy_async_wait<0>();
        block_sync();
        queries.hold(s, warp_queries);
    }
    // Where every row of the warp sees all keys, and where any row sees one.
    const Bounds head = keys_of(p, tile, row), tail = keys_of(p, tile, last_row);
    for (; block < blocks; block++) {
        if (block + 1 < blocks) {
            ring.fetch(s.here(), at, block + 1, block + 1, tile.keys, tile.keys, p.dim);
            copy_async_commit();
        }
        jitter(block);
        const int first = block * kKeys, slot = ring.slot(block);
        const int scratch = kScratch + 16 * kKeys * 4 * (int)(threadIdx.x / 32);
        if (rows > 0 && first < tail.high && first + kKeys > head.low) {
            if (kPlainPath<T> && Whole && first >= tail.low && first + kKeys <= head.high)
                add_keys<T, D, Slabs, !kPlainPath<T>>(p, tile, scores, s.here(), queries, running, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
            else
                add_keys<T, D, Slabs, true>(p, tile, scores, s.here(), queries, running, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
        }
        if (block + 1 < blocks) {
            copy_async_wait<0>();
            block_sync();
        }
    }

    if (rows <= 0) return;
    put_out<T, D>(a, at, scores, s, running[0], row, rows, warp_queries);
    if constexpr (Slabs == 2) put_out<T, D>(a, at, scores, s, running[1], row + 16, rows - 16, warp_queries + 16 * kRowBytes);
}

typedef Shape<ELEMENT, HEAD_DIM> ForwardShape;

// Two blocks a multiprocessor leave a thread the 255 registers that two slabs of 64 or more features take.
KERNEL(attention_forward, AttentionForwardArguments, ForwardShape::kThreads, 2) {
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    const Place at = locate<ForwardShape::kWarps>(a.list, a.problem.query_heads);
    if (at.idle) return;
    // A tile's rows depend on its place in its sequence alone, and so does the way it is computed.
    if (at.warps < ForwardShape::kWarps) attend<ELEMENT, HEAD_DIM, 1, false>(a, at, s);
    else if (ForwardShape::kSlabs == 2 && at.tile.rows > ForwardShape::kRows) attend<ELEMENT, HEAD_DIM, ForwardShape::kSlabs, true>(a, at, s);
    else attend<ELEMENT, HEAD_DIM, 1, true>(a, at, s);
}
