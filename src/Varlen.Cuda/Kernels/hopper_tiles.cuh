// What forward and backward on compute capability 9.0a share: the rows of one sequence that a block takes.
#pragma once
#include "tile_order.cuh"

// Queries in the forward pass, keys in the backward pass.
struct alignas(16) Tile {
    i32 key_end, keys;        // token after the sequence's last key, and how many it has
    i32 query_end, queries;   // the same of its queries
    i32 first;                // first row of the tile, counted in its sequence
    i32 shift;                // the alignment's d
    i32 padded_start;         // backward: first row of the sequence's queries in the workspace
    i32 block_begin, block_end;    // blocks of the other side that some row of the tile meets
    i32 group_first, group_count;  // tiles of the same sequence, which lie behind each other
    i32 padding;
};

// Lists of a fixed size, for a graph that keeps its grid, end with tiles of no sequence.
__device__ __forceinline__ bool is_idle(const Tile& t) { return t.keys == 0 && t.queries == 0; }
