// Tiles between global and shared memory.
#pragma once
#include "attention_fragments.cuh"

// Copies rows into a tile in the background; rows from "valid" on and features beyond the head dim become 0, so that nothing that lies
// there, NaN included, enters a product. A thread keeps its columns and steps by rows: few addresses live across products. Passes: rows a
// thread copies to.
template <class T, int D, int Passes>
__device__ __forceinline__ void copy_rows(const Shared& s, int tile, const T* source, i64 stride, bool vector, int valid, int dim, int thread, int threads) {
    constexpr int kChunks = Shape<T, D>::kChunks, kWidth = kVector<T>, kWide = kGroup<kChunks>;
    const int column = thread % kWide, row0 = thread / kWide, rows = threads / kWide;
    if (vector) {
        const T* from = source + row0 * stride + column * kWidth;
#pragma unroll
        for (int pass = 0; pass < Passes; pass++) {
            const int row = row0 + pass * rows;
#pragma unroll
            for (int chunk = 0; chunk < kChunks; chunk += kWide) {
                const bool inside = row < valid && (chunk + column) * kWidth < dim;
                copy_async_16(s.address + tile + place<kChunks>(row, chunk, column), inside ? from + chunk * kWidth : source, inside ? 16 : 0);
            }
            from += rows * stride;
        }
    } else {
        // Rows that are not made of aligned vectors: element by element.
        const int column = opaque(thread) % kWide, row0 = opaque(thread) / kWide;
#pragma unroll 1
        for (int pass = 0; pass < Passes; pass++)
#pragma unroll 1
            for (int chunk = 0; chunk < kChunks; chunk += kWide) {
                const int row = row0 + pass * rows, first = (chunk + column) * kWidth;
                Vec<T, kWidth> x;
#pragma unroll
                for (int e = 0; e < kWidth; e++) x[e] = row < valid && first + e < dim ? source[row * stride + first + e] : from_float<T>(0.f);
                store((T*)(s.data + tile + place<kChunks>(row, chunk, column)), x);
            }
    }
}

// As copy_rows for keys that lie on pages, each row where the table says; from row "first" of the sequence.
template <class T, int D, int Passes>
__device__ __forceinline__ void copy_paged_rows(const Shared& s, int tile, const T* source, i64 stride, bool vector, const i32* table, int page_size, int first, int valid, int dim, int thread, int threads) {
    constexpr int kChunks = Shape<T, D>::kChunks, kWidth = kVector<T>, kWide = kGroup<kChunks>;
    const int column = thread % kWide, row0 = thread / kWide, rows = threads / kWide;
#pragma unroll 1
    for (int pass = 0; pass < Passes; pass++) {
        const int row = row0 + pass * rows, key = first + row;
        const T* from = row < valid ? source + ((i64)table[key / page_size] * page_size + key % page_size) * stride : source;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; chunk += kWide) {
            const int feature = (chunk + column) * kWidth, to = tile + place<kChunks>(row, chunk, column);
            const bool inside = row < valid && feature < dim;
            if (vector) {
                copy_async_16(s.address + to, inside ? from + feature : source, inside ? 16 : 0);
            } else {
                Vec<T, kWidth> x;
#pragma unroll
                for (int e = 0; e < kWidth; e++) x[e] = inside && feature + e < dim ? from[feature + e] : from_float<T>(0.f);
                store((T*)(s.data + to), x);
            }
        }
    }
}

// Rows of a tile: all warps' of a whole tile, or a small sequence's.
template <class T, int D, int Rows, bool Whole>
__device__ __forceinline__ void copy_tile(const Shared& s, int tile, const Place& at, const T* source, i64 stride, bool vector, int valid, int dim) {
    using S = Shape<T, D>;
    if constexpr (Whole) copy_rows<T, D, Rows * kGroup<S::kChunks> / S::kThreads>(s, tile, source, stride, vector, valid, dim, threadIdx.x, S::kThreads);
    else copy_rows<T, D, kGroup<S::kChunks> / 2>(s, tile, source, stride, vector, valid, dim, opaque(at.thread()), at.threads());
}

// Writes 16 rows of accumulators, each row times its factor. They pass through "staging", 16 rows of a tile that only this warp reads and
// has read for the last time: so that whole lines are written.
template <class T, int D>
__device__ __forceinline__ void write_rows(const Shared& s, int staging, const float (&x)[D / 8][4], float factor0, float factor1, const Operand& to, T* row0, int rows, int dim) {
    constexpr int kHalf = D / 2, kQuads = kHalf / 4;
    const int lane = lane_id();
    if (to.data == nullptr || rows <= 0) return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        warp_sync();
#pragma unroll
        for (int n = 0; n < kHalf / 8; n++) {
            int column = 8 * n + 2 * (lane & 3), source = half * (kHalf / 8) + n;
            store((float*)(s.data + staging + place<kQuads>(lane / 4, column / 4) + (column & 3) * 4), Vec<float, 2>{x[source][0] * factor0, x[source][1] * factor0});
            store((float*)(s.data + staging + place<kQuads>(lane / 4 + 8, column / 4) + (column & 3) * 4), Vec<float, 2>{x[source][2] * factor1, x[source][3] * factor1});
        }
        warp_sync();
        const int begin = half * kHalf;
        if (to.vector) {
            constexpr int kWidth = kVector<T>, kVectors = kHalf / kWidth;
#pragma unroll
            for (int pass = 0; pass < kVectors / 2; pass++) {
                const int i = 32 * pass + lane, row = i / kVectors, column = i % kVectors * kWidth;
                if (row >= rows || begin + column >= dim) continue;
                Vec<T, kWidth> y;
#pragma unroll
                for (int e = 0; e < kWidth; e += 4) {
                    Vec<float, 4> v = load<4>((const float*)(s.data + staging + place<kQuads>(row, (column + e) / 4)));
#pragma unroll
                    for (int k = 0; k < 4; k++) y[e + k] = from_float<T>(v[k]);
                }
                store(row0 + row * to.token + begin + column, y);
            }
        } else {
            const Target target{to.data, to.dtype, to.accumulate};
            const i64 origin = row0 - (T*)to.data;
#pragma unroll 1
            for (int i = lane; i < 16 * kHalf; i += 32) {
                int row = i / kHalf, column = i % kHalf;
                if (row >= rows || begin + column >= dim) continue;
                target.write(origin + row * to.token + begin + column, *(const float*)(s.data + staging + place<kQuads>(row, column / 4) + (column & 3) * 4));
            }
        }
    }
    warp_sync();
}

// Blocks of two operands' rows (keys and values, or queries and the output's gradient) on their way through a ring of two slots each. A
// small sequence has one block.
template <class T, int D, int Rows, bool Whole> struct Ring {
    static constexpr int kTile = Rows * D * (int)sizeof(T), kBytes = 4 * kTile;
    const T *first, *second;  // the sequence's first rows
    i64 first_stride, second_stride;
    bool first_vector, second_vector;
    int place;  // of the first operand's slots; the second's follow
    __device__ __forceinline__ int slot(int number) const { return place + (Whole ? (number & 1) * kTile : 0); }
    // number: of the block among all that pass; index: in its sequence of "length" rows; second_length: 0 when the operand is absent.
    __device__ __forceinline__ void fetch(const Shared& s, const Place& at, int number, int index, int length, int second_length, int dim) const {
        const int to = slot(number);
        const i64 row = (i64)index * Rows;
        copy_tile<T, D, Rows, Whole>(s, to, at, first + row * first_stride, first_stride, first_vector, length - (int)row, dim);
        copy_tile<T, D, Rows, Whole>(s, to + 2 * kTile, at, second + row * second_stride, second_stride, second_vector, second_length - (int)row, dim);
    }
};

// The same ring over pages: "first" and "second" are the cache's first rows.
template <class T, int D, int Rows, bool Whole> struct PagedRing : Ring<T, D, Rows, Whole> {
    using Base = Ring<T, D, Rows, Whole>;
    const i32* table;  // the sequence's row
    int page_size;
    __device__ __forceinline__ PagedRing(const Base& ring, const i32* table, int page_size) : Base(ring), table(table), page_size(page_size) {}
    __device__ __forceinline__ void fetch(const Shared& s, const Place& at, int number, int index, int length, int second_length, int dim) const {
        using S = Shape<T, D>;
        constexpr int kPasses = Whole ? Rows * kGroup<S::kChunks> / S::kThreads : kGroup<S::kChunks> / 2;
        const int to = Base::slot(number), row = index * Rows, thread = Whole ? (int)threadIdx.x : at.thread(), threads = Whole ? S::kThreads : at.threads();
        copy_paged_rows<T, D, kPasses>(s, to, Base::first, Base::first_stride, Base::first_vector, table, page_size, row, length - row, dim, thread, threads);
        copy_paged_rows<T, D, kPasses>(s, to + 2 * Base::kTile, Base::second, Base::second_stride, Base::second_vector, table, page_size, row, second_length - row, dim, thread, threads);
    }
};
