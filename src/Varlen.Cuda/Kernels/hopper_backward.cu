// Variable-length attention backward on compute capability 9.0a, in one pass over the scores. A block owns 128 keys of one sequence and key head
// and goes over the queries that see any of them, for every query head of the group. Scores are computed transposed (keys by queries), so that
// the weights come out of the tensor cores in the form in which the next product takes them from registers; only the scores' gradient goes
// through shared memory, for the gradient of the queries, which is added up in a single-precision workspace by the copy engine.
#include "kernel.cuh"
#include "hopper.cuh"
#include "hopper_tiles.cuh"
#include "attention_rows.cuh"

constexpr int kDim = HEAD_DIM, kPanels = kDim / 64, kKeys = 128, kQueries = kDim == 64 ? 128 : 64;
constexpr int kGroups = 2, kStages = 2, kThreads = 128 * (kGroups + 1);
constexpr int kKeyBytes = kKeys * kDim * 2, kQueryBytes = kQueries * kDim * 2, kScoreBytes = kQueries * kKeys * 2, kPartBytes = 64 * 64 * 4, kRowBytes = kQueries * 4;
constexpr int kScores = kQueries / 2, kOutputs = kDim / 2;

// --- before: what a row's weights need ---

struct Sequence {
    i32 query_start, queries;
    i32 padded_start;  // first row of the sequence where each begins at a multiple of kQueries
    i32 padding;
};

struct HopperPrepareArguments {
    const ELEMENT* output;
    const ELEMENT* output_gradient;  // null: none came
    const float* lse;                // [heads, tokens]
    const float* lse_gradient;       // the same; null: none came
    float* row_lse;                  // [heads, padded rows]: base 2, +infinity for rows without a key or beyond their sequence, so that weights are 0
    float* row_delta;                // [heads, padded rows]
    float* workspace;                // [heads, padded rows, kDim], to be set to 0
    const Sequence* sequences;
    const i32* block_sequence;       // sequence of each block of kQueries padded rows; -1: of none
    i64 output_token, output_head, gradient_token, gradient_head, lse_stride, lse_gradient_stride, padded_rows;
    i32 heads, padding;
};

// A row's features lie in kLanes lanes, 16 bytes in each.
KERNEL(hopper_backward_prepare, HopperPrepareArguments, 256, 4) {
    constexpr int kLanes = kDim / 8;
    const int block = blockIdx.x / a.heads, head = blockIdx.x % a.heads, lane = threadIdx.x % kLanes;
    if (a.block_sequence[block] < 0) return;
    const Sequence s = a.sequences[a.block_sequence[block]];
#pragma unroll
    for (int r = threadIdx.x / kLanes; r < kQueries; r += 256 / kLanes) {
        const i64 padded = (i64)block * kQueries + r;
        const int row = (int)(padded - s.padded_start);
        float delta = 0, lse = kInfinity;
        if (row < s.queries) {
            const i64 token = s.query_start + row;
            const float natural = a.lse[head * a.lse_stride + token];
            if (natural != -kInfinity) {
                lse = natural * kLog2E;
                if (a.output_gradient) {
                    const Vec<ELEMENT, 8> x = load<8>(a.output + token * a.output_token + head * a.output_head + 8 * lane);
                    const Vec<ELEMENT, 8> y = load<8>(a.output_gradient + token * a.gradient_token + head * a.gradient_head + 8 * lane);
#pragma unroll
                    for (int i = 0; i < 8; i++) delta += to_float(x[i]) * to_float(y[i]);
                }
                if (a.lse_gradient && lane == 0) delta -= a.lse_gradient[head * a.lse_gradient_stride + token];
            }
        }
#pragma unroll
        for (int mask = 1; mask < kLanes; mask *= 2) delta += shuffle_xor(delta, mask);
        if (lane == 0) {
            a.row_lse[head * a.padded_rows + padded] = lse;
            a.row_delta[head * a.padded_rows + padded] = delta;
        }
        Vec<float, 4>* workspace = (Vec<float, 4>*)(a.workspace + (head * a.padded_rows + padded) * kDim + 8 * lane);
        workspace[0] = workspace[1] = Vec<float, 4>{};
    }
}

// --- the pass ---

struct HopperBackwardArguments {
    TensorMap query, key, value, output_gradient;
    const Tile* tiles;
    const float* row_lse;
    const float* row_delta;
    float* query_gradient;  // workspace [heads, blocks of kQueries padded rows, 2 parts, 64 rows, 64 features], zero at first
    Rows key_gradient, value_gradient;
    i64 padded_rows;
    i32 key_heads, group;
    i32 left, right;
    i32 query_rows, key_rows;  // row counts of the ragged maps
    float scale;
    i32 padding;
};

KERNEL(hopper_backward, HopperBackwardArguments, kThreads, 1) {
    DYNAMIC_SHARED(memory);
    __shared__ u64 barriers[1 + 3 * kStages];
    int key_head;
    const Tile t = a.tiles[find_tile(a.tiles, a.key_heads, key_head)];
    if (is_idle(t)) return;
    const int thread = threadIdx.x, group = thread / 128;
    const int per_head = max_of(0, t.block_end - t.block_begin), steps = per_head * a.group;
    const u32 base = shared_address(memory), key = base, value = key + kKeyBytes, query = value + kKeyBytes, gradient = query + kStages * kQueryBytes;
    const u32 score = gradient + kStages * kQueryBytes, part = score + 2 * kScoreBytes, rows = part + kGroups * kPartBytes;
    const u32 keys_full = shared_address(barriers), query_full = keys_full + 8, gradient_full = query_full + 8 * kStages, empty = gradient_full + 8 * kStages;
    // Heads outermost, so that one head's queries stay in the cache while a sequence's tiles pass over them.
    auto load_step = [&](int i) {
        const int slot = i % kStages, head = key_head * a.group + i / per_head, block = t.block_begin + i % per_head, first = a.query_rows - t.queries + block * kQueries;
        const i64 row = head * a.padded_rows + t.padded_start + block * kQueries;
        barrier_expect(query_full + 8 * slot, kQueryBytes + kRowBytes);
        for (int p = 0; p < kPanels; p++) tile_load(query + slot * kQueryBytes + p * kQueries * 128, a.query, query_full + 8 * slot, 64 * p, first, head, t.query_end);
        bulk_load(rows + 2 * slot * kRowBytes, a.row_lse + row, kRowBytes, query_full + 8 * slot);
        barrier_expect(gradient_full + 8 * slot, kQueryBytes + kRowBytes);
        for (int p = 0; p < kPanels; p++) tile_load(gradient + slot * kQueryBytes + p * kQueries * 128, a.output_gradient, gradient_full + 8 * slot, 64 * p, first, head, t.query_end);
        bulk_load(rows + (2 * slot + 1) * kRowBytes, a.row_delta + row, kRowBytes, gradient_full + 8 * slot);
    };
    if (thread == 0) {
        barrier_init(keys_full, 1);
        for (int i = 0; i < kStages; i++) {
            barrier_init(query_full + 8 * i, 1);
            barrier_init(gradient_full + 8 * i, 1);
            barrier_init(empty + 8 * i, 4 * kGroups);
        }
        fence_async();
        if (steps > 0) {
            barrier_expect(keys_full, 2 * kKeyBytes);
            for (int p = 0; p < kPanels; p++) {
                tile_load(key + p * kKeys * 128, a.key, keys_full, 64 * p, a.key_rows - t.keys + t.first, key_head, t.key_end);
                tile_load(value + p * kKeys * 128, a.value, keys_full, 64 * p, a.key_rows - t.keys + t.first, key_head, t.key_end);
            }
            for (int i = 0; i < kStages && i < steps; i++) load_step(i);
        }
    }
    block_sync();
    if (group == kGroups) {
        registers_lower<24>();
        if (thread == 128 * kGroups)
            for (int i = kStages; i < steps; i++) {
                jitter(i);
                barrier_wait(empty + 8 * (i % kStages), (i / kStages - 1) & 1);
                load_step(i);
            }
        return;
    }
    registers_raise<240>();

    const int lane = thread & 31, warp = thread / 32 % 4, local = 64 * group + 16 * warp + lane / 4, key_row = t.first + local, column = 2 * (lane & 3);
    float dk[kOutputs], dv[kOutputs];
#pragma unroll
    for (int i = 0; i < kOutputs; i++) dk[i] = dv[i] = 0;
    // The queries that see this thread's two keys.
    auto low = [&](int k) { return a.right < 0 ? 0 : (int)min_of<i64>(t.queries, max_of<i64>(0, (i64)k - t.shift - a.right)); };
    auto high = [&](int k) { return k >= t.keys ? 0 : a.left < 0 ? t.queries : (int)min_of<i64>(t.queries, max_of<i64>(0, (i64)k - t.shift + a.left + 1)); };
    const int low0 = low(key_row), low1 = low(key_row + 8), count0 = max_of(0, high(key_row) - low0), count1 = max_of(0, high(key_row + 8) - low1);
    // Query blocks in between see every key of the tile.
    const int last_key = t.first + kKeys - 1;
    const bool whole_keys = last_key < t.keys;
    const int whole_begin = low(last_key), whole_end = high(t.first);
    const float c = a.scale * kLog2E;
    if (steps > 0) barrier_wait(keys_full, 0);

#pragma unroll 1
    for (int i = 0; i < steps; i++) {
        const int slot = i % kStages, block = t.block_begin + i % per_head;
        const u32 parity = (i / kStages) & 1, q = query + slot * kQueryBytes, g = gradient + slot * kQueryBytes, s_to = score + (i & 1) * kScoreBytes;
        float s[kScores], ds[kScores];
        jitter(2 * i);
        barrier_wait(query_full + 8 * slot, parity);
        pin(s);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kDim / 16; k++)
            wgmma<0, 0>(ELEMENT{}, s, matrix_descriptor(key + (k / 4) * kKeys * 128 + group * 64 * 128 + 32 * (k % 4)), matrix_descriptor(q + (k / 4) * kQueries * 128 + 32 * (k % 4)), k != 0);
        wgmma_commit();
        barrier_wait(gradient_full + 8 * slot, parity);
        pin(ds);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kDim / 16; k++)
            wgmma<0, 0>(ELEMENT{}, ds, matrix_descriptor(value + (k / 4) * kKeys * 128 + group * 64 * 128 + 32 * (k % 4)), matrix_descriptor(g + (k / 4) * kQueries * 128 + 32 * (k % 4)), k != 0);
        wgmma_commit();
        wgmma_wait<1>();
        pin(s);
        const Vec<float, 2>* row_lse = (const Vec<float, 2>*)(memory + (rows - base) + 2 * slot * kRowBytes);
        const Vec<float, 2>* row_delta = (const Vec<float, 2>*)(memory + (rows - base) + (2 * slot + 1) * kRowBytes);
        if (!whole_keys || block * kQueries < whole_begin || (block + 1) * kQueries > whole_end) {
            const u32 from0 = (u32)(block * kQueries + column - low0), from1 = (u32)(block * kQueries + column - low1);
#pragma unroll
            for (int j = 0; j < kScores / 4; j++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    if (from0 + (8 * j + e) >= (u32)count0) s[4 * j + e] = -kInfinity;
                    if (from1 + (8 * j + e) >= (u32)count1) s[4 * j + 2 + e] = -kInfinity;
                }
            }
        }
#pragma unroll
        for (int j = 0; j < kScores / 4; j++) {
            const Vec<float, 2> l = row_lse[4 * j + column / 2];
            s[4 * j] = exp2_fast(fmaf(s[4 * j], c, -l[0]));
            s[4 * j + 1] = exp2_fast(fmaf(s[4 * j + 1], c, -l[1]));
            s[4 * j + 2] = exp2_fast(fmaf(s[4 * j + 2], c, -l[0]));
            s[4 * j + 3] = exp2_fast(fmaf(s[4 * j + 3], c, -l[1]));
        }
        wgmma_wait<0>();
        pin(ds);
        u32 p[kScores / 2], d[kScores / 2];
#pragma unroll
        for (int j = 0; j < kScores / 4; j++) {
            const Vec<float, 2> x = row_delta[4 * j + column / 2];
            p[2 * j] = pack(ELEMENT{}, s[4 * j], s[4 * j + 1]);
            p[2 * j + 1] = pack(ELEMENT{}, s[4 * j + 2], s[4 * j + 3]);
            d[2 * j] = pack(ELEMENT{}, s[4 * j] * (ds[4 * j] - x[0]), s[4 * j + 1] * (ds[4 * j + 1] - x[1]));
            d[2 * j + 1] = pack(ELEMENT{}, s[4 * j + 2] * (ds[4 * j + 2] - x[0]), s[4 * j + 3] * (ds[4 * j + 3] - x[1]));
        }
        // dV needs the weights only, so it runs while the scores' gradient is written down.
        pin(dv);
        pin(p);
        pin(d);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kQueries / 16; k++) wgmma<1>(ELEMENT{}, dv, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], matrix_descriptor(g + 2048 * k, kQueries * 128), true);
        wgmma_commit();
        // Each warp turns its 16 keys by kQueries queries around: this warpgroup's keys are one panel of the operand [queries, keys].
#pragma unroll
        for (int j = 0; j < kQueries / 16; j++) {
            // Registers of two 8-query columns: (keys 0-7, 8-15) of the first, then of the second.
            const int q_row = 16 * j + (lane / 16) * 8 + (lane & 7), chunk = 2 * warp + (lane / 8 & 1);
            store_matrix_4_transposed(s_to + group * kQueries * 128 + q_row * 128 + ((chunk ^ (q_row & 7)) << 4), d[4 * j], d[4 * j + 1], d[4 * j + 2], d[4 * j + 3]);
        }
        jitter(2 * i + 1);
        fence_async();
        named_sync(1, 128 * kGroups);
        // 64 queries by 64 features for each warpgroup: the rows are divided at head dim 64, the features at 128.
        float dq[32];
        const u32 query_part = kDim == 64 ? group * 64 * 128 : 0, feature_part = kDim == 64 ? 0 : group * kKeys * 128;
        pin(dq);
        pin(dk);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kKeys / 16; k++)
            wgmma<0, 1>(ELEMENT{}, dq, matrix_descriptor(s_to + (k / 4) * kQueries * 128 + query_part + 32 * (k % 4)), matrix_descriptor(key + feature_part + 2048 * k), k != 0);
        wgmma_commit();
#pragma unroll
        for (int k = 0; k < kQueries / 16; k++) wgmma<1>(ELEMENT{}, dk, d[4 * k], d[4 * k + 1], d[4 * k + 2], d[4 * k + 3], matrix_descriptor(q + 2048 * k, kQueries * 128), true);
        wgmma_commit();
        wgmma_wait<1>();
        pin(dq);
        pin(dv);
        // The part's memory is free when the copy engine has read what was there.
        if (thread % 128 == 0) bulk_wait_read<0>();
        named_sync(2 + group, 128);
        // Rows of 64 floats in groups of eight, exchanged by XOR with the row, so that the rows of a warp meet different banks. The workspace has
        // the same order, which the last kernel undoes.
        const int part_row = 16 * warp + lane / 4;
        u8* to = memory + (part - base) + group * kPartBytes + part_row * 256 + 4 * column;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const int place = (j ^ (part_row & 3)) * 32;
            *(Vec<float, 2>*)(to + place) = Vec<float, 2>{{dq[4 * j], dq[4 * j + 1]}};
            *(Vec<float, 2>*)(to + 8 * 256 + place) = Vec<float, 2>{{dq[4 * j + 2], dq[4 * j + 3]}};
        }
        fence_async();
        named_sync(2 + group, 128);
        if (thread % 128 == 0) {
            const int head = key_head * a.group + i / per_head;
            bulk_add(a.query_gradient + (head * a.padded_rows + t.padded_start + block * kQueries) * kDim + group * 64 * 64, part + group * kPartBytes, kPartBytes);
            bulk_commit();
        }
        wgmma_wait<0>();
        pin(dk);
        pin(d);
        if (lane == 0) barrier_arrive(empty + 8 * slot);
    }

    const i64 token = t.key_end - t.keys + key_row;
#pragma unroll
    for (int j = 0; j < kOutputs / 4; j++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (key_row + 8 * half >= t.keys) continue;
            const int at = 4 * j + 2 * half;
            if (a.key_gradient.data) a.key_gradient.write((token + 8 * half) * a.key_gradient.token + key_head * a.key_gradient.head + 8 * j + column, dk[at] * a.scale, dk[at + 1] * a.scale);
            if (a.value_gradient.data) a.value_gradient.write((token + 8 * half) * a.value_gradient.token + key_head * a.value_gradient.head + 8 * j + column, dv[at], dv[at + 1]);
        }
    }
    if (thread % 128 == 0) bulk_wait<0>();
}

// --- after: the queries' gradient from the workspace ---

struct HopperFinishArguments {
    const float* workspace;
    Rows query_gradient;
    const Sequence* sequences;
    const i32* block_sequence;
    i64 padded_rows;
    i32 heads;
    float scale;
};

KERNEL(hopper_backward_finish, HopperFinishArguments, 256, 4) {
    const int block = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
    if (a.block_sequence[block] < 0) return;
    const Sequence s = a.sequences[a.block_sequence[block]];
    const int first = block * kQueries - s.padded_start;
    const float* from = a.workspace + (head * a.padded_rows + (i64)block * kQueries) * kDim;
#pragma unroll
    for (int i = threadIdx.x; i < kQueries * kDim / 8; i += 256) {
        const int part = i / 512, part_row = i / 8 % 64, eight = i % 8;
        const int row = first + part_row + (kDim == 64 ? 64 * part : 0), feature = 8 * eight + (kDim == 64 ? 0 : 64 * part);
        if (row >= s.queries) continue;
        const Vec<float, 4>* p = (const Vec<float, 4>*)(from + part * 4096 + part_row * 64 + (eight ^ (part_row & 3)) * 8);
        const Vec<float, 4> low = p[0], high = p[1];
        float x[8];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            x[j] = low[j] * a.scale;
            x[4 + j] = high[j] * a.scale;
        }
        a.query_gradient.write((i64)(s.query_start + row) * a.query_gradient.token + head * a.query_gradient.head + feature, x);
    }
}
