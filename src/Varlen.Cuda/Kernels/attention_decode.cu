// Attention of a few new tokens to many cached keys: decoding. It is bound by reading keys and values once, so the query heads that share a
// key head are rows of one tile, and long sequences are split over blocks whose results a second kernel adds up in order. The number of
// parts and their borders depend on the sequence's own lengths only, whether the host cuts them or, in a recorded step, the kernel.
// Options: ELEMENT, HEAD_DIM (a bucket; features beyond the real head dim are 0).
#define FEATURES 1
#include "attention_copy.cuh"
#include "attention_scores.cuh"

// A part of a sequence's keys.
struct DecodePart {
    i64 query_start, key_start;
    i32 queries, keys;  // lengths of the sequence
    i32 first, end;     // keys of the part; none when no query sees any
    i32 row;            // of the page table
    i32 index, parts;   // which part of how many
    i32 unused;
};

struct DecodeArguments {
    Problem problem;
    const DecodePart* list;
    const i32* pages;  // [sequences, columns], or null when keys lie in one piece
    i32 page_size, columns;
    i32 tiles;      // of 16 rows, of the sequence with most
    i32 row_parts;  // parts that there is room for in each sequence, where there is no list
    Operand query, key, value, output;
    Statistic lse;
    float *part_output, *part_statistics;  // [parts, key heads, tiles, 16, dim] and [..., 2]
    const i32* divided;  // first parts of the sequences that have several
    const i32* lengths;  // keys of each sequence, where the device alone knows them: then there is no list, and each sequence has one query
};

// The twins of DecodeParts.LeastKeys, MostParts and Step.
constexpr i32 kLeastKeys = 256, kMostParts = 64, kPartStep = 64;

// A part from the list, or as the host would have cut it. One that there is not has no queries.
__device__ __forceinline__ DecodePart part_of(const DecodeArguments& a, int item) {
    if (!a.lengths) return a.list[item];
    const Problem& p = a.problem;
    const i32 row = item / a.row_parts, index = item % a.row_parts, keys = a.lengths[row], at = p.bottom_right ? keys - 1 : 0;
    i32 first = p.left == 0x7fffffff ? 0 : min_of(max_of(at - p.left, 0), keys), end = p.right == 0x7fffffff ? keys : min_of(max_of(at + p.right + 1, 0), keys);
    first = first / kPartStep * kPartStep;
    end = max_of(first, end);
    const i32 size = max_of(kLeastKeys, (i32)ceil_div(ceil_div(end - first, kMostParts), kPartStep) * kPartStep), parts = max_of(1, (i32)ceil_div(end - first, size));
    DecodePart part;
    part.query_start = row;
    part.key_start = 0;
    part.queries = index < parts ? 1 : 0;
    part.keys = keys;
    part.first = first + index * size;
    part.end = min_of(end, part.first + size);
    part.row = row;
    part.index = index;
    part.parts = parts;
    return part;
}

// The warps of a block take steps of keys in turn, each through two stages of its own; they meet only at the end.
template <class T, int D> struct DecodeShape {
    static constexpr int kRowBytes = D * (int)sizeof(T);
    static constexpr int kWarps = kRowBytes > 512 ? 2 : 4;
    static constexpr int kThreads = 32 * kWarps;
    static constexpr int kKeys = kRowBytes <= 128 ? 32 : 16;
    static constexpr int kTile = kKeys * kRowBytes;
    static constexpr int kQueries = 16 * kRowBytes;
    static constexpr int kScratch = sizeof(T) == 4 ? 16 * kKeys * 4 : 0;
    static constexpr int kWarp = 4 * kTile + kScratch;
};

// Rows of a tile are the queries of the heads of one group: row r is query r / group, head r % group of it.
struct DecodeRows {
    int group, first, count;
    __device__ __forceinline__ int query(int row) const { return (first + row) / group; }
    __device__ __forceinline__ int head(int row, int key_head) const { return key_head * group + (first + row) % group; }
};

// Copies a step's keys and values in the background. Each lane looks up the place of one key.
template <class T, int D>
__device__ __forceinline__ void copy_step(const DecodeArguments& a, const DecodePart& part, const Shared& s, int tile, int key_head, int first) {
    using S = DecodeShape<T, D>;
    constexpr int kChunks = Shape<T, D>::kChunks, kWidth = kVector<T>, kWide = kGroup<kChunks>, kRows = 32 / kWide;
    const int lane = lane_id(), column = lane % kWide, row0 = lane / kWide, valid = part.end - first, dim = a.problem.dim;
    const int mine = first + min_of(lane, max_of(valid - 1, 0));
    i32 token = 0;
    if (valid > 0) token = a.pages ? a.pages[(i64)part.row * a.columns + mine / a.page_size] * a.page_size + mine % a.page_size : (i32)part.key_start + mine;
    const T* key = (const T*)a.key.data + key_head * a.key.head;
    const T* value = (const T*)a.value.data + key_head * a.value.head;
#pragma unroll
    for (int pass = 0; pass < S::kKeys / kRows; pass++) {
        const int row = row0 + pass * kRows;
        const i64 at = (i32)shuffle((u32)token, row);
#pragma unroll
        for (int chunk = 0; chunk < kChunks; chunk += kWide) {
            const int feature = (chunk + column) * kWidth;
            const bool inside = row < valid && feature < dim;
            const int to = tile + place<kChunks>(row, chunk, column);
            if (a.key.vector) {
                copy_async_16(s.address + to, inside ? key + at * a.key.token + feature : (const T*)a.key.data, inside ? 16 : 0);
            } else {
                Vec<T, kWidth> x;
#pragma unroll
                for (int e = 0; e < kWidth; e++) x[e] = inside && feature + e < dim ? key[at * a.key.token + feature + e] : from_float<T>(0.f);
                store((T*)(s.data + to), x);
            }
            if (a.value.vector) {
                copy_async_16(s.address + to + 2 * S::kTile, inside ? value + at * a.value.token + feature : (const T*)a.value.data, inside ? 16 : 0);
            } else {
                Vec<T, kWidth> x;
#pragma unroll
                for (int e = 0; e < kWidth; e++) x[e] = inside && feature + e < dim ? value[at * a.value.token + feature + e] : from_float<T>(0.f);
                store((T*)(s.data + to + 2 * S::kTile), x);
            }
        }
    }
    copy_async_commit();
}

// The queries of the tile; rows and features that there are none of become 0.
template <class T, int D> __device__ __forceinline__ void copy_queries(const DecodeArguments& a, const DecodePart& part, const Shared& s, const DecodeRows& rows, int key_head) {
    constexpr int kChunks = Shape<T, D>::kChunks, kWidth = kVector<T>;
#pragma unroll 1
    for (int i = threadIdx.x; i < 16 * kChunks; i += DecodeShape<T, D>::kThreads) {
        const int row = i / kChunks, chunk = i % kChunks;
        const T* from = (const T*)a.query.data + (part.query_start + rows.query(row)) * a.query.token + rows.head(row, key_head) * a.query.head + chunk * kWidth;
        Vec<T, kWidth> x;
#pragma unroll
        for (int e = 0; e < kWidth; e++) x[e] = row < rows.count && chunk * kWidth + e < a.problem.dim ? from[e] : from_float<T>(0.f);
        store((T*)(s.data + place<kChunks>(row, chunk)), x);
    }
}

// What this warp has seen of its rows l / 4 and l / 4 + 8: their bounds, slopes, and sums so far.
template <int D> struct DecodeState {
    Bounds bounds[2];
    float slope[2];
    float center[2];  // the key that the query stands at
    float maximum[2], sum[2];
    float output[D / 8][4];
};

template <class T, int D>
__device__ __forceinline__ void add_step(const DecodeArguments& a, const Shared& s, const LeftRows<T, D, 1>& queries, DecodeState<D>& state, int keys, int scratch, int first) {
    using S = DecodeShape<T, D>;
    const Problem& p = a.problem;
    float x[1][S::kKeys / 8][4] = {};
    multiply_rows<T, D, 1, S::kKeys>(x, s, queries, keys, 0);
    const int origin = first + 2 * ((int)lane_id() & 3);
#pragma unroll
    for (int n = 0; n < S::kKeys / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float score = x[0][n][e] * p.scale;
            if (p.softcap != 0) score = p.softcap * tanh_of(score / p.softcap);
            if (p.slopes) score -= state.slope[e >> 1] * fabsf(state.center[e >> 1] - (float)(origin + 8 * n + (e & 1)));
            x[0][n][e] = score;
        }
    hide<S::kKeys>(x[0], state.bounds[0], state.bounds[1], first);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float maximum = state.maximum[i];
#pragma unroll
        for (int n = 0; n < S::kKeys / 8; n++) maximum = max_nan(maximum, max_nan(x[0][n][2 * i], x[0][n][2 * i + 1]));
        maximum = max_nan(maximum, shuffle_xor(maximum, 1));
        maximum = max_nan(maximum, shuffle_xor(maximum, 2));
        // A row that has seen nothing yet: any finite number keeps the infinities apart.
        const float base = maximum == -kInfinity ? 0.f : maximum;
        const float shrink = exp2_fast((state.maximum[i] - base) * kLog2E);
        state.maximum[i] = maximum;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < S::kKeys / 8; n++)
#pragma unroll
            for (int e = 2 * i; e < 2 * i + 2; e++) sum += x[0][n][e] = exp2_fast((x[0][n][e] - base) * kLog2E);
        state.sum[i] = state.sum[i] * shrink + sum;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            state.output[n][2 * i] *= shrink;
            state.output[n][2 * i + 1] *= shrink;
        }
    }
    const Weights<T, S::kKeys> weights(x[0], s, scratch);
    multiply_across<T, D, S::kKeys, false>(state.output, s, weights, scratch, keys + 2 * S::kTile, 0, 0, 0);
}

// Sums of several origins: adds those of one to what has been added up, in place of the larger maximum.
struct Merged {
    float maximum, total;
    __device__ __forceinline__ float weight(float of) const { return of == -kInfinity ? 0.f : exp2_fast((of - maximum) * kLog2E); }
};

typedef DecodeShape<ELEMENT, HEAD_DIM> ThisShape;

KERNEL(attention_decode, DecodeArguments, ThisShape::kThreads, 2) {
    typedef ELEMENT T;
    constexpr int D = HEAD_DIM;
    using S = ThisShape;
    DYNAMIC_SHARED(memory);
    const Shared s{memory, shared_address(memory)};
    const Problem& p = a.problem;
    const int unit = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles, key_head = unit % p.key_heads, item = unit / p.key_heads;
    const DecodePart part = part_of(a, item);
    DecodeRows rows;
    rows.group = p.query_heads / p.key_heads;
    rows.first = 16 * tile;
    rows.count = min_of(16, part.queries * rows.group - rows.first);
    if (rows.count <= 0) return;
    const int lane = lane_id(), warp = threadIdx.x / 32, ring = S::kQueries + warp * S::kWarp;

    int first = part.first + warp * S::kKeys;
    copy_step<T, D>(a, part, s, ring, key_head, first);
    copy_queries<T, D>(a, part, s, rows, key_head);
    block_sync();
    LeftRows<T, D, 1> queries;
    queries.hold(s, 0);
    DecodeState<D> state = {};
    const int shift = p.bottom_right ? part.keys - part.queries : 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = lane / 4 + 8 * i;
        const bool inside = row < rows.count;
        state.maximum[i] = -kInfinity;
        state.bounds[i] = around(rows.query(row) + shift, p.left, p.right, inside ? part.end : 0);
        state.center[i] = (float)(rows.query(row) + shift);
        if (p.slopes && inside) {
            const int head = rows.head(row, key_head);
            state.slope[i] = p.slopes_double ? (float)((const double*)p.slopes)[head] : ((const float*)p.slopes)[head];
        }
    }
    for (int stage = 0; first < part.end; first += S::kKeys * S::kWarps, stage ^= 1) {
        copy_step<T, D>(a, part, s.here(), ring + (stage ^ 1) * S::kTile, key_head, first + S::kKeys * S::kWarps);
        copy_async_wait<1>();
        warp_sync();
        jitter(first);
        add_step<T, D>(a, s.here(), queries, state, ring + stage * S::kTile, ring + 4 * S::kTile, first);
        warp_sync();
    }
    copy_async_wait<0>();

    // Each warp's sums, in the place of its stages.
    float* sums = (float*)(s.data + ring);
    float* statistics = (float*)s.data;
    block_sync();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = state.sum[i];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        const int row = lane / 4 + 8 * i;
        if ((lane & 3) == 0) {
            statistics[2 * (16 * warp + row)] = state.maximum[i];
            statistics[2 * (16 * warp + row) + 1] = sum;
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) store(sums + row * D + 8 * n + 2 * (lane & 3), Vec<float, 2>{state.output[n][2 * i], state.output[n][2 * i + 1]});
    }
    block_sync();
    const i64 slot = ((i64)item * p.key_heads + key_head) * a.tiles + tile;
#pragma unroll 1
    for (int i = threadIdx.x; i < rows.count * D; i += S::kThreads) {
        const int row = i / D, feature = i % D;
        Merged merged{-kInfinity, 0};
#pragma unroll
        for (int w = 0; w < S::kWarps; w++) merged.maximum = max_nan(merged.maximum, statistics[2 * (16 * w + row)]);
        float output = 0;
#pragma unroll
        for (int w = 0; w < S::kWarps; w++) {
            const float weight = merged.weight(statistics[2 * (16 * w + row)]);
            merged.total += weight * statistics[2 * (16 * w + row) + 1];
            output += weight * ((const float*)(s.data + S::kQueries + w * S::kWarp))[i];
        }
        if (feature >= p.dim) continue;
        if (part.parts > 1) {
            a.part_output[(slot * 16 + row) * p.dim + feature] = output;
            if (feature == 0) store(a.part_statistics + 2 * (slot * 16 + row), Vec<float, 2>{merged.maximum, merged.total});
            continue;
        }
        const i64 query = part.query_start + rows.query(row);
        const int head = rows.head(row, key_head);
        ((T*)a.output.data)[query * a.output.token + head * a.output.head + feature] = from_float<T>(merged.total == 0 ? 0.f : output / merged.total);
        if (feature == 0) a.lse.data[query * a.lse.token + head * a.lse.head] = merged.total == 0 ? -kInfinity : merged.maximum + logf(merged.total);
    }
}

// Adds up the parts of a sequence, in order.
KERNEL(attention_decode_combine, DecodeArguments, 128, 4) {
    typedef ELEMENT T;
    const Problem& p = a.problem;
    const int unit = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles, key_head = unit % p.key_heads, item = a.lengths ? unit / p.key_heads * a.row_parts : a.divided[unit / p.key_heads];
    const DecodePart part = part_of(a, item);
    if (part.parts == 1) return;
    DecodeRows rows;
    rows.group = p.query_heads / p.key_heads;
    rows.first = 16 * tile;
    rows.count = min_of(16, part.queries * rows.group - rows.first);
    const i64 step = (i64)p.key_heads * a.tiles * 16, first = (((i64)item * p.key_heads + key_head) * a.tiles + tile) * 16;
    for (int i = threadIdx.x; i < rows.count * p.dim; i += 128) {
        const int row = i / p.dim, feature = i % p.dim;
        Merged merged{-kInfinity, 0};
        for (int k = 0; k < part.parts; k++) merged.maximum = max_nan(merged.maximum, a.part_statistics[2 * (first + row + k * step)]);
        float output = 0;
        for (int k = 0; k < part.parts; k++) {
            const float weight = merged.weight(a.part_statistics[2 * (first + row + k * step)]);
            merged.total += weight * a.part_statistics[2 * (first + row + k * step) + 1];
            output += weight * a.part_output[(first + row + k * step) * p.dim + feature];
        }
        const i64 query = part.query_start + rows.query(row);
        const int head = rows.head(row, key_head);
        ((T*)a.output.data)[query * a.output.token + head * a.output.head + feature] = from_float<T>(merged.total == 0 ? 0.f : output / merged.total);
        if (feature == 0) a.lse.data[query * a.lse.token + head * a.lse.head] = merged.total == 0 ? -kInfinity : merged.maximum + logf(merged.total);
    }
}
