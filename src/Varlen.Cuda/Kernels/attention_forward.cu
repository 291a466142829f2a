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

// What a warp carries through the key blocks: for each slab of 16 rows its sums so far.
template <int D, int Slabs> struct Running {
    float output[Slabs][D / 8][4];
    float maximum[Slabs][2], sum[Slabs][2];
};

// One block of keys, from "first" of the sequence. Edge: some row does not see all of them, and groups of 16 that no row sees are skipped.
template <class T, int D, int Slabs, bool Edge>
__device__ __forceinline__ void add_keys(const AttentionForwardArguments& a, const Place& at, const Scores& scores, const Shared& s, const LeftRows<T, D, Slabs>& queries,
                                         Running<D, Slabs>& running, int row, int last_row, int first, int keys, int values, int scratch) {
    using S = Shape<T, D>;
    constexpr int kKeys = S::kForwardKeys, kGroups = kKeys / 16;
    const Problem& p = a.problem;
    int begin = 0, end = kGroups;
    if constexpr (Edge) {
        begin = max_of(0, keys_of(p, at.tile, row).low - first) / 16;
        end = min_of(kKeys, keys_of(p, at.tile, last_row).high - first + 15) / 16;
    }
    float x[Slabs][kKeys / 8][4] = {};
    if constexpr (Edge) multiply_groups<T, D, Slabs, kKeys>(x, s, queries, keys, begin, end);
    else multiply_rows<T, D, Slabs, kKeys>(x, s, queries, keys, 0);
#pragma unroll
    for (int slab = 0; slab < Slabs; slab++) {
        const int slab_row = row + 16 * slab;
        score<false, kKeys, false>(p, scores, x[slab], x[slab], slab_row, first, at.tile.queries, at.tile.keys);
        if constexpr (Edge) hide<kKeys>(x[slab], keys_of(p, at.tile, slab_row + lane_id() / 4), keys_of(p, at.tile, slab_row + lane_id() / 4 + 8), first);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float maximum = running.maximum[slab][i];
#pragma unroll
            for (int n = 0; n < kKeys / 8; n++) maximum = max_nan(maximum, max_nan(x[slab][n][2 * i], x[slab][n][2 * i + 1]));
            maximum = max_nan(maximum, shuffle_xor(maximum, 1));
            maximum = max_nan(maximum, shuffle_xor(maximum, 2));
            // A row that has seen nothing yet: any finite number keeps the infinities apart.
            const float base = maximum == -kInfinity ? 0.f : maximum;
            const float shrink = exp2_fast((running.maximum[slab][i] - base) * scores.factor);
            running.maximum[slab][i] = maximum;
            float sum = 0;
            const float offset = base * scores.factor;
#pragma unroll
            for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
                for (int e = 2 * i; e < 2 * i + 2; e++) {
                    // Single precision wants the difference exact before it is scaled.
                    float weight = exp2_fast(sizeof(T) == 4 ? (x[slab][n][e] - base) * scores.factor : fmaf(x[slab][n][e], scores.factor, -offset));
                    x[slab][n][e] = weight;
                    sum += weight;
                }
            running.sum[slab][i] = running.sum[slab][i] * shrink + sum;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                running.output[slab][n][2 * i] *= shrink;
                running.output[slab][n][2 * i + 1] *= shrink;
            }
        }
        if constexpr (kFeatures)
            if (p.state) {
                const u32 keep = kept_columns<false, kKeys>(p, scores, slab_row, first);
#pragma unroll
                for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) x[slab][n][e] = keep >> (4 * n + e) & 1 ? x[slab][n][e] : 0.f;
            }
    }
    if constexpr (Slabs == 1) {
        const Weights<T, kKeys> weights(x[0], s, scratch);
        multiply_across<T, D, kKeys, Edge>(running.output[0], s, weights, scratch, values, 0, begin, end);
    } else {
        const Weights<T, kKeys> weights0(x[0], s, scratch), weights1(x[1], s, scratch);
#pragma unroll
        for (int step = 0; step < kKeys / kStep<T>; step++) {
            if (Edge && (step < begin || step >= end)) continue;
            Left<T> w0 = weights0.at(s, scratch, step), w1 = weights1.at(s, scratch, step);
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                Right<T> v = load_right_across<T, S::kChunks>(s, values, step * kStep<T>, 16 * n);
                multiply(running.output[0][2 * n], running.output[0][2 * n + 1], w0, v);
                multiply(running.output[1][2 * n], running.output[1][2 * n + 1], w1, v);
            }
        }
    }
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
    Running<D, Slabs> running = {};
#pragma unroll
    for (int slab = 0; slab < Slabs; slab++) running.maximum[slab][0] = running.maximum[slab][1] = -kInfinity;
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
                add_keys<T, D, Slabs, !kPlainPath<T>>(a, at, scores, s.here(), queries, running, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
            else
                add_keys<T, D, Slabs, true>(a, at, scores, s.here(), queries, running, row, last_row, first, slot, slot + 2 * ring.kTile, scratch);
        }
        if (block + 1 < blocks) {
            copy_async_wait<0>();
            block_sync();
        }
    }

    if (rows <= 0) return;
#pragma unroll
    for (int slab = 0; slab < Slabs; slab++) {
        float factor[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float sum = running.sum[slab][i];
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            // A sum of 0 is a row that sees no key; NaN goes on.
            factor[i] = sum == 0 ? 0.f : (kFeatures ? p.keep : 1.f) / sum;
            const int r = 16 * slab + lane_id() / 4 + 8 * i;
            if ((lane_id() & 3) == 0 && r < rows)
                *row_of(a.lse, tile, tile.query_start + row + r, at.head) = sum == 0 ? -kInfinity : running.maximum[slab][i] * scores.unit + logf(sum);
        }
        T* to = row_of<T>(a.output, tile, tile.query_start + row + 16 * slab, at.head);
        write_rows<T, D>(s, warp_queries + 16 * slab * kRowBytes, running.output[slab], factor[0], factor[1], a.output, to, rows - 16 * slab, p.dim);
    }
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
