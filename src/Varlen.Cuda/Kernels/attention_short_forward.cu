// Forward pass of sequences of at most 64 queries and keys. While a block works on one unit, the operands of its next are on their way: two
// slots of queries, keys and values. Options: ELEMENT (16-bit), HEAD_DIM (a bucket; features beyond the real head dim are 0).
#include "attention_short.cuh"

struct ShortForwardArguments {
    ShortProblem problem;
    Rows query, key, value, output;
    float* lse;  // [query heads, tokens]
    i64 lse_head;
};

constexpr int kSlot = 3 * kTile;
// As many as have room for two slots; at 64 features 128 registers hold scores, sums and queries.
constexpr int kBlocks = kDim <= 64 ? 4 : kDim <= 96 ? 3 : 2;

__device__ __forceinline__ void fetch(const ShortForwardArguments& a, const Shared& s, int slot, const Unit& u) {
    const ShortProblem& p = a.problem;
    const int key_head = u.head / (p.query_heads / p.key_heads);
    if (u.sequence.queries > 0 && u.sequence.keys > 0) {
        copy_rows(s, slot, u, a.query, u.sequence.query_start, u.head, u.sequence.queries, p.dim);
        copy_rows(s, slot + kTile, u, a.key, u.sequence.key_start, key_head, u.sequence.keys, p.dim);
        copy_rows(s, slot + 2 * kTile, u, a.value, u.sequence.key_start, key_head, u.sequence.keys, p.dim);
    }
    copy_async_commit();
}

__device__ __forceinline__ void attend(const ShortForwardArguments& a, const Shared& s, int slot, const Unit& u) {
    const ShortProblem& p = a.problem;
    const Sequence& q = u.sequence;
    const int row = u.row(), rows = min_of(16, q.queries - row), tile_row = u.tile_row(), lane = lane_id();
    if (rows <= 0) return;
    // Groups of keys of which any row sees one.
    const int begin = keys_of(p, q, row).low / 16, end = (keys_of(p, q, row + rows - 1).high + 15) / 16;
    const Bounds bounds0 = keys_of(p, q, row + lane / 4), bounds1 = keys_of(p, q, row + lane / 4 + 8);
    const float factor = p.scale * kLog2E;

    float x[kGroups][2][4] = {}, maximum[2] = {-kInfinity, -kInfinity}, sum[2] = {};
    multiply_groups(x, s, slot, tile_row + row, slot + kTile, tile_row, begin, end);
#pragma unroll
    for (int group = 0; group < kGroups; group++)
        if (group >= begin && group < end) {
            hide<16>(x[group], bounds0, bounds1, 16 * group);
#pragma unroll
            for (int e = 0; e < 8; e++) maximum[e >> 1 & 1] = max_nan(maximum[e >> 1 & 1], x[group][e >> 2][e & 3]);
        }
    float offset[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        maximum[i] = max_nan(maximum[i], shuffle_xor(maximum[i], 1));
        maximum[i] = max_nan(maximum[i], shuffle_xor(maximum[i], 2));
        // For a row that sees nothing any finite number keeps the infinities apart.
        offset[i] = maximum[i] == -kInfinity ? 0.f : maximum[i] * factor;
    }
    float output[kDim / 8][4] = {};
#pragma unroll
    for (int group = 0; group < kGroups; group++)
        if (group >= begin && group < end) {
#pragma unroll
            for (int e = 0; e < 8; e++) {
                float& weight = x[group][e >> 2][e & 3];
                weight = exp2_fast(fmaf(weight, factor, -offset[e >> 1 & 1]));
                sum[e >> 1 & 1] += weight;
            }
            multiply_features(output, s, packed(x[group]), slot + 2 * kTile, tile_row + 16 * group);
        }
    float inverse[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sum[i] += shuffle_xor(sum[i], 1);
        sum[i] += shuffle_xor(sum[i], 2);
        // A sum of 0 is a row that sees no key; NaN goes on.
        inverse[i] = sum[i] == 0 ? 0.f : 1.f / sum[i];
        const int r = lane / 4 + 8 * i;
        if ((lane & 3) == 0 && r < rows) a.lse[u.head * a.lse_head + q.query_start + row + r] = sum[i] == 0 ? -kInfinity : fmaf(maximum[i], p.scale, logf(sum[i]));
    }
    write_rows(a.output, output, inverse[0], inverse[1], q.query_start + row, u.head, rows, p.dim);
}

KERNEL(attention_short_forward, ShortForwardArguments, kThreads, kBlocks) {
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    const Work work(a.problem.list, a.problem.query_heads);
    Unit now = work.unit(blockIdx.x), next = work.unit(blockIdx.x + gridDim.x);
    fetch(a, s, 0, now);
    int slot = 0;
#pragma unroll 1
    for (int block = blockIdx.x; block < work.blocks; block += gridDim.x) {
        // The unit's operands are here, and no warp reads the other slot any more.
        copy_async_wait<0>();
        block_sync();
        fetch(a, s.here(), kSlot - slot, next);
        const Unit current = now;
        now = next;
        next = work.unit(block + 2 * gridDim.x);
        jitter(block);
        attend(a, s.here(), slot, current);
        slot = kSlot - slot;
    }
    copy_async_wait<0>();
}
