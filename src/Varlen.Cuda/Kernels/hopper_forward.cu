// Variable-length attention forward on compute capability 9.0a. A block works on one tile of 64 * GROUPS query rows of one sequence and head; its
// keys come in blocks that the copy engine brings. With one warpgroup the block feeds itself and three blocks share a multiprocessor, which
// suits short and middle lengths; with two or three, a warpgroup of its own feeds the others, which share keys and values (less traffic from
// the second-level cache, which is what bounds long sequences).
//
// While the exponentials of one key block are computed, the tensor cores multiply the probabilities of the block before with its values.
#include "kernel.cuh"
#include "hopper.cuh"
#include "hopper_tiles.cuh"

struct HopperForwardArguments {
    TensorMap query, key, value, output;
    const Tile* tiles;
    float* lse;        // [heads, query tokens]
    i64 lse_stride;
    i32 heads, group;  // query heads, and how many of them share a key head
    i32 left, right;   // window, negative for infinite
    i32 query_rows, key_rows;  // row counts of the ragged maps
    float scale, padding;
};

constexpr int kGroups = GROUPS, kDim = HEAD_DIM, kPanels = kDim / 64, kRows = 64, kKeys = 128;
constexpr bool kFeeds = kGroups > 1;
constexpr int kStages = kDim == 64 ? (kFeeds ? 4 : 2) : 2;
constexpr int kThreads = 128 * (kGroups + (kFeeds ? 1 : 0)), kBlocks = kFeeds ? 1 : 3;
constexpr int kQueryBytes = kRows * kDim * 2, kTileBytes = kKeys * kDim * 2;
// Registers: what is left after the feeding warpgroup has given up its own.
constexpr int kFeedRegisters = kGroups == 3 ? 32 : 24, kWorkRegisters = kGroups == 3 ? 160 : 240;
constexpr int kScores = kKeys / 2, kOutputs = kDim / 2;
// Named barriers: one for each warpgroup's turn on the tensor cores, and one for its epilogue.
constexpr int kTurn = 1, kEpilogue = 4;
// The score of a key that is not seen: minus infinity as one constant, for a negation would be an instruction for each score.
#define kNone bits_to_float(0xFF800000u)

// Shared memory of a block and its barriers, as addresses.
struct Places {
    u32 query, key, value;
    u32 query_full, key_full, value_full, key_empty, value_empty;
};

__device__ __forceinline__ void load_keys(const HopperForwardArguments& a, const Tile& t, const TensorMap& map, u32 to, u32 full, int head, int block) {
    barrier_expect(full, kTileBytes);
#pragma unroll
    for (int p = 0; p < kPanels; p++) tile_load(to + p * kKeys * 128, map, full, 64 * p, a.key_rows - t.keys + block * kKeys, head, t.key_end);
}

// One row pair's running softmax.
struct Softmax {
    float max0, max1, sum0, sum1;
};

// A warpgroup's share of a tile: 64 query rows.
template <bool kMasks> __device__ __forceinline__ void normalise(float (&s)[kScores], Softmax& x, float (&scale_old)[2], float c, int column, int low0, int count0, int low1, int count1) {
    if (kMasks) {
        // One comparison for both ends: below the first key, the difference wraps to a large number.
        const u32 from0 = (u32)(column - low0), from1 = (u32)(column - low1);
#pragma unroll
        for (int j = 0; j < kScores / 4; j++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                if (from0 + (8 * j + i) >= (u32)count0) s[4 * j + i] = kNone;
                if (from1 + (8 * j + i) >= (u32)count1) s[4 * j + 2 + i] = kNone;
            }
        }
    }
    float m0 = x.max0, m1 = x.max1;
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
        m0 = fmaxf(m0, fmaxf(s[4 * j], s[4 * j + 1]));
        m1 = fmaxf(m1, fmaxf(s[4 * j + 2], s[4 * j + 3]));
    }
    m0 = fmaxf(m0, shuffle_xor(m0, 1));
    m0 = fmaxf(m0, shuffle_xor(m0, 2));
    m1 = fmaxf(m1, shuffle_xor(m1, 1));
    m1 = fmaxf(m1, shuffle_xor(m1, 2));
    // A row that has seen no key keeps probabilities of 0 instead of the NaN of infinity minus infinity.
    float b0 = m0 == kNone ? 0 : -m0 * c, b1 = m1 == kNone ? 0 : -m1 * c;
    scale_old[0] = exp2_fast(fmaf(x.max0, c, b0));
    scale_old[1] = exp2_fast(fmaf(x.max1, c, b1));
    float sum0 = 0, sum1 = 0;
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
        s[4 * j] = exp2_fast(fmaf(s[4 * j], c, b0));
        s[4 * j + 1] = exp2_fast(fmaf(s[4 * j + 1], c, b0));
        s[4 * j + 2] = exp2_fast(fmaf(s[4 * j + 2], c, b1));
        s[4 * j + 3] = exp2_fast(fmaf(s[4 * j + 3], c, b1));
        sum0 += s[4 * j] + s[4 * j + 1];
        sum1 += s[4 * j + 2] + s[4 * j + 3];
    }
    x.max0 = m0;
    x.max1 = m1;
    x.sum0 = x.sum0 * scale_old[0] + sum0;
    x.sum1 = x.sum1 * scale_old[1] + sum1;
}

__device__ __forceinline__ void multiply_keys(float (&s)[kScores], u32 query, u32 key) {
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) {
        u32 inner = 32 * (k % 4);
        wgmma<0, 0>(ELEMENT{}, s, matrix_descriptor(query + (k / 4) * kRows * 128 + inner), matrix_descriptor(key + (k / 4) * kKeys * 128 + inner), k != 0);
    }
}

__device__ __forceinline__ void multiply_values(float (&o)[kOutputs], const u32 (&p)[kScores / 2], u32 value) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
        wgmma<1>(ELEMENT{}, o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], matrix_descriptor(value + 2048 * k, kKeys * 128), true);
}

__device__ __forceinline__ void pack_all(u32 (&p)[kScores / 2], const float (&s)[kScores]) {
#pragma unroll
    for (int i = 0; i < kScores / 2; i++) p[i] = pack(ELEMENT{}, s[2 * i], s[2 * i + 1]);
}

// What a thread must know of its two rows: the keys that they see, and its first column.
struct Seen {
    int low0, count0, low1, count1, column, group;
    u32 query;
    int key_head, blocks;
    float c;
};

// Key block i from the right, while the values of the block before are multiplied. Straight from the first product to the last wait: the
// assembler gives up overlapping products around a branch.
template <bool kMasks> __device__ __forceinline__ void step(
    const HopperForwardArguments& a, const Tile& t, const Places& at, const Seen& r, Softmax& x, float (&s)[kScores], float (&o)[kOutputs], u32 (&p)[kScores / 2], int i) {
    const int k = i % kStages, v = (i - 1) % kStages;
    float f[2];
    jitter(i);
    barrier_wait(at.key_full + 8 * k, (i / kStages) & 1);
    barrier_wait(at.value_full + 8 * v, ((i - 1) / kStages) & 1);
    // Warpgroups take turns, so that the exponentials of one run while the tensor cores work for another.
    if (kFeeds) named_sync(kTurn + r.group, 256);
    pin(s);
    pin(o);
    wgmma_fence();
    multiply_keys(s, r.query, at.key + k * kTileBytes);
    wgmma_commit();
    multiply_values(o, p, at.value + v * kTileBytes);
    wgmma_commit();
    if (kFeeds) named_arrive(kTurn + (r.group + 1 == kGroups ? 0 : r.group + 1), 256);
    wgmma_wait<1>();
    pin(s);
    normalise<kMasks>(s, x, f, r.c, (t.block_end - 1 - i) * kKeys + r.column, r.low0, r.count0, r.low1, r.count1);
    wgmma_wait<0>();
    pin(o);
    pin(p);
    if (kFeeds) {
        if (lane_id() == 0) {
            barrier_arrive(at.key_empty + 8 * k);
            barrier_arrive(at.value_empty + 8 * v);
        }
    } else {
        block_sync();
        if (threadIdx.x == 0) {
            if (i - 1 + kStages < r.blocks) load_keys(a, t, a.value, at.value + v * kTileBytes, at.value_full + 8 * v, r.key_head, t.block_end - i - kStages);
            if (i + kStages < r.blocks) load_keys(a, t, a.key, at.key + k * kTileBytes, at.key_full + 8 * k, r.key_head, t.block_end - 1 - i - kStages);
        }
    }
#pragma unroll
    for (int j = 0; j < kOutputs / 4; j++) {
        o[4 * j] *= f[0];
        o[4 * j + 1] *= f[0];
        o[4 * j + 2] *= f[1];
        o[4 * j + 3] *= f[1];
    }
    pack_all(p, s);
}

KERNEL(hopper_forward, HopperForwardArguments, kThreads, kBlocks) {
    DYNAMIC_SHARED(memory);
    __shared__ u64 barriers[1 + 4 * kStages];
    int head;
    const Tile t = a.tiles[find_tile(a.tiles, blockIdx.x, a.heads, head)];
    if (is_idle(t)) return;
    const int key_head = head / a.group;
    const int thread = threadIdx.x, blocks = t.block_end - t.block_begin;
    const u32 base = shared_address(memory), first_barrier = shared_address(barriers);
    const Places at = {base, base + kGroups * kQueryBytes, base + kGroups * kQueryBytes + kStages * kTileBytes,
                       first_barrier, first_barrier + 8, first_barrier + 8 + 8 * kStages, first_barrier + 8 + 16 * kStages, first_barrier + 8 + 24 * kStages};
    // A tile load that starts beyond its sequence faults; one that reaches beyond is filled with zeros.
    const int query_groups = min_of(kGroups, (t.queries - t.first + kRows - 1) / kRows);
    auto load_key = [&](int i) { load_keys(a, t, a.key, at.key + (i % kStages) * kTileBytes, at.key_full + 8 * (i % kStages), key_head, t.block_end - 1 - i); };
    auto load_value = [&](int i) { load_keys(a, t, a.value, at.value + (i % kStages) * kTileBytes, at.value_full + 8 * (i % kStages), key_head, t.block_end - 1 - i); };
    if (thread == 0) {
        barrier_init(at.query_full, 1);
        for (int i = 0; i < kStages; i++) {
            barrier_init(at.key_full + 8 * i, 1);
            barrier_init(at.value_full + 8 * i, 1);
            barrier_init(at.key_empty + 8 * i, 4 * kGroups);
            barrier_init(at.value_empty + 8 * i, 4 * kGroups);
        }
        fence_async();
        if (blocks > 0) {
            barrier_expect(at.query_full, query_groups * kQueryBytes);
            for (int g = 0; g < query_groups; g++)
                for (int p = 0; p < kPanels; p++)
                    tile_load(at.query + g * kQueryBytes + p * kRows * 128, a.query, at.query_full, 64 * p, a.query_rows - t.queries + t.first + kRows * g, head, t.query_end);
            for (int i = 0; i < kStages && i < blocks; i++) {
                load_key(i);
                load_value(i);
            }
        }
    }
    block_sync();

    const int group = thread / 128;
    if (kFeeds) {
        if (group == kGroups) {
            registers_lower<kFeedRegisters>();
            if (thread == 128 * kGroups) {
                for (int i = kStages; i < blocks; i++) {
                    jitter(i);
                    barrier_wait(at.key_empty + 8 * (i % kStages), (i / kStages - 1) & 1);
                    load_key(i);
                    barrier_wait(at.value_empty + 8 * (i % kStages), (i / kStages - 1) & 1);
                    load_value(i);
                }
            }
            return;
        }
        registers_raise<kWorkRegisters>();
        if (group == kGroups - 1) named_arrive(kTurn, 256);
    }

    const int lane = thread & 31, warp = thread / 32 % 4, row = t.first + kRows * group + 16 * warp + lane / 4, column = 2 * (lane & 3);
    const u32 query = at.query + group * kQueryBytes;
    float s[kScores], o[kOutputs], f[2];
    u32 p[kScores / 2];
#pragma unroll
    for (int i = 0; i < kOutputs; i++) o[i] = 0;
    Softmax x = {kNone, kNone, 0, 0};
    // The keys that this thread's two rows see. In 64 bits, because a window may be as wide as an int.
    auto low = [&](int r) { return a.left < 0 ? 0 : (int)max_of<i64>(0, (i64)r + t.shift - a.left); };
    auto high = [&](int r) { return a.right < 0 ? t.keys : (int)min_of<i64>(t.keys, max_of<i64>(0, (i64)r + t.shift + a.right + 1)); };
    const Seen keys = {low(row), max_of(0, high(row) - low(row)), low(row + 8), max_of(0, high(row + 8) - low(row + 8)), column, group, query, key_head, blocks, a.scale * kLog2E};

    if (blocks > 0) {
        // Blocks from the right: those that reach beyond what the tile's first row sees, then those that all rows see whole, then those that begin
        // before what its last row sees.
        const int last = min_of(t.first + kRows * kGroups, t.queries) - 1;
        const int whole_end = high(t.first) / kKeys, whole_begin = (low(last) + kKeys - 1) / kKeys;
        const int masked_right = min_of(blocks, max_of(1, t.block_end - max_of(whole_end, t.block_begin)));
        const int unmasked_end = max_of(masked_right, t.block_end - max_of(whole_begin, t.block_begin));

        barrier_wait(at.query_full, 0);
        barrier_wait(at.key_full, 0);
        pin(s);
        wgmma_fence();
        multiply_keys(s, query, at.key);
        wgmma_commit();
        wgmma_wait<0>();
        pin(s);
        if (kFeeds && lane == 0) barrier_arrive(at.key_empty);
        normalise<true>(s, x, f, keys.c, (t.block_end - 1) * kKeys + column, keys.low0, keys.count0, keys.low1, keys.count1);
        pack_all(p, s);
        if (!kFeeds) {
            block_sync();
            if (thread == 0 && kStages < blocks) load_key(kStages);
        }

        int i = 1;
        // The masked step stands here once for both ends: instructions are fetched too.
#pragma unroll 1
        for (int masked_end = masked_right; i < blocks; masked_end = blocks) {
#pragma unroll 1
            for (; i < masked_end; i++) step<true>(a, t, at, keys, x, s, o, p, i);
#pragma unroll 1
            for (; i < unmasked_end; i++) step<false>(a, t, at, keys, x, s, o, p, i);
        }

        const int v = (blocks - 1) % kStages;
        barrier_wait(at.value_full + 8 * v, ((blocks - 1) / kStages) & 1);
        pin(o);
        wgmma_fence();
        multiply_values(o, p, at.value + v * kTileBytes);
        wgmma_commit();
        wgmma_wait<0>();
        pin(o);
    }

    x.sum0 += shuffle_xor(x.sum0, 1);
    x.sum0 += shuffle_xor(x.sum0, 2);
    x.sum1 += shuffle_xor(x.sum1, 1);
    x.sum1 += shuffle_xor(x.sum1, 2);
    // Not "sum > 0": a NaN must come out as NaN.
    const bool empty0 = x.sum0 == 0, empty1 = x.sum1 == 0;
    const float inverse0 = empty0 ? 0 : 1 / x.sum0, inverse1 = empty1 ? 0 : 1 / x.sum1;
    if ((lane & 3) == 0) {
        float* lse = a.lse + head * a.lse_stride + (t.query_end - t.queries);
        if (row < t.queries) lse[row] = empty0 ? kNone : fmaf(x.max0, a.scale, logf(x.sum0));
        if (row + 8 < t.queries) lse[row + 8] = empty1 ? kNone : fmaf(x.max1, a.scale, logf(x.sum1));
    }
    // The result leaves through the memory of this warpgroup's queries, swizzled as the copy engine reads it.
    const int local = 16 * warp + lane / 4;
#pragma unroll
    for (int j = 0; j < kOutputs / 4; j++) {
        u32 to = (u32)((j / 8) * kRows * 128 + local * 128 + (((j % 8) ^ (local & 7)) << 4) + 2 * column);
        *(u32*)(memory + group * kQueryBytes + to) = pack(ELEMENT{}, o[4 * j] * inverse0, o[4 * j + 1] * inverse0);
        *(u32*)(memory + group * kQueryBytes + to + 8 * 128) = pack(ELEMENT{}, o[4 * j + 2] * inverse1, o[4 * j + 3] * inverse1);
    }
    fence_async();
    named_sync(kEpilogue + group, 128);
    if (thread % 128 == 0 && t.first + kRows * group < t.queries) {
#pragma unroll
        for (int q = 0; q < kPanels; q++) tile_store(a.output, query + q * kRows * 128, 64 * q, a.query_rows - t.queries + t.first + kRows * group, head, t.query_end);
        bulk_commit();
        bulk_wait<0>();
    }
}
