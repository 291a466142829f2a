// From products of queries and keys to scores, and which links count.
#pragma once
#include "attention_fragments.cuh"

// What a query head of a sequence adds to its products. Scores are softcap(scale q.k) - slope |i + d - j| + mask; without FEATURES they
// stay unscaled products, and the scale is part of the exponential's factor.
struct Scores {
    float factor;   // of a score in the exponent of 2
    float unit;     // of a score as a natural logarithm
    int shift;
    float slope;
    const unsigned char* mask;  // of the sequence and head
    u32 key0, key1;             // dropout's stream
    int head;
};

__device__ __forceinline__ Scores scores_of(const Problem& p, const Tile& tile, int head) {
    Scores s;
    s.factor = kFeatures ? kLog2E : p.scale * kLog2E;
    s.unit = kFeatures ? 1.f : p.scale;
    s.shift = shift_of(p, tile);
    s.head = head;
    s.slope = 0;
    s.mask = nullptr;
    s.key0 = s.key1 = 0;
    if constexpr (kFeatures) {
        if (p.slopes) s.slope = p.slopes_double ? (float)((const double*)p.slopes)[head] : ((const float*)p.slopes)[head];
        if (p.mask)
            s.mask = (const unsigned char*)p.mask + (tile.batch * p.mask_batch + head * p.mask_head + tile.query_start * p.mask_query + tile.key_start * p.mask_key) * (p.mask_bool ? 1 : 4);
        if (p.state) {
            u64 step = (u64)p.state->step, seed = p.state->seed;
            Philox stream = philox((u32)tile.document, (u32)(tile.document >> 32), (u32)step, (u32)(step >> 32) << 16 | ((u32)p.layer & 0xFFFF), (u32)seed, (u32)(seed >> 32));
            s.key0 = stream.x;
            s.key1 = stream.y;
        }
    }
    return s;
}

// The query and key of accumulator element e of 8 columns: rows are queries, or keys when Transposed.
template <bool Transposed> struct Link {
    int query, key;
    __device__ __forceinline__ Link(int row, int column, int e) {
        int r = row + (int)lane_id() / 4 + 8 * (e >> 1), c = column + 2 * ((int)lane_id() & 3) + (e & 1);
        query = Transposed ? c : r;
        key = Transposed ? r : c;
    }
};

__device__ __forceinline__ float tanh_of(float x) {
    // Its error is that of the 1 it is subtracted from, which a bounded score does not notice.
    return 1.f - 2.f * reciprocal_fast(1.f + exp2_fast(x * (2 * kLog2E)));
}

// Turns products into scores. slopes: where a backward pass wants d score / d (scale product), which softcap alone changes.
template <bool Transposed, int Columns, bool Slopes>
__device__ __forceinline__ void score(const Problem& p, const Scores& s, float (&x)[Columns / 8][4], float (&slopes)[Columns / 8][4], int row, int column, int rows, int columns) {
    if constexpr (kFeatures) {
#pragma unroll
        for (int n = 0; n < Columns / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) x[n][e] *= p.scale;
        if (p.softcap != 0) {
            const float inverse = 1.f / p.softcap;
#pragma unroll
            for (int n = 0; n < Columns / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float t = tanh_of(x[n][e] * inverse);
                    x[n][e] = p.softcap * t;
                    if constexpr (Slopes) slopes[n][e] = 1.f - t * t;
                }
        } else if constexpr (Slopes) {
#pragma unroll
            for (int n = 0; n < Columns / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) slopes[n][e] = 1.f;
        }
        if (s.slope != 0) {
#pragma unroll
            for (int n = 0; n < Columns / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    Link<Transposed> link(row, column + 8 * n, e);
                    x[n][e] -= s.slope * fabsf((float)(link.query + s.shift - link.key));
                }
        }
        if (s.mask) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = row + (int)lane_id() / 4 + 8 * half, c = column + 2 * ((int)lane_id() & 3);
                const i64 row_stride = Transposed ? p.mask_key : p.mask_query, column_stride = Transposed ? p.mask_query : p.mask_key;
                const i64 at = r * row_stride + c * column_stride;
#pragma unroll
                for (int n = 0; n < Columns / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        if (r >= rows || c + 8 * n + e >= columns) continue;
                        const i64 i = at + (8 * n + e) * column_stride;
                        // Minus infinity hides whatever the score is, NaN included.
                        const float added = p.mask_bool ? (s.mask[i] ? 0.f : -kInfinity) : ((const float*)s.mask)[i];
                        float& score = x[n][2 * half + e];
                        score = added == -kInfinity ? added : score + added;
                    }
            }
        }
    }
}

// Hides columns outside of each row's bounds. row0 and row1 are the bounds of rows l / 4 and l / 4 + 8.
template <int Columns> __device__ __forceinline__ void hide(float (&x)[Columns / 8][4], Bounds row0, Bounds row1, int column) {
    const int origin = column + 2 * ((int)lane_id() & 3);
    row0.low -= origin, row0.high -= origin, row1.low -= origin, row1.high -= origin;
#pragma unroll
    for (int n = 0; n < Columns / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int c = 8 * n + e;
            if (c < row0.low || c >= row0.high) x[n][e] = -kInfinity;
            if (c < row1.low || c >= row1.high) x[n][2 + e] = -kInfinity;
        }
}

// Bit e: whether dropout keeps accumulator element e of the 8 columns from "column". A block of random words serves four keys of a query;
// lanes that share blocks make one each and exchange words. row is a multiple of 16, column of 8, both relative to the sequence.
template <bool Transposed> __device__ __forceinline__ u32 kept(const Problem& p, const Scores& s, int row, int column) {
    const int lane = lane_id();
    u32 keep = 0;
    if constexpr (Transposed) {
        // Rows are keys. Lanes with equal l % 4 and l / 16 hold four keys of one block each for two queries and two halves of the rows.
        const int mine = (lane >> 2) & 3;
        const int key = row + 8 * (mine >> 1) + 4 * (lane >> 4), query = column + 2 * (lane & 3) + (mine & 1);
        const Philox block = philox((u32)key >> 2, (u32)query, (u32)s.head, 0, s.key0, s.key1);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int other = mine ^ i;
            u32 word = other & 2 ? (other & 1 ? block.w : block.z) : (other & 1 ? block.y : block.x);
            if (i) word = shuffle_xor(word, i << 2);
            keep |= (u32)(word >= p.threshold) << other;
        }
    } else {
        // Rows are queries. Neighbouring lanes share a block for each half of the rows.
        const int mine = lane & 1;
        const int query = row + lane / 4 + 8 * mine, key = column + 2 * (lane & 2);
        const Philox block = philox((u32)key >> 2, (u32)query, (u32)s.head, 0, s.key0, s.key1);
        u32 own0 = mine ? block.z : block.x, own1 = mine ? block.w : block.y;
        u32 other0 = shuffle_xor(mine ? block.x : block.z, 1), other1 = shuffle_xor(mine ? block.y : block.w, 1);
        keep = ((u32)(own0 >= p.threshold) | (u32)(own1 >= p.threshold) << 1) << (2 * mine);
        keep |= ((u32)(other0 >= p.threshold) | (u32)(other1 >= p.threshold) << 1) << (2 - 2 * mine);
    }
    return keep;
}

// Four such bits for each 8 of up to 64 columns. The loop is not written out: random words are most of a block's instructions.
template <bool Transposed, int Columns> __device__ __forceinline__ u32 kept_columns(const Problem& p, const Scores& s, int row, int column) {
    static_assert(Columns <= 64, "32 bits");
    u32 keep = 0;
#pragma unroll 1
    for (int n = 0; n < Columns / 8; n++) keep |= kept<Transposed>(p, s, row, column + 8 * n) << (4 * n);
    return keep;
}
