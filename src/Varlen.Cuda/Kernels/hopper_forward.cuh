// What the kernel of hopper_forward.cu takes, how a block divides shared memory, and what the copy engine is asked for.
#pragma once
#include "kernel.cuh"
#include "hopper.cuh"
#include "hopper_tiles.cuh"

// Tiles, with their number in front, so that a graph keeps its grid while the batch changes. The twin of HopperLists' layout.
struct TileList {
    i32 count;
    u32 drawn;  // 0 between launches
    i32 padding[10];
    __device__ __forceinline__ const Tile* tiles() const { return (const Tile*)(this + 1); }
};

struct HopperForwardArguments {
    TensorMap query, key, value, output;
    TileList* list;
    float* lse;        // [heads, query tokens]
    i64 lse_stride;
    i32 heads, group;  // query heads, and how many of them share a key head
    i32 left, right;   // window, negative for infinite
    i32 query_rows, key_rows;  // row counts of the ragged maps
    float scale, scale_log2;   // of a product, as a natural logarithm and as one of base 2
};

constexpr int kGroups = GROUPS, kDim = HEAD_DIM, kPanels = kDim / 64, kRows = 64, kKeys = 128;
constexpr bool kFeeds = kGroups > 1;
constexpr int kStages = kDim == 64 ? (kFeeds ? 4 : 2) : 2;
constexpr int kThreads = 128 * (kGroups + (kFeeds ? 1 : 0)), kBlocks = kFeeds ? 1 : 3;
constexpr int kQueryBytes = kRows * kDim * 2, kTileBytes = kKeys * kDim * 2;
// Registers: what is left after the feeding warpgroup has given up its own.
constexpr int kFeedRegisters = kGroups == 2 ? 40 : 32, kWorkRegisters = kGroups == 2 ? 232 : 160;
static_assert(!kFeeds || 128 * kFeedRegisters + (kThreads - 128) * kWorkRegisters <= kThreads * (65536 / kThreads / 8 * 8), "a block has no more than it started with, and would wait for the others forever");
// Tiles of which a block knows: the one that is computed, and the next.
constexpr int kTasks = kFeeds ? 2 : 1;
constexpr int kScores = kKeys / 2, kOutputs = kDim / 2;
// Named barriers: one for each warpgroup's turn on the tensor cores.
constexpr int kTurn = 1;
// The score of a key that is not seen: minus infinity as one constant, for a negation would be an instruction for each score.
#define kNone bits_to_float(0xFF800000u)

// A tile and head that a block works on. Its queries lie in the memory of the same number, and its results after them.
struct Task {
    Tile tile;
    i32 head;  // negative: there are no more
    u32 done;  // key blocks of the tiles before: barriers and stages go on where those ended
    i32 padding[2];
    __device__ __forceinline__ int blocks() const { return tile.block_end - tile.block_begin; }
    // A tile load that starts beyond its sequence faults; one that reaches beyond is filled with zeros.
    __device__ __forceinline__ int groups() const { return min_of(kGroups, (tile.queries - tile.first + kRows - 1) / kRows); }
};

// Shared memory of a block and its barriers, as addresses; an array of each where there are tasks or stages.
struct Places {
    u32 query, key, value;
    u32 query_full, key_full, value_full, key_empty, value_empty, task_full, result_full;
};

// One thread asks.
__device__ __forceinline__ void load_queries(const HopperForwardArguments& a, const Task& task, u32 to, u32 full) {
    const Tile& t = task.tile;
    const int groups = task.groups();
    barrier_expect(full, groups * kQueryBytes);
    for (int g = 0; g < groups; g++)
#pragma unroll
        for (int p = 0; p < kPanels; p++) tile_load(to + g * kQueryBytes + p * kRows * 128, a.query, full, 64 * p, a.query_rows - t.queries + t.first + kRows * g, task.head, t.query_end);
}

__device__ __forceinline__ void load_block(const HopperForwardArguments& a, const Task& task, const TensorMap& map, u32 to, u32 full, int block) {
    const Tile& t = task.tile;
    const int key_head = task.head / a.group;
    barrier_expect(full, kTileBytes);
#pragma unroll
    for (int p = 0; p < kPanels; p++) tile_load(to + p * kKeys * 128, map, full, 64 * p, a.key_rows - t.keys + (t.block_end - 1 - block) * kKeys, key_head, t.key_end);
}
__device__ __forceinline__ void load_key(const HopperForwardArguments& a, const Places& at, const Task& task, int block) {
    const u32 k = (task.done + block) % kStages;
    load_block(a, task, a.key, at.key + k * kTileBytes, at.key_full + 8 * k, block);
}
__device__ __forceinline__ void load_value(const HopperForwardArguments& a, const Places& at, const Task& task, int block) {
    const u32 v = (task.done + block) % kStages;
    load_block(a, task, a.value, at.value + v * kTileBytes, at.value_full + 8 * v, block);
}

__device__ __forceinline__ void store_results(const HopperForwardArguments& a, const Task& task, u32 from) {
    const Tile& t = task.tile;
    for (int g = 0; g < task.groups(); g++)
#pragma unroll
        for (int p = 0; p < kPanels; p++) tile_store(a.output, from + g * kQueryBytes + p * kRows * 128, 64 * p, a.query_rows - t.queries + t.first + kRows * g, task.head, t.query_end);
    bulk_commit();
}
