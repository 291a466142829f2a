// Variable-length attention forward on compute capability 9.0a. A block works on one tile of 64 * GROUPS query rows of one sequence and head; its
// keys come in blocks that the copy engine brings. With one warpgroup the block feeds itself and three blocks share a multiprocessor, which
// suits short and middle lengths; with two or three, a warpgroup of its own feeds the others, which share keys and values (less traffic from
// the second-level cache, which is what bounds long sequences).
//
// With a feeder, blocks stay on their multiprocessor and draw one tile after the other. The feeder runs ahead into the next tile, whose queries
// have memory of their own, while the tile before is finished; results leave through their queries' memory by a thread that waits for nothing else.
//
// While the exponentials of one key block are computed, the tensor cores multiply the probabilities of the block before with its values.
#include "hopper_forward.cuh"

// One row pair's running softmax.
struct Softmax {
    float max0, max1, sum0, sum1;
};

// Weights in the place of scores, with a new maximum.
template <bool kMasks> __device__ __forceinline__ void normalise(float (&s)[kScores], Softmax& x, float (&scale_old)[2], float c, u32 from0, u32 count0, u32 from1, u32 count1) {
    if (kMasks) {
        // One comparison for both ends: below the first key, the difference wraps to a large number.
#pragma unroll
        for (int j = 0; j < kScores / 4; j++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                if (from0 + (8 * j + i) >= count0) s[4 * j + i] = kNone;
                if (from1 + (8 * j + i) >= count1) s[4 * j + 2 + i] = kNone;
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
    // Opaque, or each step of depth would keep a register for its queries.
    const u64 rows = matrix_descriptor(opaque(query)), columns = matrix_descriptor(key);
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) wgmma<0, 0>(ELEMENT{}, s, further(rows, (k / 4) * kRows * 128 + 32 * (k % 4)), further(columns, (k / 4) * kKeys * 128 + 32 * (k % 4)), k != 0);
}

__device__ __forceinline__ void multiply_values(float (&o)[kOutputs], const u32 (&p)[kScores / 2], u32 value) {
    const u64 columns = matrix_descriptor(value, kKeys * 128);
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++) wgmma<1>(ELEMENT{}, o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], further(columns, 2048 * k), true);
}

__device__ __forceinline__ void pack_all(u32 (&p)[kScores / 2], const float (&s)[kScores]) {
#pragma unroll
    for (int i = 0; i < kScores / 2; i++) p[i] = pack(ELEMENT{}, s[2 * i], s[2 * i + 1]);
}

// The keys that a thread's two rows see: how many, and where its first column of block 0 lies behind the first of them.
struct Seen {
    u32 from0, count0, from1, count1;
};

// Key block n, while the values of the block before are multiplied. Straight from the first product to the last wait: the
// assembler gives up overlapping products around a branch.
template <bool kMasks> __device__ __forceinline__ void step(
    const HopperForwardArguments& a, const Task& task, const Places& at, const Seen& r, u32 query, int group, Softmax& x, float (&s)[kScores], float (&o)[kOutputs], u32 (&p)[kScores / 2], u32 n) {
    const u32 k = n % kStages, v = (n - 1) % kStages;
    float f[2];
    jitter(n);
    barrier_wait(at.key_full + 8 * k, (n / kStages) & 1);
    barrier_wait(at.value_full + 8 * v, ((n - 1) / kStages) & 1);
    // Warpgroups take turns, so that the exponentials of one run while the tensor cores work for another.
    if (kFeeds) named_sync(kTurn + group, 256);
    pin(s);
    pin(o);
    wgmma_fence();
    multiply_keys(s, query, at.key + k * kTileBytes);
    wgmma_commit();
    multiply_values(o, p, at.value + v * kTileBytes);
    wgmma_commit();
    if (kFeeds) named_arrive(kTurn + (group + 1 == kGroups ? 0 : group + 1), 256);
    wgmma_wait<1>();
    pin(s);
    normalise<kMasks>(s, x, f, a.scale_log2, r.from0 - n * kKeys, r.count0, r.from1 - n * kKeys, r.count1);
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
            const int i = n - task.done;
            if (i - 1 + kStages < task.blocks()) load_value(a, at, task, i - 1 + kStages);
            if (i + kStages < task.blocks()) load_key(a, at, task, i + kStages);
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

// Scales what a thread has of its rows and writes it where the copy engine reads it, swizzled.
__device__ __forceinline__ void finish(const HopperForwardArguments& a, const Task& task, Softmax& x, const float (&o)[kOutputs], u32 result) {
    const Tile& t = task.tile;
    x.sum0 += shuffle_xor(x.sum0, 1);
    x.sum0 += shuffle_xor(x.sum0, 2);
    x.sum1 += shuffle_xor(x.sum1, 1);
    x.sum1 += shuffle_xor(x.sum1, 2);
    // Not "sum > 0": a NaN must come out as NaN.
    const bool empty0 = x.sum0 == 0, empty1 = x.sum1 == 0;
    const float inverse0 = empty0 ? 0 : 1 / x.sum0, inverse1 = empty1 ? 0 : 1 / x.sum1;
    // Found again: registers are short in the loop before.
    const u32 thread = opaque(threadIdx.x), lane = thread & 31;
    const int row = t.first + thread / 32 * 16 + lane / 4;
    if ((lane & 3) == 0) {
        float* lse = a.lse + task.head * a.lse_stride + (t.query_end - t.queries);
        if (row < t.queries) lse[row] = empty0 ? kNone : fmaf(x.max0, a.scale, logf(x.sum0));
        if (row + 8 < t.queries) lse[row + 8] = empty1 ? kNone : fmaf(x.max1, a.scale, logf(x.sum1));
    }
    // Sixteen columns at a time: lanes give the rows of four matrices, upper and lower rows of eight columns and of the next eight.
    const u32 to = result + (thread / 32 % 4 * 16 + (lane & 15)) * 128;
#pragma unroll
    for (int j = 0; j < kOutputs / 8; j++) {
        const float* x = o + 8 * j;
        store_matrix_4(to + j / 4 * kRows * 128 + (((2 * j % 8 + lane / 16) ^ (lane & 7)) << 4), pack(ELEMENT{}, x[0] * inverse0, x[1] * inverse0), pack(ELEMENT{}, x[2] * inverse1, x[3] * inverse1),
                       pack(ELEMENT{}, x[4] * inverse0, x[5] * inverse0), pack(ELEMENT{}, x[6] * inverse1, x[7] * inverse1));
    }
    fence_async();
}

// A warpgroup's share of a tile: 64 query rows, whose results take the place of its queries.
__device__ __forceinline__ void attend(const HopperForwardArguments& a, const Task* tasks, u32 number, const Places& at) {
    const int group = threadIdx.x / 128;
    const Task& task = tasks[number % kTasks];
    const u32 query = at.query + (number % kTasks * kGroups + group) * kQueryBytes;
    const Tile& t = task.tile;
    const int blocks = task.blocks();
    const u32 done = task.done;
    const int lane = lane_id(), row = t.first + kRows * group + 16 * (threadIdx.x / 32 % 4) + lane / 4, column = 2 * (lane & 3);
    float s[kScores], o[kOutputs], f[2];
    u32 p[kScores / 2];
#pragma unroll
    for (int i = 0; i < kOutputs; i++) o[i] = 0;
    Softmax x = {kNone, kNone, 0, 0};
    // The keys that this thread's two rows see. In 64 bits, because a window may be as wide as an int.
    auto low = [&](int r) { return a.left < 0 ? 0 : (int)max_of<i64>(0, (i64)r + t.shift - a.left); };
    auto high = [&](int r) { return a.right < 0 ? t.keys : (int)min_of<i64>(t.keys, max_of<i64>(0, (i64)r + t.shift + a.right + 1)); };
    // Blocks go from the right to the left, and are counted over all tiles.
    const u32 origin = (t.block_end - 1 + done) * kKeys + column;
    const Seen keys = {origin - low(row), (u32)max_of(0, high(row) - low(row)), origin - low(row + 8), (u32)max_of(0, high(row + 8) - low(row + 8))};

    if (blocks > 0) {
        // Blocks from the right: those that reach beyond what the tile's first row sees, then those that all rows see whole, then those that begin
        // before what its last row sees.
        const int last = min_of(t.first + kRows * kGroups, t.queries) - 1;
        const int whole_end = high(t.first) / kKeys, whole_begin = (low(last) + kKeys - 1) / kKeys;
        const int masked_right = min_of(blocks, max_of(1, t.block_end - max_of(whole_end, t.block_begin)));
        const u32 unmasked_end = done + max_of(masked_right, t.block_end - max_of(whole_begin, t.block_begin)), end = done + blocks;

        const u32 k = done % kStages, v = (end - 1) % kStages;
        barrier_wait(at.key_full + 8 * k, (done / kStages) & 1);
        pin(s);
        wgmma_fence();
        multiply_keys(s, query, at.key + k * kTileBytes);
        wgmma_commit();
        wgmma_wait<0>();
        pin(s);
        if (kFeeds && lane == 0) barrier_arrive(at.key_empty + 8 * k);
        normalise<true>(s, x, f, a.scale_log2, keys.from0 - done * kKeys, keys.count0, keys.from1 - done * kKeys, keys.count1);
        pack_all(p, s);
        if (!kFeeds) {
            block_sync();
            if (threadIdx.x == 0 && kStages < blocks) load_key(a, at, task, kStages);
        }

        u32 n = done + 1;
        // The masked step stands here once for both ends: instructions are fetched too.
#pragma unroll 1
        for (u32 masked_end = done + masked_right; n < end; masked_end = end) {
#pragma unroll 1
            for (; n < masked_end; n++) step<true>(a, task, at, keys, query, group, x, s, o, p, n);
#pragma unroll 1
            for (; n < unmasked_end; n++) step<false>(a, task, at, keys, query, group, x, s, o, p, n);
        }

        barrier_wait(at.value_full + 8 * v, ((end - 1) / kStages) & 1);
        pin(o);
        wgmma_fence();
        multiply_values(o, p, at.value + v * kTileBytes);
        wgmma_commit();
        wgmma_wait<0>();
        pin(o);
        if (kFeeds && lane == 0) barrier_arrive(at.value_empty + 8 * v);
    }

    // Found again: registers are short in the loop before.
    const u32 place = opaque(number) % kTasks;
    finish(a, tasks[place], x, o, at.query + (place * kGroups + opaque(threadIdx.x) / 128) * kQueryBytes);
}

// --- the feeder's two threads ---

// A block begins with the unit (tile and head) of its own number and draws the others, until it draws none. So a launch draws as many numbers as there
// are units, and the last of them sets the counter back.
__device__ __forceinline__ int draw(TileList& list, int units) {
    const u32 drawn = count_up(&list.drawn);
    if (drawn == units - 1) list.drawn = 0;
    return gridDim.x + drawn;
}

// Finds tiles, and sends off results. A task gets the place of the one before last when the copy engine has read that one's results.
__device__ __forceinline__ void find_tasks(const HopperForwardArguments& a, const Places& at, Task* tasks) {
    const int units = a.list->count * a.heads;
    int unit = blockIdx.x;
    // Waits for the results of task n.
    auto send = [&](u32 n) {
        const u32 place = n % kTasks;
        barrier_wait(at.result_full + 8 * place, (n / kTasks) & 1);
        store_results(a, tasks[place], at.query + place * kGroups * kQueryBytes);
    };
    u32 n = 0, done = 0;
#pragma unroll 1
    for (;; n++) {
        jitter(n);
        if (n >= kTasks) send(n - kTasks);
        if (n > 0) unit = draw(*a.list, units);
        Task& task = tasks[n % kTasks];
        int head = -1;
        if (unit < units) {
            const Tile t = a.list->tiles()[find_tile(a.list->tiles(), unit, a.heads, head)];
            bulk_wait_read<0>();
            task.tile = t;
            task.done = done;
            done += task.blocks();
        }
        task.head = head;
        barrier_arrive(at.task_full + 8 * (n % kTasks));
        if (head < 0) break;
    }
    if (n > 0) send(n - 1);
    bulk_wait<0>();
}

// Loads queries, keys and values of one task after the other.
__device__ __forceinline__ void feed(const HopperForwardArguments& a, const Places& at, const Task* tasks) {
#pragma unroll 1
    for (u32 n = 0;; n++) {
        const u32 place = n % kTasks;
        barrier_wait(at.task_full + 8 * place, (n / kTasks) & 1);
        const Task& task = tasks[place];
        // Read before the warpgroups may be through with a task that has nothing to load.
        const bool ends = task.head < 0;
        const int blocks = ends ? 0 : task.blocks();
        if (blocks == 0) barrier_arrive(at.query_full + 8 * place);
        if (ends) return;
        if (blocks > 0) load_queries(a, task, at.query + place * kGroups * kQueryBytes, at.query_full + 8 * place);
#pragma unroll 1
        for (int i = 0; i < blocks; i++) {
            const u32 stage = (task.done + i) % kStages, turn = (task.done + i) / kStages;
            jitter(task.done + i);
            if (turn > 0) barrier_wait(at.key_empty + 8 * stage, (turn - 1) & 1);
            load_key(a, at, task, i);
            if (turn > 0) barrier_wait(at.value_empty + 8 * stage, (turn - 1) & 1);
            load_value(a, at, task, i);
        }
    }
}

KERNEL(hopper_forward, HopperForwardArguments, kThreads, kBlocks) {
    DYNAMIC_SHARED(memory);
    __shared__ Task tasks[kTasks];
    __shared__ u64 barriers[3 * kTasks + 4 * kStages];
    const int thread = threadIdx.x, group = thread / 128;
    const u32 base = shared_address(memory), first = shared_address(barriers), stages = first + 8 * 3 * kTasks;
    const u32 key = base + kTasks * kGroups * kQueryBytes;
    const Places at = {base, key, key + kStages * kTileBytes, first, stages, stages + 8 * kStages, stages + 16 * kStages, stages + 24 * kStages, first + 8 * kTasks, first + 16 * kTasks};
    if (thread == 0) {
        for (int i = 0; i < kTasks; i++) {
            barrier_init(at.query_full + 8 * i, 1);
            barrier_init(at.task_full + 8 * i, 1);
            barrier_init(at.result_full + 8 * i, 4 * kGroups);
        }
        for (int i = 0; i < kStages; i++) {
            barrier_init(at.key_full + 8 * i, 1);
            barrier_init(at.value_full + 8 * i, 1);
            barrier_init(at.key_empty + 8 * i, 4 * kGroups);
            barrier_init(at.value_empty + 8 * i, 4 * kGroups);
        }
        fence_async();
    }
    if constexpr (kFeeds) {
        block_sync();
        if (group == kGroups) {
            registers_lower<kFeedRegisters>();
            if (thread == 128 * kGroups) feed(a, at, tasks);
            if (thread == 128 * kGroups + 32) find_tasks(a, at, tasks);
            return;
        }
        registers_raise<kWorkRegisters>();
        if (group == kGroups - 1) named_arrive(kTurn, 256);
#pragma unroll 1
        for (u32 n = 0;; n++) {
            const u32 place = n % kTasks;
            barrier_wait(at.query_full + 8 * place, (n / kTasks) & 1);
            const Task& task = tasks[place];
            if (task.head < 0) return;
            attend(a, tasks, n, at);
            warp_sync();
            if (lane_id() == 0) barrier_arrive(at.result_full + opaque(n) % kTasks * 8);
        }
    } else {
        // Places behind the last tile, of a list with room for any batch, hold nothing.
        if ((int)blockIdx.x >= a.list->count * a.heads) return;
        int head;
        const Tile* tiles = a.list->tiles();
        const Task task = {tiles[find_tile(tiles, blockIdx.x, a.heads, head)], head, 0};
        if (thread == 0 && task.blocks() > 0) {
            load_queries(a, task, at.query, at.query_full);
            for (int i = 0; i < kStages && i < task.blocks(); i++) {
                load_key(a, at, task, i);
                load_value(a, at, task, i);
            }
        }
        block_sync();
        if (task.blocks() > 0) barrier_wait(at.query_full, 0);
        attend(a, &task, 0, at);
        block_sync();
        if (thread == 0) {
            store_results(a, task, at.query);
            bulk_wait<0>();
        }
    }
}
