// Attention of sequences of at most 64 queries and keys: what moves is bound by memory, so a block holds a whole sequence and head, every
// operand is read once and every result written once. A warp owns 16 rows, and a sequence gets as many warps as its length asks for: one up
// to 16 rows, two up to 32, four above; a block of four warps holds one, two or four pairs of a sequence and a head. No product spans two.
//
// Blocks stay on their multiprocessor and take one such unit after the other from a list that lies sorted by length, so they end together.
#pragma once
#define FEATURES 0
#include "attention_fragments.cuh"
#include "attention_rows.cuh"
#include "attention_scores.cuh"

constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = 16 * kWarps, kGroups = kWarps;
constexpr int kDim = HEAD_DIM, kChunks = kDim / 8, kTile = kRows * kDim * 2;
// Rows of weights and of their gradients: kRows keys.
constexpr int kWeightChunks = kRows / 8, kWeightTile = kRows * kRows * 2;
typedef Left<ELEMENT> LeftOperand;
typedef Right<ELEMENT> RightOperand;

struct Sequence { i32 query_start, queries, key_start, keys; };

// On the device, so that a graph keeps its grid while the batch changes. The sequences follow: of four warps, of two, of one. The twin of
// Varlen.Backends.Cuda.Attention.ShortList's layout.
struct SequenceList {
    i32 fours, pairs, singles, unused;
    __device__ __forceinline__ const Sequence* sequences() const { return (const Sequence*)(this + 1); }
};

struct ShortProblem {
    const SequenceList* list;
    i32 query_heads, key_heads, dim;
    i32 left, right;  // the window; the largest i32 is infinite
    i32 bottom_right;
    float scale;
    i32 unused;
};

// What a warp works on: nothing, when its sequence has no rows.
struct Unit {
    Sequence sequence;
    int head;
    int warps;  // that share it
    __device__ __forceinline__ int thread() const { return threadIdx.x & (32 * warps - 1); }
    __device__ __forceinline__ int threads() const { return 32 * warps; }
    // First row of this warp, in the sequence; and of the unit, in a block's tiles.
    __device__ __forceinline__ int row() const { return 16 * ((threadIdx.x / 32) & (warps - 1)); }
    __device__ __forceinline__ int tile_row() const { return 16 * (threadIdx.x / 32) - row(); }
};

// Work of a list, in blocks.
struct Work {
    const Sequence* sequences;
    int fours, pairs, singles;  // sequences times heads
    int heads;
    int pair_blocks, blocks;
    __device__ __forceinline__ Work(const SequenceList* list, int heads) : heads(heads) {
        sequences = list->sequences();
        fours = list->fours * heads;
        pairs = list->pairs * heads;
        singles = list->singles * heads;
        pair_blocks = (pairs + 1) / 2;
        blocks = fours + pair_blocks + (singles + 3) / 4;
    }
    __device__ __forceinline__ Unit unit(int block) const {
        const int warp = threadIdx.x / 32;
        Unit u;
        u.sequence = {0, 0, 0, 0};
        u.head = 0;
        u.warps = kWarps;
        if (block >= blocks) return u;
        int i = block, limit = fours, first = 0;
        if (block >= fours + pair_blocks) {
            u.warps = 1;
            i = 4 * (block - fours - pair_blocks) + warp;
            limit = singles;
            first = fours + pairs;
        } else if (block >= fours) {
            u.warps = 2;
            i = 2 * (block - fours) + warp / 2;
            limit = pairs;
            first = fours;
        }
        // The last block of a kind may have warps to spare.
        if (i >= limit) return u;
        u.head = (int)((u32)(first + i) % (u32)heads);
        u.sequence = sequences[(u32)(first + i) / (u32)heads];
        return u;
    }
};

// Copies a unit's rows into a tile in the background, whole groups of 16 of them: what lies beyond the sequence's end becomes 0 and is not
// read, so that nothing of a neighbour enters a product.
__device__ __forceinline__ void copy_rows(const Shared& s, int tile, const Unit& u, const Rows& from, i64 token, int head, int rows, int dim) {
    constexpr int kWide = kGroup<kChunks>;
    const int column = u.thread() % kWide, step = u.threads() / kWide, end = (rows + 15) & ~15, tile_row = u.tile_row();
    const ELEMENT* source = (const ELEMENT*)from.data + from.at(token, head);
#pragma unroll
    for (int pass = 0; pass < kWide / 2; pass++) {
        const int row = u.thread() / kWide + pass * step;
        if (row >= end) break;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; chunk += kWide) {
            const bool inside = row < rows && (chunk + column) * 8 < dim;
            copy_async_16(s.address + tile + place<kChunks>(tile_row + row, chunk, column), inside ? source + row * from.token + (chunk + column) * 8 : (const ELEMENT*)from.data, inside ? 16 : 0);
        }
    }
}

// x += 16 rows of a tile times groups of 16 rows of another, those in a range. Depth is outermost: neighbouring products do not wait for
// each other.
__device__ __forceinline__ void multiply_groups(float (&x)[kGroups][2][4], const Shared& s, int left, int left_row, int right, int right_row, int begin, int end) {
    if (begin >= end) return;
#pragma unroll
    for (int step = 0; step < kDim / 16; step++) {
        const LeftOperand rows = load_left<ELEMENT, kChunks>(s, left, left_row, step);
#pragma unroll
        for (int group = 0; group < kGroups; group++)
            if (group >= begin && group < end) multiply(x[group][0], x[group][1], rows, load_right<ELEMENT, kChunks>(s, right, right_row + 16 * group, step));
    }
}

// sum += a left operand times 16 rows of a tile, their features as columns.
__device__ __forceinline__ void multiply_features(float (&sum)[kDim / 8][4], const Shared& s, const LeftOperand& left, int tile, int row) {
#pragma unroll
    for (int n = 0; n < kDim / 16; n++) multiply(sum[2 * n], sum[2 * n + 1], left, load_right_across<ELEMENT, kChunks>(s, tile, row, 16 * n));
}

// A group's accumulators as a left operand.
__device__ __forceinline__ LeftOperand packed(const float (&x)[2][4]) {
    LeftOperand y;
#pragma unroll
    for (int e = 0; e < 4; e++) y.r[e] = pack(ELEMENT{}, x[e >> 1][2 * (e & 1)], x[e >> 1][2 * (e & 1) + 1]);
    return y;
}

// The keys that a query sees, and the queries that see a key; shift is the alignment's d.
__device__ __forceinline__ int shift_of(const ShortProblem& p, const Sequence& q) { return p.bottom_right ? q.keys - q.queries : 0; }
__device__ __forceinline__ Bounds keys_of(const ShortProblem& p, const Sequence& q, int query) { return around(query + shift_of(p, q), p.left, p.right, q.keys); }
__device__ __forceinline__ Bounds queries_of(const ShortProblem& p, const Sequence& q, int key) { return around(key - shift_of(p, q), p.right, p.left, q.queries); }

// Writes 16 rows of accumulators, each row times its factor. The lanes of a quad exchange what they have of a row, so that each stores
// vectors; other types than the kernel's, and sums, are written from where they are.
__device__ __forceinline__ void write_rows(const Rows& to, const float (&x)[kDim / 8][4], float factor0, float factor1, i64 token, int head, int rows, int dim) {
    if (to.data == nullptr) return;
    const int lane = lane_id(), quarter = lane & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = lane / 4 + 8 * half;
        const float factor = half ? factor1 : factor0;
        const i64 at = to.at(token + row, head);
        if (to.dtype == kFloat32 || to.accumulate) {
            if (row >= rows) continue;
#pragma unroll
            for (int n = 0; n < kDim / 8; n++)
                if (8 * n < dim) to.write(at + 8 * n + 2 * quarter, x[n][2 * half] * factor, x[n][2 * half + 1] * factor);
        } else {
#pragma unroll
            for (int m = 0; m < kDim / 32; m++) {
                u32 w[4];
#pragma unroll
                for (int i = 0; i < 4; i++) w[i] = pack(ELEMENT{}, x[4 * m + i][2 * half] * factor, x[4 * m + i][2 * half + 1] * factor);
                turn(w);
                const int column = 32 * m + 8 * quarter;
                if (row < rows && column < dim) store((u32*)((ELEMENT*)to.data + at + column), Vec<u32, 4>{w[0], w[1], w[2], w[3]});
            }
        }
    }
}
