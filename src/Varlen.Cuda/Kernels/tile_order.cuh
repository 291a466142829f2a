// The order in which blocks take tiles.
#pragma once
#include "kernel.cuh"

// Tile and head of piece of work "number": sequence by sequence, within it head by head, so that the blocks that run at a time share what they read in the
// second-level cache. Tiles of a sequence lie behind each other and tell where they begin (group_first) and how many they are (group_count); a sequence's
// pieces begin at its first tile times the number of heads.
template <class T> __device__ __forceinline__ int find_tile(const T* tiles, int number, int heads, int& head) {
    const T& near = tiles[number / heads];
    const int within = number - near.group_first * heads;
    head = within / near.group_count;
    return near.group_first + within % near.group_count;
}
