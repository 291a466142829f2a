// What the kernels of hopper_backward.cu take, and how the pass divides shared memory.
#pragma once
#include "kernel.cuh"
#include "hopper.cuh"
#include "hopper_tiles.cuh"
#include "attention_rows.cuh"

constexpr int kDim = HEAD_DIM, kPanels = kDim / 64, kKeys = 128, kQueries = kDim == 64 ? 128 : 64;
constexpr int kGroups = 2, kStages = 2, kThreads = 128 * (kGroups + 1);
constexpr int kKeyBytes = kKeys * kDim * 2, kQueryBytes = kQueries * kDim * 2, kScoreBytes = kQueries * kKeys * 2, kPartBytes = 64 * 64 * 4, kRowBytes = kQueries * 4;
constexpr int kScores = kQueries / 2, kOutputs = kDim / 2;
// Tiles that are handed on within a block and not finished by all: enough for the copy engine to be ahead by several short ones.
constexpr int kWorks = 4;

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
    u32* ticket;                     // set to 0
    i32 heads, padding;
};

struct HopperBackwardArguments {
    TensorMap query, key, value, output_gradient;
    const Tile* tiles;
    u32* ticket;            // 0 at first: how many works have been drawn beyond the first of each block
    const float* row_lse;
    const float* row_delta;
    float* query_gradient;  // workspace [heads, blocks of kQueries padded rows, 2 parts, 64 rows, 64 features], zero at first
    Rows key_gradient, value_gradient;
    i64 padded_rows;
    i32 key_heads, group;
    i32 left, right;
    i32 query_rows, key_rows;  // row counts of the ragged maps
    i32 works;                 // tiles times key heads
    float scale;
};

struct HopperFinishArguments {
    const float* workspace;
    Rows query_gradient;
    const Sequence* sequences;
    const i32* block_sequence;
    i64 padded_rows;
    i32 heads;
    float scale;
};

// --- shared memory of the pass ---

// Where operands lie: keys of two tiles, so that those of the next come while the last products with this one's are under way.
constexpr int kKeyAt = 0, kValueAt = kKeyAt + 2 * kKeyBytes, kQueryAt = kValueAt + kKeyBytes, kGradientAt = kQueryAt + kStages * kQueryBytes;
constexpr int kScoreAt = kGradientAt + kStages * kQueryBytes, kPartAt = kScoreAt + 2 * kScoreBytes, kRowAt = kPartAt + kGroups * kPartBytes;

// Barriers: "full" ends when the copy engine has brought what was asked for, "empty" when nobody reads it any more.
enum Barrier {
    kWorkFull, kWorkEmpty = kWorkFull + kWorks, kKeyFull = kWorkEmpty + kWorks, kKeyEmpty = kKeyFull + 2, kValueFull = kKeyEmpty + 2, kValueEmpty, kQueryFull,
    kGradientFull = kQueryFull + kStages, kStageEmpty = kGradientFull + kStages, kPartEmpty = kStageEmpty + kStages, kBarriers = kPartEmpty + kGroups
};
// Named barriers: all scores' gradients of a step are written; a warpgroup's part of the queries' gradient is.
constexpr int kScoresWritten = 1, kPartWritten = 2;

// A tile, and the key head for which the block takes it.
struct Work {
    Tile tile;
    i32 key_head, padding[3];
    __device__ __forceinline__ int blocks() const { return max_of(0, tile.block_end - tile.block_begin); }
};

struct Shared {
    u8* memory;
    u32 base, barriers;  // addresses
    Work* works;
    __device__ __forceinline__ u32 barrier(int i) const { return barriers + 8 * i; }
};

// A place in a ring of N that is gone round again and again.
template <int N> struct Ring {
    u32 count = 0;
    __device__ __forceinline__ u32 at() const { return count % N; }
    // What to wait for: that this round's content has come, or that the last round's has gone.
    __device__ __forceinline__ u32 full() const { return count / N & 1; }
    __device__ __forceinline__ u32 empty() const { return full() ^ 1; }
};
