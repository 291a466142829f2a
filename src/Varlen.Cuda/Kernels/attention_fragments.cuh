// Products of 16 rows a warp. All element types share one layout of accumulators, that of the tensor cores: lane l holds rows l / 4 and
// l / 4 + 8, columns 2 (l % 4) + {0, 1} of each 8 columns. 16-bit types multiply 16 of the depth at once on tensor cores, single precision
// 4 by fused multiply-adds, with operands read as vectors along the depth where they lie so.
#pragma once
#include "attention.cuh"

// A block's shared memory, as a pointer and as instructions take it. Tiles are offsets in it.
struct Shared {
    unsigned char* data;
    u32 address;
    // For the body of a loop: addresses in it are added up there.
    __device__ __forceinline__ Shared here() const { return {data, opaque(address)}; }
};

// Vectors of a row that are permuted among each other: eight, or four where a row is an odd number of half lines.
template <int Chunks> constexpr int kGroup = Chunks % 8 == 0 ? 8 : 4;

// Offset of a 16-byte vector in a tile whose rows have Chunks of them, permuted so that eight rows of one column lie in different banks.
// The column is chunk + low, low below kGroup: where chunk is a constant, only its place in the group takes an instruction.
template <int Chunks> __device__ __forceinline__ int place(int row, int chunk, int low = 0) {
    static_assert(Chunks % 4 == 0, "rows of half lines");
    constexpr int kWide = kGroup<Chunks>;
    const int swizzle = kWide == 8 ? row & 7 : (row >> 1) & 3;
    return row * (Chunks * 16) + chunk / kWide * (kWide * 16) + ((chunk % kWide) ^ (low ^ swizzle)) * 16;
}

template <class T> constexpr int kStep = sizeof(T) == 4 ? 4 : 16;
// Steps of depth that are written out: all where operands are in registers by number, few where each is hundreds of instructions.
template <class T> constexpr int kUnroll = sizeof(T) == 4 ? 1 : 64;

// Whether blocks that need no masking have code of their own: where speed is what matters. Elsewhere it would only be more to compile.
template <class T> constexpr bool kPlainPath = sizeof(T) == 2 && !kFeatures;

// 16 rows of one step of depth.
template <class T> struct Left { u32 r[4]; };
template <> struct Left<float> { float r[2][4]; };
// One step of depth of 16 columns.
template <class T> struct Right { u32 r[4]; };
template <> struct Right<float> { float r[4][4]; };

template <class T, int Chunks> __device__ __forceinline__ Left<T> load_left(const Shared& s, int tile, int row, int step) {
    const int lane = lane_id();
    Left<T> x;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            Vec<float, 4> v = load<4>((const float*)(s.data + tile + place<Chunks>(row + lane / 4 + 8 * i, step)));
#pragma unroll
            for (int k = 0; k < 4; k++) x.r[i][k] = v[k];
        }
    } else {
        load_matrix_4(x.r, s.address + tile + row * Chunks * 16 + place<Chunks>(lane & 15, 2 * step, lane >> 4));
    }
    return x;
}

// Columns are rows of the tile.
template <class T, int Chunks> __device__ __forceinline__ Right<T> load_right(const Shared& s, int tile, int column, int step) {
    const int lane = lane_id();
    Right<T> x;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Vec<float, 4> v = load<4>((const float*)(s.data + tile + place<Chunks>(column + 8 * (i >> 1) + 2 * (lane & 3) + (i & 1), step)));
#pragma unroll
            for (int k = 0; k < 4; k++) x.r[i][k] = v[k];
        }
    } else {
        load_matrix_4(x.r, s.address + tile + column * Chunks * 16 + place<Chunks>(((lane >> 4) << 3) + (lane & 7), 2 * step, (lane >> 3) & 1));
    }
    return x;
}

// Depth runs over rows of the tile, columns are its features.
template <class T, int Chunks> __device__ __forceinline__ Right<T> load_right_across(const Shared& s, int tile, int depth, int column) {
    const int lane = lane_id();
    Right<T> x;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int feature = column + 8 * i + 2 * (lane & 3);
                Vec<float, 2> v = load<2>((const float*)(s.data + tile + place<Chunks>(depth + k, feature / 4) + (feature & 3) * 4));
                x.r[2 * i][k] = v[0];
                x.r[2 * i + 1][k] = v[1];
            }
    } else {
        load_matrix_4_transposed(x.r, s.address + tile + depth * Chunks * 16 + place<Chunks>(lane & 15, column / 8, lane >> 4));
    }
    return x;
}

__device__ __forceinline__ void multiply_8(float (&c)[4], const Left<bf16>& a, u32 b0, u32 b1) { mma_bf16(c, a.r, b0, b1); }
__device__ __forceinline__ void multiply_8(float (&c)[4], const Left<f16>& a, u32 b0, u32 b1) { mma_half(c, a.r, b0, b1); }

// Adds a step's product to 16 columns.
template <class T> __device__ __forceinline__ void multiply(float (&c0)[4], float (&c1)[4], const Left<T>& a, const Right<T>& b) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int k = 0; k < 4; k++) {
                c0[e] = fmaf(a.r[e >> 1][k], b.r[e & 1][k], c0[e]);
                c1[e] = fmaf(a.r[e >> 1][k], b.r[2 + (e & 1)][k], c1[e]);
            }
    } else {
        multiply_8(c0, a, b.r[0], b.r[1]);
        multiply_8(c1, a, b.r[2], b.r[3]);
    }
}

// Accumulators of Columns columns as the left operand of a next product. 16-bit types have them in place already; single precision passes
// them through 16 x Columns floats of the warp's own shared memory.
template <class T, int Columns> struct Weights {
    Left<T> left[Columns / 16];
    __device__ __forceinline__ Weights(const float (&x)[Columns / 8][4], const Shared&, int) {
#pragma unroll
        for (int i = 0; i < Columns / 16; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) left[i].r[e] = pack(T(), x[2 * i + (e >> 1)][2 * (e & 1)], x[2 * i + (e >> 1)][2 * (e & 1) + 1]);
    }
    __device__ __forceinline__ Left<T> at(const Shared&, int, int step) const { return left[step]; }
};
template <int Columns> struct Weights<float, Columns> {
    __device__ __forceinline__ Weights(const float (&x)[Columns / 8][4], const Shared& s, int scratch) {
        const int lane = lane_id();
        warp_sync();
#pragma unroll
        for (int n = 0; n < Columns / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int column = 8 * n + 2 * (lane & 3);
                store((float*)(s.data + scratch + place<Columns / 4>(lane / 4 + 8 * i, column / 4) + (column & 3) * 4), Vec<float, 2>{x[n][2 * i], x[n][2 * i + 1]});
            }
        warp_sync();
    }
    __device__ __forceinline__ Left<float> at(const Shared& s, int scratch, int step) const { return load_left<float, Columns / 4>(s, scratch, 0, step); }
};

// A warp's own rows as left operands: in registers where they fit, else read from their tile for each product.
template <class T, int D, int Slabs> struct LeftRows {
    static constexpr int kSteps = D / kStep<T>, kChunks = Shape<T, D>::kChunks;
    static constexpr bool kHeld = sizeof(T) == 2 && D <= 64;
    Left<T> held[Slabs][kHeld ? kSteps : 1];
    int tile;
    __device__ __forceinline__ void hold(const Shared& s, int at) {
        tile = at;
        if constexpr (kHeld) {
#pragma unroll
            for (int slab = 0; slab < Slabs; slab++)
#pragma unroll
                for (int step = 0; step < kSteps; step++) held[slab][step] = load_left<T, kChunks>(s, tile, 16 * slab, step);
        }
    }
    __device__ __forceinline__ Left<T> at(const Shared& s, int slab, int step) const {
        if constexpr (kHeld) return held[slab][step];
        else return load_left<T, kChunks>(s, tile, 16 * slab, step);
    }
};

// Accumulators before the first product.
template <int N> __device__ __forceinline__ void clear(float (&x)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) x[n][e] = 0;
}

// x += left rows times Columns rows of a tile, from "column".
template <class T, int D, int Slabs, int Columns>
__device__ __forceinline__ void multiply_rows(float (&x)[Slabs][Columns / 8][4], const Shared& s, const LeftRows<T, D, Slabs>& left, int tile, int column) {
#pragma unroll kUnroll<T>
    for (int step = 0; step < D / kStep<T>; step++) {
        Left<T> rows[Slabs];
#pragma unroll
        for (int slab = 0; slab < Slabs; slab++) rows[slab] = left.at(s, slab, step);
#pragma unroll
        for (int group = 0; group < Columns / 16; group++) {
            Right<T> columns = load_right<T, Shape<T, D>::kChunks>(s, tile, column + 16 * group, step);
#pragma unroll
            for (int slab = 0; slab < Slabs; slab++) multiply(x[slab][2 * group], x[slab][2 * group + 1], rows[slab], columns);
        }
    }
}

// As above for groups of 16 columns in a range only.
template <class T, int D, int Slabs, int Columns>
__device__ __forceinline__ void multiply_groups(float (&x)[Slabs][Columns / 8][4], const Shared& s, const LeftRows<T, D, Slabs>& left, int tile, int begin, int end) {
#pragma unroll
    for (int group = 0; group < Columns / 16; group++)
        if (group >= begin && group < end) {
#pragma unroll kUnroll<T>
            for (int step = 0; step < D / kStep<T>; step++) {
                Right<T> columns = load_right<T, Shape<T, D>::kChunks>(s, tile, 16 * group, step);
#pragma unroll
                for (int slab = 0; slab < Slabs; slab++) multiply(x[slab][2 * group], x[slab][2 * group + 1], left.at(s, slab, step), columns);
            }
        }
}

// sum += weights times the tile's rows from "depth": Depth of them, or with Edge their groups of 16 in a range.
template <class T, int D, int Depth, bool Edge>
__device__ __forceinline__ void multiply_across(float (&sum)[D / 8][4], const Shared& s, const Weights<T, Depth>& weights, int scratch, int tile, int depth, int begin, int end) {
#pragma unroll kUnroll<T>
    for (int step = 0; step < Depth / kStep<T>; step++) {
        const int group = step * kStep<T> / 16;
        if (Edge && (group < begin || group >= end)) continue;
        Left<T> w = weights.at(s, scratch, step);
#pragma unroll
        for (int n = 0; n < D / 16; n++)
            multiply(sum[2 * n], sum[2 * n + 1], w, load_right_across<T, Shape<T, D>::kChunks>(s, tile, depth + step * kStep<T>, 16 * n));
    }
}
