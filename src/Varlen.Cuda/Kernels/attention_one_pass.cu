// Attention's backward pass in one go over the scores: 5 products where the two kernels of attention_backward.cu take 7. A block owns 128
// keys of a sequence and goes over the queries that see any of them, for every query head of the group. Rows are keys and columns queries,
// so that weights and their gradients are born as left operands of the sums over queries, which stay in registers; only the products'
// gradient passes through shared memory, to be turned around for the gradient of the queries. That is added up in a single-precision
// workspace by atomic additions, in any order: the two kernels take over where bits must not change.
//
// What bounds it is reading operands from shared memory, 128 bytes a clock, as much as the tensor cores. At 64 features a warp takes 32 keys
// and each right operand serves two products of rows; two blocks of four warps share a multiprocessor. At 128 features the sums of 16 keys
// are 128 registers, and a block of eight warps has the multiprocessor to itself.
// Options: ELEMENT, HEAD_DIM (64 or 128).
#define FEATURES 0
#include "attention_copy.cuh"
#include "tile_order.cuh"

constexpr int kDim = HEAD_DIM, kSlabs = kDim == 64 ? 2 : 1, kWarps = kDim == 64 ? 4 : 8, kThreads = 32 * kWarps, kBlocks = kDim == 64 ? 2 : 1;
constexpr int kKeys = 16 * kSlabs * kWarps, kQueries = 64, kChunk = kQueries / kSlabs;  // kChunk: queries whose scores are alive at once
constexpr int kChunks = kDim / 8, kRowBytes = 2 * kDim, kKeyTile = kKeys * kRowBytes, kQueryTile = kQueries * kRowBytes, kTermBytes = kQueries * 8;
// Of shared memory: keys, values, two slots of queries and of the output's gradient, products' gradients [keys, queries], two slots of the
// rows' terms.
constexpr int kValuesAt = kKeyTile, kQueriesAt = 2 * kKeyTile, kGradientsAt = kQueriesAt + 2 * kQueryTile, kProductsAt = kGradientsAt + 2 * kQueryTile, kTermsAt = kProductsAt + kKeys * kQueries * 2;
typedef Left<ELEMENT> LeftOperand;
typedef Right<ELEMENT> RightOperand;

// Rows of one sequence that a block takes, and which tiles are of the same sequence: they lie behind each other.
struct GroupedTile {
    Tile tile;
    i32 group_first, group_count;
};

struct OnePassArguments {
    Problem problem;
    const GroupedTile *query_tiles, *key_tiles;  // of kQueries and of kKeys rows
    Operand query, key, value, output, d_output, d_query, d_key, d_value;
    Statistic lse, d_lse;
    Statistic rows;     // pairs for each query and head: log-sum-exp in base 2, +infinity where a row sees no key, so that weights become 0; and delta
    float* workspace;   // [heads, queries, kDim]; of each 16 features, the two pairs that a lane has lie together; or null: nobody wants the queries' gradient
    i64 tokens;         // queries of the workspace
};

// --- before: what a row's weights need, and a workspace of zeros ---

KERNEL(attention_one_pass_before, OnePassArguments, 256, 4) {
    constexpr int kLanes = kDim / 8;
    int head;
    const Tile tile = a.query_tiles[find_tile(a.query_tiles, blockIdx.x, a.problem.query_heads, head)].tile;
    if (tile.rows == 0) return;
    const int lane = threadIdx.x % kLanes;
#pragma unroll
    for (int r = threadIdx.x / kLanes; r < kQueries; r += 256 / kLanes) {
        const i64 token = tile.query_start + tile.first + r;
        float delta = 0, lse = kInfinity;
        if (r < tile.rows) {
            const float natural = *row_of(a.lse, tile, token, head);
            if (natural != -kInfinity) {
                lse = natural * kLog2E;
                const Vec<ELEMENT, 8> x = load<8>(row_of<ELEMENT>(a.output, tile, token, head) + 8 * lane), y = load<8>(row_of<ELEMENT>(a.d_output, tile, token, head) + 8 * lane);
#pragma unroll
                for (int i = 0; i < 8; i++) delta = fmaf(to_float(x[i]), to_float(y[i]), delta);
                if (a.d_lse.data && lane == 0) delta -= *row_of(a.d_lse, tile, token, head);
            }
        }
#pragma unroll
        for (int mask = 1; mask < kLanes; mask *= 2) delta += shuffle_xor(delta, mask);
        if (r >= tile.rows) continue;
        if (lane == 0) store(row_of(a.rows, tile, token, head), Vec<float, 2>{lse, delta});
        if (a.workspace) {
            float* to = a.workspace + (head * a.tokens + token) * kDim + 8 * lane;
            store(to, Vec<float, 4>{0, 0, 0, 0});
            store(to + 4, Vec<float, 4>{0, 0, 0, 0});
        }
    }
}

// --- the pass ---

// x = the warp's keys times kChunk queries, y = its values times as many rows of the output's gradient. Operands are loaded kAhead products
// before they are needed: with two warps a scheduler, nobody else hides the wait.
__device__ __forceinline__ void multiply_chunk(float (&x)[kSlabs][kChunk / 8][4], float (&y)[kSlabs][kChunk / 8][4], const Shared& s, int keys, int queries) {
    constexpr int kGroups = kChunk / 16, kUnits = kDim / 16 * kGroups, kAhead = kSlabs == 2 ? 1 : 2, kRing = kAhead + 1;
    LeftOperand rows[2][kSlabs];
    RightOperand columns[kRing];
    const auto load_unit = [&](int unit) __attribute__((always_inline)) {
        const int of = unit / kUnits, step = unit % kUnits / kGroups, group = unit % kGroups;
        if (group == 0)
#pragma unroll
            for (int slab = 0; slab < kSlabs; slab++) rows[unit / kGroups % 2][slab] = load_left<ELEMENT, kChunks>(s, keys + of * kKeyTile, 16 * slab, step);
        columns[unit % kRing] = load_right<ELEMENT, kChunks>(s, queries + of * 2 * kQueryTile, 16 * group, step);
    };
#pragma unroll
    for (int slab = 0; slab < kSlabs; slab++) {
        clear(x[slab]);
        clear(y[slab]);
    }
#pragma unroll
    for (int unit = 0; unit < kAhead; unit++) load_unit(unit);
#pragma unroll
    for (int unit = 0; unit < 2 * kUnits; unit++) {
        if (unit + kAhead < 2 * kUnits) load_unit(unit + kAhead);
        const int group = unit % kGroups;
#pragma unroll
        for (int slab = 0; slab < kSlabs; slab++) {
            if (unit < kUnits) multiply(x[slab][2 * group], x[slab][2 * group + 1], rows[unit / kGroups % 2][slab], columns[unit % kRing]);
            else multiply(y[slab][2 * group], y[slab][2 * group + 1], rows[unit / kGroups % 2][slab], columns[unit % kRing]);
        }
    }
}

// sum += left operands times kChunk rows of a tile.
__device__ __forceinline__ void add_rows(float (&sum)[kSlabs][kDim / 8][4], const Shared& s, const LeftOperand (&left)[kSlabs][kChunk / 16], int tile) {
#pragma unroll
    for (int step = 0; step < kChunk / 16; step++)
#pragma unroll
        for (int n = 0; n < kDim / 16; n++) {
            const RightOperand columns = load_right_across<ELEMENT, kChunks>(s, tile, 16 * step, 16 * n);
#pragma unroll
            for (int slab = 0; slab < kSlabs; slab++) multiply(sum[slab][2 * n], sum[slab][2 * n + 1], left[slab][step], columns);
        }
}

__device__ __forceinline__ void pack_chunk(LeftOperand (&y)[kSlabs][kChunk / 16], const float (&x)[kSlabs][kChunk / 8][4]) {
#pragma unroll
    for (int slab = 0; slab < kSlabs; slab++)
#pragma unroll
        for (int i = 0; i < kChunk / 16; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) y[slab][i].r[e] = pack(ELEMENT{}, x[slab][2 * i + (e >> 1)][2 * (e & 1)], x[slab][2 * i + (e >> 1)][2 * (e & 1) + 1]);
}

// Where the products' gradient of the lane's element lies: 8 queries are a vector.
__device__ __forceinline__ int product_place(int key, int queries) { return kProductsAt + place<kQueries / 8>(key, 0, queries / 8) + ((int)lane_id() & 3) * 4; }

// Adds what 16 keys of the tile give the gradient of a warp's queries and features.
__device__ __forceinline__ void add_keys(float (&d_query)[2][4][4], const Shared& s, int key, int query_part, int feature_part) {
    const int lane = lane_id();
    LeftOperand left[2];
#pragma unroll
    for (int slab = 0; slab < 2; slab++)
        load_matrix_4_transposed(left[slab].r, s.address + kProductsAt + key * kQueries * 2 + place<kQueries / 8>(8 * (lane >> 4) + (lane & 7), 0, 4 * query_part + 2 * slab + (lane >> 3 & 1)));
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const RightOperand columns = load_right_across<ELEMENT, kChunks>(s, 0, key, 32 * feature_part + 16 * n);
#pragma unroll
        for (int slab = 0; slab < 2; slab++) multiply(d_query[slab][2 * n], d_query[slab][2 * n + 1], left[slab], columns);
    }
}

KERNEL(attention_one_pass, OnePassArguments, kThreads, kBlocks) {
    DYNAMIC_SHARED(memory);
    const Shared shared{memory, shared_address(memory)};
    const Problem& p = a.problem;
    int head;
    const Tile tile = a.key_tiles[find_tile(a.key_tiles, blockIdx.x, p.key_heads, head)].tile;
    if (tile.rows == 0) return;
    const int group = p.query_heads / p.key_heads, thread = threadIdx.x, lane = lane_id(), warp = thread / 32;
    const int local = 16 * kSlabs * warp, row = tile.first + local, rows = min_of(16 * kSlabs, tile.rows - local);
    // Blocks of queries that see any of the tile's keys, for each head of the group.
    int begin = 0, blocks = 0;
    if (tile.queries > 0) {
        begin = queries_of(p, tile, tile.first).low / kQueries;
        blocks = max_of(0, (queries_of(p, tile, tile.first + tile.rows - 1).high + kQueries - 1) / kQueries - begin);
    }
    const int count = blocks * group;

    int next_head = 0, next_block = 0;
    const auto fetch = [&](int number) __attribute__((always_inline)) {
        const int first = (begin + next_block) * kQueries, slot = number & 1, of = head * group + next_head;
        const i64 token = tile.query_start + first;
        copy_rows<ELEMENT, kDim, kQueries * 8 / kThreads>(shared, kQueriesAt + slot * kQueryTile, row_of<ELEMENT>(a.query, tile, token, of), a.query.token, true, tile.queries - first, kDim, thread, kThreads);
        copy_rows<ELEMENT, kDim, kQueries * 8 / kThreads>(shared, kGradientsAt + slot * kQueryTile, row_of<ELEMENT>(a.d_output, tile, token, of), a.d_output.token, true, tile.queries - first, kDim, thread, kThreads);
        if (thread < 2 * kQueries) {
            const bool inside = first + thread / 2 < tile.queries;
            copy_async_4(shared.address + kTermsAt + slot * kTermBytes + 4 * thread, row_of(a.rows, tile, token, of) + (inside ? thread : 0), inside ? 4 : 0);
        }
        copy_async_commit();
        if (++next_block == blocks) next_block = 0, next_head++;
    };

    float d_key[kSlabs][kDim / 8][4], d_value[kSlabs][kDim / 8][4];
#pragma unroll
    for (int slab = 0; slab < kSlabs; slab++) {
        clear(d_key[slab]);
        clear(d_value[slab]);
    }
    if (count > 0) {
        const i64 token = tile.key_start + tile.first;
        copy_rows<ELEMENT, kDim, kKeys * 8 / kThreads>(shared, 0, row_of<ELEMENT>(a.key, tile, token, head), a.key.token, true, tile.rows, kDim, thread, kThreads);
        copy_rows<ELEMENT, kDim, kKeys * 8 / kThreads>(shared, kValuesAt, row_of<ELEMENT>(a.value, tile, token, head), a.value.token, true, tile.rows, kDim, thread, kThreads);
        fetch(0);
    }
    const Bounds lead = queries_of(p, tile, row), trail = queries_of(p, tile, row + max_of(rows, 1) - 1);
    const float factor = p.scale * kLog2E;
    // The gradient of 32 queries and 32 features.
    const int query_part = warp & 1, feature_part = warp >> 1;
    int block = 0, query_head = 0;
#pragma unroll 1
    for (int number = 0; number < count; number++) {
        copy_async_wait<0>();
        block_sync();
        if (number + 1 < count) fetch(number + 1);
        jitter(2 * number);
        const Shared s = shared.here();
        const int start = (begin + block) * kQueries, slot = number & 1;
#pragma unroll 1
        for (int at_row = 0; at_row < kQueries; at_row += kChunk) {
            const int first = start + at_row, queries = kQueriesAt + slot * kQueryTile + at_row * kRowBytes, gradients = queries + 2 * kQueryTile;
            if (rows <= 0 || first >= trail.high || first + kChunk <= lead.low) {
                // Nobody sees these keys, but their part of the queries' product is read.
#pragma unroll
                for (int slab = 0; slab < kSlabs; slab++)
#pragma unroll
                    for (int n = 0; n < kChunk / 8; n++)
#pragma unroll
                        for (int half = 0; half < 2; half++) *(u32*)(s.data + product_place(local + 16 * slab + 8 * half + lane / 4, at_row + 8 * n)) = 0;
                continue;
            }
            float x[kSlabs][kChunk / 8][4], y[kSlabs][kChunk / 8][4];
            multiply_chunk(x, y, s, local * kRowBytes, queries);
            const float* terms = (const float*)(s.data + kTermsAt + slot * kTermBytes) + 2 * (at_row + 2 * (lane & 3));
#pragma unroll
            for (int n = 0; n < kChunk / 8; n++) {
                // Log-sum-exp and delta of two queries.
                const Vec<float, 4> t = load<4>(terms + 16 * n);
#pragma unroll
                for (int slab = 0; slab < kSlabs; slab++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        const float weight = exp2_fast(fmaf(x[slab][n][e], factor, -t[2 * (e & 1)]));
                        x[slab][n][e] = weight;
                        y[slab][n][e] = weight * (y[slab][n][e] - t[2 * (e & 1) + 1]);
                    }
            }
            if (rows < 16 * kSlabs || first < trail.low || first + kChunk > lead.high) {
                // Hidden links count nothing, whatever the operands hold.
#pragma unroll
                for (int slab = 0; slab < kSlabs; slab++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int key = row + 16 * slab + 8 * half + lane / 4;
                        const Bounds seen = queries_of(p, tile, key);
                        const int low = seen.low - first - 2 * (lane & 3), high = (key < tile.keys ? seen.high : 0) - first - 2 * (lane & 3);
#pragma unroll
                        for (int n = 0; n < kChunk / 8; n++)
#pragma unroll
                            for (int e = 0; e < 2; e++) {
                                const bool hidden = 8 * n + e < low || 8 * n + e >= high;
                                x[slab][n][2 * half + e] = hidden ? 0.f : x[slab][n][2 * half + e];
                                y[slab][n][2 * half + e] = hidden ? 0.f : y[slab][n][2 * half + e];
                            }
                    }
            }
            LeftOperand weights[kSlabs][kChunk / 16], products[kSlabs][kChunk / 16];
            pack_chunk(weights, x);
            pack_chunk(products, y);
#pragma unroll
            for (int slab = 0; slab < kSlabs; slab++)
#pragma unroll
                for (int i = 0; i < kChunk / 16; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        *(u32*)(s.data + product_place(local + 16 * slab + 8 * (e & 1) + lane / 4, at_row + 16 * i + 8 * (e >> 1))) = products[slab][i].r[e];
            add_rows(d_value, s, weights, gradients);
            add_rows(d_key, s, products, queries);
        }
        jitter(2 * number + 1);
        block_sync();
        if (a.workspace) {
            float d_query[2][4][4];
            clear(d_query[0]);
            clear(d_query[1]);
            // Keys that some query of the block sees.
            const int low = (keys_of(p, tile, start).low - tile.first) / 16, high = min_of(tile.rows, keys_of(p, tile, min_of(start + kQueries, tile.queries) - 1).high - tile.first);
            if (low <= 0 && high == kKeys) {
#pragma unroll
                for (int step = 0; step < kKeys / 16; step++) add_keys(d_query, s, 16 * step, query_part, feature_part);
            } else {
#pragma unroll 1
                for (int step = max_of(low, 0); 16 * step < high; step++) add_keys(d_query, s, 16 * step, query_part, feature_part);
            }
            const int query = start + 32 * query_part + lane / 4;
            float* to = a.workspace + ((head * group + query_head) * a.tokens + tile.query_start + query) * kDim + 32 * feature_part + 4 * (lane & 3);
#pragma unroll
            for (int slab = 0; slab < 2; slab++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    if (query + 16 * slab + 8 * half < tile.queries)
#pragma unroll
                        for (int n = 0; n < 2; n++)
                            add_global_4(to + (16 * slab + 8 * half) * kDim + 16 * n, d_query[slab][2 * n][2 * half], d_query[slab][2 * n][2 * half + 1], d_query[slab][2 * n + 1][2 * half], d_query[slab][2 * n + 1][2 * half + 1]);
        }
        if (++block == blocks) block = 0, query_head++;
    }
    // Keys and values become the staging of what is written.
    block_sync();
#pragma unroll
    for (int slab = 0; slab < kSlabs; slab++) {
        const i64 token = tile.key_start + row + 16 * slab;
        const int at = (local + 16 * slab) * kRowBytes;
        write_rows<ELEMENT, kDim>(shared, at, d_key[slab], p.scale, p.scale, a.d_key, row_of<ELEMENT>(a.d_key, tile, token, head), min_of(16, rows - 16 * slab), kDim);
        write_rows<ELEMENT, kDim>(shared, kValuesAt + at, d_value[slab], 1.f, 1.f, a.d_value, row_of<ELEMENT>(a.d_value, tile, token, head), min_of(16, rows - 16 * slab), kDim);
    }
}

// --- after: the queries' gradient from the workspace ---

KERNEL(attention_one_pass_after, OnePassArguments, 256, 4) {
    constexpr int kLanes = kDim / 16;
    int head;
    const Tile tile = a.query_tiles[find_tile(a.query_tiles, blockIdx.x, a.problem.query_heads, head)].tile;
    if (tile.rows == 0) return;
    const int part = threadIdx.x % kLanes;
#pragma unroll
    for (int r = threadIdx.x / kLanes; r < kQueries; r += 256 / kLanes) {
        if (r >= tile.rows) break;
        const i64 token = tile.query_start + tile.first + r;
        const float* from = a.workspace + (head * a.tokens + token) * kDim + 16 * part;
        float x[16];
#pragma unroll
        for (int t = 0; t < 4; t++) {
            const Vec<float, 4> v = load<4>(from + 4 * t);
            x[2 * t] = v[0] * a.problem.scale;
            x[2 * t + 1] = v[1] * a.problem.scale;
            x[8 + 2 * t] = v[2] * a.problem.scale;
            x[8 + 2 * t + 1] = v[3] * a.problem.scale;
        }
        ELEMENT* to = row_of<ELEMENT>(a.d_query, tile, token, head) + 16 * part;
        if (a.d_query.vector) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                Vec<ELEMENT, 8> y;
#pragma unroll
                for (int i = 0; i < 8; i++) y[i] = from_float<ELEMENT>(x[8 * half + i]);
                store(to + 8 * half, y);
            }
        } else {
            const Target target{a.d_query.data, a.d_query.dtype, a.d_query.accumulate};
            const i64 origin = to - (ELEMENT*)a.d_query.data;
#pragma unroll
            for (int i = 0; i < 16; i++) target.write(origin + i, x[i]);
        }
    }
}
