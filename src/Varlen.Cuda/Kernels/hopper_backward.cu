// Variable-length attention backward on compute capability 9.0a, in one pass over the scores. A block owns 128 keys of one sequence and key head
// and goes over the queries that see any of them, for every query head of the group. Scores are computed transposed (keys by queries), so that
// the weights come out of the tensor cores in the form in which the next product takes them from registers; only the scores' gradient goes
// through shared memory, for the gradient of the queries, which is added up in a single-precision workspace by the copy engine.
//
// Blocks stay on their multiprocessor and draw one tile after the other, in the order of the list. Two warpgroups compute. Of a third, one warp draws
// tiles and feeds the copy engine, which is ahead across the ends of tiles, and two send off what the warpgroups have of the queries' gradient.
#include "hopper_backward.cuh"

// --- before: what a row's weights need ---

// A row's features lie in kLanes lanes, 16 bytes in each.
KERNEL(hopper_backward_prepare, HopperPrepareArguments, 256, 4) {
    constexpr int kLanes = kDim / 8;
    const int block = blockIdx.x / a.heads, head = blockIdx.x % a.heads, lane = threadIdx.x % kLanes;
    if (blockIdx.x == 0 && threadIdx.x == 0) *a.ticket = 0;
    if (a.padded_rows == 0 || a.block_sequence[block] < 0) return;
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

// --- the pass: feeding ---

// Draws a block's next work and hands it on to all of its warps; an idle tile tells them that there is no other.
__device__ __forceinline__ void draw(const HopperBackwardArguments& a, const Shared& s, Ring<kWorks> ring) {
    const u32 ticket = ring.count == 0 ? blockIdx.x : gridDim.x + atomic_add(a.ticket, 1);
    barrier_wait(s.barrier(kWorkEmpty + ring.at()), ring.empty());
    Work& w = s.works[ring.at()];
    if (ticket < (u32)a.works) {
        int head;
        w.tile = a.tiles[find_tile(a.tiles, (int)ticket, a.key_heads, head)];
        w.key_head = head;
    } else {
        w.tile.keys = w.tile.queries = 0;
    }
    barrier_arrive(s.barrier(kWorkFull + ring.at()));
}

__device__ __forceinline__ void load_keys(const HopperBackwardArguments& a, const Work& w, const TensorMap& map, u32 to, u32 full) {
    barrier_expect(full, kKeyBytes);
    for (int p = 0; p < kPanels; p++) tile_load(to + p * kKeys * 128, map, full, 64 * p, a.key_rows - w.tile.keys + w.tile.first, w.key_head, w.tile.key_end);
}

// Rows of queries or of the output's gradient, and a number for each.
__device__ __forceinline__ void load_queries(const HopperBackwardArguments& a, const Work& w, const TensorMap& map, const float* numbers, u32 to, u32 numbers_to, u32 full, int head, int block) {
    barrier_expect(full, kQueryBytes + kRowBytes);
    for (int p = 0; p < kPanels; p++) tile_load(to + p * kQueries * 128, map, full, 64 * p, a.query_rows - w.tile.queries + block * kQueries, head, w.tile.query_end);
    bulk_load(numbers_to, numbers + head * a.padded_rows + w.tile.padded_start + block * kQueries, kRowBytes, full);
}

// One thread. What it asks for is in the order in which memory becomes free.
__device__ __forceinline__ void feed(const HopperBackwardArguments& a, const Shared& s) {
    Ring<2> keys;
    Ring<1> values;
    Ring<kStages> stage;
#pragma unroll 1
    for (Ring<kWorks> work;; work.count++) {
        // Late, so that at the end no block keeps a tile that another could begin; the answer comes while the last step's operands are used.
        draw(a, s, work);
        const Work& w = s.works[work.at()];
        if (is_idle(w.tile)) return;
        int head = w.key_head * a.group, block = w.tile.block_begin;
        const int steps = w.blocks() * a.group;
        if (steps == 0) continue;
        barrier_wait(s.barrier(kKeyEmpty + keys.at()), keys.empty());
        load_keys(a, w, a.key, s.base + kKeyAt + keys.at() * kKeyBytes, s.barrier(kKeyFull + keys.at()));
        keys.count++;
#pragma unroll 1
        for (int i = 0; i < steps; i++) {
            jitter(i);
            const u32 at = stage.at();
            barrier_wait(s.barrier(kStageEmpty + at), stage.empty());
            load_queries(a, w, a.query, a.row_lse, s.base + kQueryAt + at * kQueryBytes, s.base + kRowAt + 2 * at * kRowBytes, s.barrier(kQueryFull + at), head, block);
            load_queries(a, w, a.output_gradient, a.row_delta, s.base + kGradientAt + at * kQueryBytes, s.base + kRowAt + (2 * at + 1) * kRowBytes, s.barrier(kGradientFull + at), head, block);
            stage.count++;
            if (i == 0) {
                barrier_wait(s.barrier(kValueEmpty), values.empty());
                load_keys(a, w, a.value, s.base + kValueAt, s.barrier(kValueFull));
                values.count++;
            }
            // Heads outermost, so that one head's queries stay in the cache while a sequence's tiles pass over them.
            if (++block == w.tile.block_end) {
                block = w.tile.block_begin;
                head++;
            }
        }
    }
}

// --- the pass: sending off ---

// One warp for each warpgroup that computes: adds its parts of the queries' gradient to the workspace.
__device__ __forceinline__ void add_parts(const HopperBackwardArguments& a, const Shared& s, int group) {
    const u32 part = s.base + kPartAt + group * kPartBytes;
#pragma unroll 1
    for (Ring<kWorks> work;; work.count++) {
        barrier_wait(s.barrier(kWorkFull + work.at()), work.full());
        const Work& w = s.works[work.at()];
        if (is_idle(w.tile)) break;
        const int blocks = w.blocks();
#pragma unroll 1
        for (int member = 0; member < a.group; member++) {
            float* to = a.query_gradient + ((w.key_head * a.group + member) * a.padded_rows + w.tile.padded_start + w.tile.block_begin * kQueries) * kDim + group * 64 * 64;
#pragma unroll 1
            for (int i = 0; i < blocks; i++) {
                named_sync(kPartWritten + group, 128 + 32);
                jitter(i);
                if (lane_id() == 0) {
                    bulk_add(to + i * kQueries * kDim, part, kPartBytes);
                    bulk_commit();
                    bulk_wait_read<0>();
                    barrier_arrive(s.barrier(kPartEmpty + group));
                }
            }
        }
        warp_sync();
        if (lane_id() == 0) barrier_arrive(s.barrier(kWorkEmpty + work.at()));
    }
    if (lane_id() == 0) bulk_wait<0>();
}

// --- the pass: computing ---

// The queries that see a key. In 64 bits, because a window may be as wide as an int.
__device__ __forceinline__ int first_query(const HopperBackwardArguments& a, const Tile& t, int key) {
    return a.right < 0 ? 0 : (int)min_of<i64>(t.queries, max_of<i64>(0, (i64)key - t.shift - a.right));
}
__device__ __forceinline__ int query_end(const HopperBackwardArguments& a, const Tile& t, int key) {
    return key >= t.keys ? 0 : a.left < 0 ? t.queries : (int)min_of<i64>(t.queries, max_of<i64>(0, (i64)key - t.shift + a.left + 1));
}

// What a thread must know of where it stands.
struct Place {
    int group, warp, lane, column;
};

// The scores that are not seen become minus infinity. One comparison for both ends: below the first query, the difference wraps to a large number.
// Bounds are found anew each time: few blocks need them, and registers are scarce in all.
__device__ __forceinline__ void hide(float (&s)[kScores], const HopperBackwardArguments& a, const Tile& t, const Place& at, int block) {
    const int key = t.first + 64 * at.group + 16 * at.warp + at.lane / 4, first = block * kQueries + at.column;
    const int low0 = first_query(a, t, key), low1 = first_query(a, t, key + 8);
    const u32 from0 = (u32)(first - low0), count0 = (u32)max_of(0, query_end(a, t, key) - low0), from1 = (u32)(first - low1), count1 = (u32)max_of(0, query_end(a, t, key + 8) - low1);
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            if (from0 + (8 * j + e) >= count0) s[4 * j + e] = -kInfinity;
            if (from1 + (8 * j + e) >= count1) s[4 * j + 2 + e] = -kInfinity;
        }
    }
}

// Keys or values by queries or gradients, both along the features.
__device__ __forceinline__ void multiply_features(float (&x)[kScores], u32 keys, u32 queries) {
#pragma unroll
    for (int k = 0; k < kDim / 16; k++)
        wgmma<0, 0>(ELEMENT{}, x, matrix_descriptor(keys + (k / 4) * kKeys * 128 + 32 * (k % 4)), matrix_descriptor(queries + (k / 4) * kQueries * 128 + 32 * (k % 4)), k != 0);
}

// Weights, or their gradients, by rows of queries.
__device__ __forceinline__ void multiply_queries(float (&x)[kOutputs], const u32 (&w)[kScores / 2], u32 queries) {
#pragma unroll
    for (int k = 0; k < kQueries / 16; k++) wgmma<1>(ELEMENT{}, x, w[4 * k], w[4 * k + 1], w[4 * k + 2], w[4 * k + 3], matrix_descriptor(queries + 2048 * k, kQueries * 128), true);
}

// Each warp turns its 16 keys by kQueries queries around: a warpgroup's keys are one panel of the operand [queries, keys].
__device__ __forceinline__ void store_scores(const u32 (&d)[kScores / 2], u32 to, const Place& at) {
#pragma unroll
    for (int j = 0; j < kQueries / 16; j++) {
        // Registers of two 8-query columns: (keys 0-7, 8-15) of the first, then of the second.
        const int row = 16 * j + (at.lane / 16) * 8 + (at.lane & 7), chunk = 2 * at.warp + (at.lane / 8 & 1);
        store_matrix_4_transposed(to + row * 128 + ((chunk ^ (row & 7)) << 4), d[4 * j], d[4 * j + 1], d[4 * j + 2], d[4 * j + 3]);
    }
}

// 64 queries by 64 features of each warpgroup: the rows are divided at head dim 64, the features at 128.
__device__ __forceinline__ void multiply_scores(float (&dq)[32], u32 scores, u32 keys, int group) {
    const u32 query_part = kDim == 64 ? group * 64 * 128 : 0, feature_part = kDim == 64 ? 0 : group * kKeys * 128;
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
        wgmma<0, 1>(ELEMENT{}, dq, matrix_descriptor(scores + (k / 4) * kQueries * 128 + query_part + 32 * (k % 4)), matrix_descriptor(keys + feature_part + 2048 * k), k != 0);
}

// Rows of 64 floats in groups of eight, exchanged by XOR with the row, so that the rows of a warp meet different banks. The workspace has the same order,
// which the last kernel undoes.
__device__ __forceinline__ void store_part(u8* part, const float (&dq)[32], const Place& at) {
    const int row = 16 * at.warp + at.lane / 4;
    u8* to = part + row * 256 + 4 * at.column;
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const int place = (j ^ (row & 3)) * 32;
        *(Vec<float, 2>*)(to + place) = Vec<float, 2>{{dq[4 * j], dq[4 * j + 1]}};
        *(Vec<float, 2>*)(to + 8 * 256 + place) = Vec<float, 2>{{dq[4 * j + 2], dq[4 * j + 3]}};
    }
}

// One block of queries; whole: each of them sees every key.
__device__ __forceinline__ void step(const HopperBackwardArguments& a, const Shared& sh, const Tile& t, const Place& at, float (&dk)[kOutputs], float (&dv)[kOutputs], u32 key, int block, bool is_whole, bool is_last, u32 count) {
    Ring<kStages> stage{count};
    Ring<1> parts{count};
    const u32 q = sh.base + kQueryAt + stage.at() * kQueryBytes, g = sh.base + kGradientAt + stage.at() * kQueryBytes, scores = sh.base + kScoreAt + (count & 1) * kScoreBytes;
    float s[kScores], ds[kScores];
    jitter(2 * count);
    barrier_wait(sh.barrier(kQueryFull + stage.at()), stage.full());
    pin(s);
    wgmma_fence();
    multiply_features(s, key + at.group * 64 * 128, q);
    wgmma_commit();
    barrier_wait(sh.barrier(kGradientFull + stage.at()), stage.full());
    pin(ds);
    wgmma_fence();
    multiply_features(ds, sh.base + kValueAt + at.group * 64 * 128, g);
    wgmma_commit();
    wgmma_wait<1>();
    pin(s);
    const Vec<float, 2>* row_lse = (const Vec<float, 2>*)(sh.memory + kRowAt + 2 * stage.at() * kRowBytes);
    const Vec<float, 2>* row_delta = (const Vec<float, 2>*)(sh.memory + kRowAt + (2 * stage.at() + 1) * kRowBytes);
    if (!is_whole) hide(s, a, t, at, block);
    const float c = a.scale * kLog2E;
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
        const Vec<float, 2> l = row_lse[4 * j + at.column / 2];
        s[4 * j] = exp2_fast(fmaf(s[4 * j], c, -l[0]));
        s[4 * j + 1] = exp2_fast(fmaf(s[4 * j + 1], c, -l[1]));
        s[4 * j + 2] = exp2_fast(fmaf(s[4 * j + 2], c, -l[0]));
        s[4 * j + 3] = exp2_fast(fmaf(s[4 * j + 3], c, -l[1]));
    }
    wgmma_wait<0>();
    pin(ds);
    if (is_last && at.lane == 0) barrier_arrive(sh.barrier(kValueEmpty));
    u32 p[kScores / 2], d[kScores / 2];
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
        const Vec<float, 2> x = row_delta[4 * j + at.column / 2];
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
    multiply_queries(dv, p, g);
    wgmma_commit();
    store_scores(d, scores + at.group * kQueries * 128, at);
    jitter(2 * count + 1);
    fence_async();
    named_sync(kScoresWritten, 128 * kGroups);
    float dq[32];
    pin(dq);
    pin(dk);
    wgmma_fence();
    multiply_scores(dq, scores, key, at.group);
    wgmma_commit();
    multiply_queries(dk, d, q);
    wgmma_commit();
    wgmma_wait<1>();
    pin(dq);
    pin(dv);
    // The part's memory is free when the copy engine has read what was there.
    barrier_wait(sh.barrier(kPartEmpty + at.group), parts.empty());
    store_part(sh.memory + kPartAt + at.group * kPartBytes, dq, at);
    fence_async();
    named_arrive(kPartWritten + at.group, 128 + 32);
    wgmma_wait<0>();
    pin(dk);
    pin(d);
    if (at.lane == 0) barrier_arrive(sh.barrier(kStageEmpty + stage.at()));
}

__device__ __forceinline__ void compute(const HopperBackwardArguments& a, const Shared& s, int group) {
    const int lane = lane_id();
    const Place at = {group, (int)threadIdx.x / 32 % 4, lane, 2 * (lane & 3)};
    Ring<2> keys;
    u32 count = 0;
#pragma unroll 1
    for (Ring<kWorks> work;; work.count++) {
        barrier_wait(s.barrier(kWorkFull + work.at()), work.full());
        const Work& w = s.works[work.at()];
        if (is_idle(w.tile)) return;
        float dk[kOutputs], dv[kOutputs];
#pragma unroll
        for (int i = 0; i < kOutputs; i++) dk[i] = dv[i] = 0;
        const int first = 64 * group + 16 * at.warp, steps = w.blocks() * a.group;
        if (steps > 0) {
            // Blocks of queries in between see every key of the tile.
            const int last = w.tile.first + kKeys - 1, whole_end = query_end(a, w.tile, w.tile.first) / kQueries;
            const int whole_begin = last < w.tile.keys ? (first_query(a, w.tile, last) + kQueries - 1) / kQueries : whole_end;
            const u32 key = s.base + kKeyAt + keys.at() * kKeyBytes;
            barrier_wait(s.barrier(kKeyFull + keys.at()), keys.full());
            barrier_wait(s.barrier(kValueFull), Ring<1>{keys.count}.full());
            int block = w.tile.block_begin;
            const int end = w.tile.block_end;
#pragma unroll 1
            for (int left = steps; left > 0; left--) {
                step(a, s, w.tile, at, dk, dv, key, block, block >= whole_begin && block < whole_end, left == 1, count);
                count++;
                if (++block == end) block = w.tile.block_begin;
            }
            if (lane == 0) barrier_arrive(s.barrier(kKeyEmpty + keys.at()));
            keys.count++;
        }
        const i64 token = w.tile.key_end - w.tile.keys + w.tile.first + first;
        const int rows = w.tile.keys - w.tile.first - first;
        write_rows(a.key_gradient, dk, a.scale, token, w.key_head, rows);
        write_rows(a.value_gradient, dv, 1.f, token, w.key_head, rows);
        warp_sync();
        if (lane == 0) barrier_arrive(s.barrier(kWorkEmpty + work.at()));
    }
}

KERNEL(hopper_backward, HopperBackwardArguments, kThreads, 1) {
    DYNAMIC_SHARED(memory);
    __shared__ u64 barriers[kBarriers];
    __shared__ Work works[kWorks];
    const Shared s = {memory, shared_address(memory), shared_address(barriers), works};
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
        auto init = [&](int first, int number, int arrivals) {
            for (int i = 0; i < number; i++) barrier_init(s.barrier(first + i), arrivals);
        };
        init(kWorkFull, kWorks, 1);
        init(kWorkEmpty, kWorks, 4 * kGroups + kGroups);
        init(kKeyFull, 2, 1);
        init(kKeyEmpty, 2, 4 * kGroups);
        init(kValueFull, 1, 1);
        init(kValueEmpty, 1, 4 * kGroups);
        init(kQueryFull, 2 * kStages, 1);
        init(kStageEmpty, kStages, 4 * kGroups);
        init(kPartEmpty, kGroups, 1);
        fence_async();
    }
    block_sync();
    if (warp >= 4 * kGroups) {
        registers_lower<40>();
        const int role = warp - 4 * kGroups;
        if (role < kGroups) add_parts(a, s, role);
        else if (role == kGroups && lane_id() == 0) feed(a, s);
        return;
    }
    registers_raise<232>();
    compute(a, s, warp / 4);
}

// --- after: the queries' gradient from the workspace ---

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
