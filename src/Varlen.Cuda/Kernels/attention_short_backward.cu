// Backward pass of sequences of at most 64 queries and keys, in one kernel without workspace and without atomic additions: a block has all
// scores of a sequence and head, so that each sum has one owner and one order. Delta, the sum of a row's weights times their gradients, is
// found from just these, and the forward pass's output is never read.
//
// Warps own queries for the scores, weights and the queries' gradient; weights and the products' gradients pass through shared memory to the
// warps that own the keys. Options: ELEMENT (16-bit), HEAD_DIM (a bucket; features beyond the real head dim are 0), GROUPED (several query
// heads share a key head).
#include "attention_short.cuh"

struct ShortBackwardArguments {
    ShortProblem problem;
    Rows query, key, value, d_output, d_query, d_key, d_value;
    const float *lse, *d_lse;  // [query heads, tokens]; d_lse: null when none came
    i64 lse_head, d_lse_head;
};

// Weights and the products' gradients lie where the values were, which is free once all warps have multiplied them; not when another head of
// the group needs the values again.
constexpr bool kGrouped = GROUPED;
constexpr int kQueries = 0, kGradients = kTile, kKeys = 2 * kTile, kValues = 3 * kTile, kWeights = kGrouped ? 4 * kTile : kValues, kProducts = kWeights + kWeightTile;
// Sums for keys and values live through the heads of a group.
constexpr int kBlocks = kGrouped ? 2 : kDim <= 64 ? 4 : 3;

// The weight of a hidden link: a zero that no exponential is.
#define kHidden bits_to_float(0x80000000u)

// Rows are keys, depth is queries; the tile holds them the other way round.
__device__ __forceinline__ LeftOperand load_left_across(const Shared& s, int tile, int row, int group) {
    const int lane = lane_id();
    LeftOperand x;
    load_matrix_4_transposed(x.r, s.address + tile + place<kWeightChunks>(row + ((lane >> 4) << 3) + (lane & 7), 2 * group, (lane >> 3) & 1));
    return x;
}

// 16 rows by 16 columns of a weights' tile.
__device__ __forceinline__ void store_weights(const Shared& s, int tile, int row, int group, const LeftOperand& x) {
    const int lane = lane_id();
#pragma unroll
    for (int e = 0; e < 4; e++) *(u32*)(s.data + tile + place<kWeightChunks>(row + lane / 4 + 8 * (e & 1), 2 * group, e >> 1) + 4 * (lane & 3)) = x.r[e];
}

// What one query head adds to a warp's 16 keys: weights, transposed, times the rows of a tile, over the queries that see any of the keys.
__device__ __forceinline__ void add_queries(float (&sum)[kDim / 8][4], const Shared& s, int weights, int tile, int tile_row, int key_group, int begin, int end) {
#pragma unroll
    for (int group = 0; group < kGroups; group++)
        if (group >= begin && group < end) multiply_features(sum, s, load_left_across(s, weights, tile_row + 16 * group, key_group), tile, tile_row + 16 * group);
}

__device__ __forceinline__ void work_on(const ShortBackwardArguments& a, const Shared& s, const Unit& u) {
    const ShortProblem& p = a.problem;
    const Sequence& q = u.sequence;
    const int lane = lane_id(), row = u.row(), tile_row = u.tile_row(), group_heads = kGrouped ? p.query_heads / p.key_heads : 1;
    const int queries = min_of(16, q.queries - row), keys = min_of(16, q.keys - row), key_groups = (q.keys + 15) / 16;
    // Groups of keys of which one of the warp's queries sees any, and groups of queries that see any of the warp's keys.
    const int begin = queries <= 0 ? 0 : keys_of(p, q, row).low / 16, end = queries <= 0 ? 0 : (keys_of(p, q, row + queries - 1).high + 15) / 16;
    const int query_begin = keys <= 0 ? 0 : queries_of(p, q, row).low / 16, query_end = keys <= 0 ? 0 : (queries_of(p, q, row + keys - 1).high + 15) / 16;
    // Rows beyond the end see nothing.
    const Bounds bounds0 = lane / 4 < queries ? keys_of(p, q, row + lane / 4) : Bounds{0, 0}, bounds1 = lane / 4 + 8 < queries ? keys_of(p, q, row + lane / 4 + 8) : Bounds{0, 0};
    const float factor = p.scale * kLog2E;
    float d_key[kDim / 8][4] = {}, d_value[kDim / 8][4] = {};

    copy_rows(s, kKeys, u, a.key, q.key_start, u.head, q.queries > 0 ? q.keys : 0, p.dim);
    copy_rows(s, kValues, u, a.value, q.key_start, u.head, q.queries > 0 ? q.keys : 0, p.dim);
#pragma unroll 1
    for (int member = 0; member < group_heads; member++) {
        const int head = u.head * group_heads + member;
        if (kGrouped && member > 0) block_sync();
        copy_rows(s, kQueries, u, a.query, q.query_start, head, q.keys > 0 ? q.queries : 0, p.dim);
        copy_rows(s, kGradients, u, a.d_output, q.query_start, head, q.keys > 0 ? q.queries : 0, p.dim);
        copy_async_commit();
        // A log-sum-exp of +infinity makes the weights of a row without a key 0.
        float lse[2], delta[2] = {};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int r = lane / 4 + 8 * i;
            const i64 token = q.query_start + row + r;
            lse[i] = r < queries ? a.lse[head * a.lse_head + token] : -kInfinity;
            if (a.d_lse && r < queries) delta[i] = -a.d_lse[head * a.d_lse_head + token];
            lse[i] = lse[i] == -kInfinity ? kInfinity : lse[i] * kLog2E;
        }
        copy_async_wait<0>();
        block_sync();
        jitter(2 * member);

        float x[kGroups][2][4] = {}, y[kGroups][2][4] = {}, own[2] = {};
        multiply_groups(x, s.here(), kQueries, tile_row + row, kKeys, tile_row, begin, end);
        multiply_groups(y, s.here(), kGradients, tile_row + row, kValues, tile_row, begin, end);
#pragma unroll
        for (int group = 0; group < kGroups; group++)
            if (group >= begin && group < end) {
                hide<16>(x[group], bounds0, bounds1, 16 * group);
#pragma unroll
                for (int e = 0; e < 8; e++) {
                    float &weight = x[group][e >> 2][e & 3], &gradient = y[group][e >> 2][e & 3];
                    // Hidden links have no gradient, whatever the operands hold.
                    const bool hidden = weight == -kInfinity;
                    weight = exp2_fast(fmaf(weight, factor, -lse[e >> 1 & 1]));
                    if (hidden) weight = kHidden, gradient = 0.f;
                    own[e >> 1 & 1] = fmaf(weight, gradient, own[e >> 1 & 1]);
                }
            }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            own[i] += shuffle_xor(own[i], 1);
            own[i] += shuffle_xor(own[i], 2);
            delta[i] += own[i];
        }
        LeftOperand products[kGroups];
        // Every warp has read the values.
        if (!kGrouped) block_sync();
        if (queries > 0) {
#pragma unroll
            for (int group = 0; group < kGroups; group++)
                if (group < key_groups) {
                    const bool seen = group >= begin && group < end;
                    float d[2][4];
#pragma unroll
                    for (int e = 0; e < 8; e++) {
                        const float weight = x[group][e >> 2][e & 3], gradient = y[group][e >> 2][e & 3];
                        // Whatever delta is.
                        d[e >> 2][e & 3] = !seen || float_bits(weight) == float_bits(kHidden) ? 0.f : weight * (gradient - delta[e >> 1 & 1]);
                    }
                    products[group] = packed(d);
                    store_weights(s, kWeights, tile_row + row, group, packed(x[group]));
                    store_weights(s, kProducts, tile_row + row, group, products[group]);
                }
        }
        block_sync();
        jitter(2 * member + 1);
        if (queries > 0 && a.d_query.data) {
            float d_query[kDim / 8][4] = {};
#pragma unroll
            for (int group = 0; group < kGroups; group++)
                if (group >= begin && group < end) multiply_features(d_query, s.here(), products[group], kKeys, tile_row + 16 * group);
            write_rows(a.d_query, d_query, p.scale, p.scale, q.query_start + row, head, queries, p.dim);
        }
        if (a.d_value.data) add_queries(d_value, s.here(), kWeights, kGradients, tile_row, row / 16, query_begin, query_end);
        // Alone, the sums for values give their registers to those for keys.
        if (!kGrouped && keys > 0) write_rows(a.d_value, d_value, 1.f, 1.f, q.key_start + row, u.head, keys, p.dim);
        if (a.d_key.data) add_queries(d_key, s.here(), kProducts, kQueries, tile_row, row / 16, query_begin, query_end);
    }
    if (keys <= 0) return;
    if (kGrouped) write_rows(a.d_value, d_value, 1.f, 1.f, q.key_start + row, u.head, keys, p.dim);
    write_rows(a.d_key, d_key, p.scale, p.scale, q.key_start + row, u.head, keys, p.dim);
}

KERNEL(attention_short_backward, ShortBackwardArguments, kThreads, kBlocks) {
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    const Work work(a.problem.list, a.problem.key_heads);
    Unit unit = work.unit(blockIdx.x);
#pragma unroll 1
    for (int block = blockIdx.x; block < work.blocks; block += gridDim.x) {
        const Unit next = work.unit(block + gridDim.x);
        work_on(a, s.here(), unit);
        unit = next;
        // No warp reads what the next unit overwrites.
        block_sync();
    }
}
