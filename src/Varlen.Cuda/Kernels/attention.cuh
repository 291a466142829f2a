// What attention's kernels share: their arguments, which rows a block takes, which keys a row sees.
//
// A sequence is cut into tiles of rows from its own start, and a warp takes slabs of 16 rows of a tile. Sequences of at most 16 (or 32)
// queries and keys are "small": one (or two) warps own such a sequence and head, and a block holds several of them that share nothing but
// barriers. So what a product adds up depends on the sequence's own lengths only, and no product spans two sequences.
#pragma once
#include "kernel.cuh"

constexpr bool kFeatures = FEATURES != 0;  // softcap, slopes, dropout, dense masks

// One operand: element (batch b, token t, head h, feature f) is at data[b * batch + t * token + h * head + f]. The twin of
// Varlen.Backends.Cuda.AttentionOperand.
struct Operand {
    void* data;  // null: absent
    i64 batch, token, head;
    i32 vector;      // rows are made of aligned 16-byte vectors
    i32 dtype;       // of a gradient
    i32 accumulate;  // of a gradient: add to what is there
    i32 unused;
};

// A number for each query and head, single precision.
struct Statistic {
    float* data;
    i64 batch, head, token;
};

// Rows of one sequence: a tile of queries in query lists, of keys in key lists.
struct Tile {
    i64 query_start, key_start;  // the sequence's first tokens
    u64 document;
    i32 batch;
    i32 first, rows;  // of the sequence's queries or keys
    i32 queries, keys;  // lengths of the sequence
    i32 sequence;       // row of a page table
};

// Tiles, then sequences of two warps, then of one; see above. Each of the three may end with tiles of no rows: a list of a fixed size, whose
// tiles change from step to step while a graph keeps the grid.
struct TileList {
    const Tile* tiles;
    i32 whole, pairs, singles;
    i32 unused;
};

struct Problem {
    i32 query_heads, key_heads, dim;
    i32 left, right;  // the window; the largest i32 is infinite
    i32 bottom_right;
    float scale;
    // What follows is read with FEATURES only.
    float softcap;  // 0: off
    const void* slopes;  // [query_heads] single or double precision, or null
    i32 slopes_double;
    i32 mask_bool;
    const void* mask;  // u8 (true = attend) or float (added), or null
    i64 mask_batch, mask_head, mask_query, mask_key;
    const StepState* state;  // of dropout, or null
    u32 threshold;
    i32 layer;
    float keep;  // what dropout multiplies kept links by; 1 without
    i32 unused;
};

// Sizes of tiles, from the element type and the head dim's bucket alone. Four warps a block: every barrier holds up a few warps only, and
// two or three blocks fit a multiprocessor.
template <class T, int D> struct Shape {
    static constexpr bool kSingle = sizeof(T) == 4;
    // Rows of single precision above 128 features fill the 163 KB that every device of the family has with two warps.
    static constexpr int kWarps = kSingle && D > 128 ? 2 : 4;
    static constexpr int kThreads = 32 * kWarps;
    static constexpr int kRows = 16 * kWarps;
    // Keys that a step of a query tile multiplies. Twice that many are a ring, which a small sequence's keys also must fit.
    static constexpr int kKeys = kSingle ? (D <= 64 ? 64 : D <= 128 ? 32 : 16) : (D <= 128 ? 64 : 32);
    // As many in the forward pass, but half as many where scores of 64 keys would fill the registers beside the sums of two slabs.
    static constexpr int kForwardKeys = !kSingle && D > 96 ? 32 : kKeys;
    // Slabs of a warp in a long forward tile: with two, what is read of keys and values from shared memory serves twice the products.
    // Above 128 features two do not fit the registers.
    static constexpr int kSlabs = !kSingle && D <= 128 ? 2 : 1;
    // Queries that a step of a key tile multiplies, and those of them whose scores are alive at once: 16, for the sums fill the registers.
    static constexpr int kQueries = kSingle ? (D <= 128 ? 32 : 16) : (D <= 128 ? 64 : 32);
    static constexpr int kChunk = 16;
    static constexpr int kChunks = D * (int)sizeof(T) / 16;  // 16-byte vectors of a row
};

// What a warp works on.
struct Place {
    Tile tile;
    int head;   // of the list's kind
    int warps;  // that share it: all of the block's, or 1 or 2 of a small sequence
    int warp;   // of those
    int team;   // which of the block's small sequences
    bool idle;  // the block has no rows at all
    __device__ __forceinline__ int thread() const { return 32 * warp + (int)lane_id(); }
    __device__ __forceinline__ int threads() const { return 32 * warps; }
};

template <int Warps> __device__ __forceinline__ Place locate(const TileList& list, int heads) {
    Place at;
    i64 block = blockIdx.x;
    const i64 whole = (i64)list.whole * heads, pairs = (i64)list.pairs * heads, singles = (i64)list.singles * heads;
    i64 unit, limit, lead;  // lead: the unit of the block's first warp
    int first;
    if (block < whole) {
        at.warps = Warps;
        lead = unit = block;
        limit = whole;
        first = 0;
    } else if ((block -= whole) < ceil_div(pairs, Warps / 2)) {
        at.warps = 2;
        lead = block * (Warps / 2);
        unit = lead + threadIdx.x / 64;
        limit = pairs;
        first = list.whole;
    } else {
        block -= ceil_div(pairs, Warps / 2);
        at.warps = 1;
        lead = block * Warps;
        unit = lead + threadIdx.x / 32;
        limit = singles;
        first = list.whole + list.pairs;
    }
    at.team = threadIdx.x / (32 * at.warps);
    at.warp = threadIdx.x / 32 - at.team * at.warps;
    at.idle = list.tiles[first + (u32)lead / (u32)heads].rows == 0;
    if (unit < limit) {
        at.tile = list.tiles[first + (u32)unit / (u32)heads];
        at.head = (int)((u32)unit % (u32)heads);
    } else {
        // The last block's spare warps: they only take part in barriers.
        at.tile = Tile{0, 0, 0, 0, 0, 0, 0, 0, 0};
        at.head = 0;
    }
    return at;
}

// A range [low, high).
struct Bounds { int low, high; };

__device__ __forceinline__ int clamp(int x, int limit) { return x < 0 ? 0 : x > limit ? limit : x; }

// Those of "limit" columns that lie in a window around a centre. Both ends grow with the centre. No sequence has 2^29 tokens, and wider
// windows are infinite, so that 32 bits hold all sums.
__device__ __forceinline__ Bounds around(int center, int left, int right, int limit) {
    constexpr int kInfinite = 0x7fffffff;
    return {left == kInfinite ? 0 : clamp(center - left, limit), right == kInfinite ? limit : clamp(center + right + 1, limit)};
}

// The alignment's d.
__device__ __forceinline__ int shift_of(const Problem& p, const Tile& tile) { return p.bottom_right ? tile.keys - tile.queries : 0; }

// Keys that a query sees, and queries that see a key.
__device__ __forceinline__ Bounds keys_of(const Problem& p, const Tile& tile, int query) {
    return around(query + shift_of(p, tile), p.left, p.right, tile.keys);
}
__device__ __forceinline__ Bounds queries_of(const Problem& p, const Tile& tile, int key) {
    return around(key - shift_of(p, tile), p.right, p.left, tile.queries);
}

template <class T> __device__ __forceinline__ T* row_of(const Operand& x, const Tile& tile, i64 token, int head) {
    return (T*)x.data + tile.batch * x.batch + token * x.token + head * x.head;
}
__device__ __forceinline__ float* row_of(const Statistic& x, const Tile& tile, i64 token, int head) {
    return x.data + tile.batch * x.batch + token * x.token + head * x.head;
}
