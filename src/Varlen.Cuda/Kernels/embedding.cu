// Rows of tables, and their gradients: tokens are sorted by id on the device, so that each row of the table adds its own tokens' rows in a
// fixed order.
#include "rows.cuh"

constexpr int N = kVector<ELEMENT>;
typedef Columns<ELEMENT> Piece;

struct EmbeddingArguments {
    const ELEMENT *table, *position_table;  // the second one null: only the first
    const void *ids, *positions;
    ELEMENT* output;
    i64 tokens;
    i32 rows, position_rows, features, wide_ids, wide_positions, aligned;
};

__device__ __forceinline__ i64 index_of(const void* p, i32 wide, i64 i) { return wide ? ((const i64*)p)[i] : ((const i32*)p)[i]; }

// A warp copies or adds a token's row. An index outside of its table gives NaN: the host checks those that it sees.
template <bool ALIGNED> __device__ __forceinline__ void embed(const EmbeddingArguments& a) {
    i64 token = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (token >= a.tokens) return;
    i64 id = index_of(a.ids, a.wide_ids, token), position = a.position_table ? index_of(a.positions, a.wide_positions, token) : 0;
    bool is_inside = id >= 0 && id < a.rows && position >= 0 && (!a.position_table || position < a.position_rows);
    ELEMENT* output = a.output + token * a.features;
    for (int column = lane_id() * N; column < a.features; column += 32 * N) {
        int left = a.features - column;
        float sum[N];
        Piece x;
        if (!is_inside) {
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] = bits_to_float(0x7FC00000);
            x.set(sum);
        } else {
            x = load_columns<ALIGNED>(a.table + id * a.features + column, left);
            if (a.position_table) {
                Piece y = load_columns<ALIGNED>(a.position_table + position * a.features + column, left);
#pragma unroll
                for (int i = 0; i < N; i++) sum[i] = x[i] + y[i];
                x.set(sum);
            }
        }
        store_columns<ALIGNED>(output + column, left, x);
    }
}

KERNEL(embedding_forward, EmbeddingArguments, 256, 4) {
    if (a.aligned) embed<true>(a);
    else embed<false>(a);
}

// --- sorting tokens by id ---

struct SortArguments {
    const void* ids;
    i32 *keys[2], *tokens[2];  // two buffers each; the result is in number "passes" mod 2
    i32 *begins, *ends;        // [rows], zero before: each id's part of the sorted tokens
    i32 count, rows, passes, wide_ids;
};

constexpr int kDigits = 256, kSortWarps = 32, kAhead = 4;

// The lanes of a warp whose digit is this lane's; none for a lane without a token.
__device__ __forceinline__ u32 lanes_alike(u32 digit, bool is_valid) {
    u32 alike = ballot(is_valid);
#pragma unroll
    for (int bit = 0; bit < 8; bit++) {
        u32 set = ballot((digit >> bit & 1) != 0);
        alike &= digit >> bit & 1 ? set : ~set;
    }
    return is_valid ? alike : 0;
}

__device__ __forceinline__ i32 key_of(const SortArguments& a, int pass, int i) {
    return i >= a.count ? 0 : pass == 0 ? (i32)index_of(a.ids, a.wide_ids, i) : a.keys[pass & 1][i];
}

// A stable radix sort by one block, eight bits a pass. Each warp owns a stretch of tokens, and goes through it in order.
KERNEL(embedding_sort, SortArguments, 1024, 1) {
    __shared__ i32 places[kSortWarps][kDigits], totals[kDigits / 32];
    int warp = threadIdx.x / 32, lane = lane_id();
    int stretch = (int)ceil_div(ceil_div(a.count, kSortWarps), 32) * 32, first = warp * stretch, end = min_of(first + stretch, a.count);
    for (int pass = 0; pass < a.passes; pass++) {
        for (int i = lane; i < kDigits; i += 32) places[warp][i] = 0;
        warp_sync();
        for (int base = first; base < end; base += kAhead * 32) {
            i32 keys[kAhead];
#pragma unroll
            for (int u = 0; u < kAhead; u++) keys[u] = key_of(a, pass, base + u * 32 + lane);
#pragma unroll
            for (int u = 0; u < kAhead; u++) {
                u32 digit = (u32)keys[u] >> (8 * pass) & 255;
                u32 alike = lanes_alike(digit, base + u * 32 + lane < end);
                if (alike != 0 && (alike & ((1u << lane) - 1)) == 0) places[warp][digit] += count_bits(alike);
                warp_sync();
            }
        }
        block_sync();
        // From counts to places: digit by digit, within a digit warp by warp.
        i32 count = 0, up_to = 0;
        if (threadIdx.x < kDigits) {
#pragma unroll 4
            for (int w = 0; w < kSortWarps; w++) {
                i32 here = places[w][threadIdx.x];
                places[w][threadIdx.x] = count;
                count += here;
            }
            up_to = count;
#pragma unroll
            for (int by = 1; by < 32; by *= 2) {
                i32 below = (i32)shuffle((u32)up_to, max_of(lane - by, 0));
                if (lane >= by) up_to += below;
            }
            if (lane == 31) totals[warp] = up_to;
        }
        block_sync();
        if (threadIdx.x < kDigits) {
            i32 before = up_to - count;
            for (int w = 0; w < warp; w++) before += totals[w];
#pragma unroll 4
            for (int w = 0; w < kSortWarps; w++) places[w][threadIdx.x] += before;
        }
        block_sync();
        for (int base = first; base < end; base += kAhead * 32) {
            i32 keys[kAhead], tokens[kAhead];
#pragma unroll
            for (int u = 0; u < kAhead; u++) {
                int i = base + u * 32 + lane;
                keys[u] = key_of(a, pass, i);
                tokens[u] = pass == 0 || i >= a.count ? i : a.tokens[pass & 1][i];
            }
#pragma unroll
            for (int u = 0; u < kAhead; u++) {
                u32 digit = (u32)keys[u] >> (8 * pass) & 255;
                bool is_valid = base + u * 32 + lane < end;
                u32 alike = lanes_alike(digit, is_valid);
                int rank = count_bits(alike & ((1u << lane) - 1)), place = is_valid ? places[warp][digit] + rank : 0;
                warp_sync();
                if (is_valid) {
                    a.keys[~pass & 1][place] = keys[u];
                    a.tokens[~pass & 1][place] = tokens[u];
                    if (rank == 0) places[warp][digit] += count_bits(alike);
                }
                warp_sync();
            }
        }
        block_sync();
    }
    const i32* sorted = a.keys[a.passes & 1];
    for (int i = threadIdx.x; i < a.count; i += blockDim.x) {
        i32 key = sorted[i];
        if (key < 0 || key >= a.rows) continue;
        if (i == 0 || sorted[i - 1] != key) a.begins[key] = i;
        if (i == a.count - 1 || sorted[i + 1] != key) a.ends[key] = i + 1;
    }
}

// --- sums ---

struct EmbeddingBackwardArguments {
    const ELEMENT* output_gradient;     // [tokens, features]
    const i32 *keys, *tokens;           // sorted
    const i32 *begins, *ends;           // [rows]
    float* runs;                        // [count / kRun, features]
    i32 count, features, padding_index, aligned;
    Target gradient;                    // [rows, features]
};

// Sorted tokens are cut into runs of this many. A run within one id is added up by a block of its own, so that frequent ids share the
// device; it also bounds the rounding error of their long sums.
constexpr int kRun = 64;

template <bool ALIGNED> __device__ __forceinline__ void add_rows(const EmbeddingBackwardArguments& a, int from, int to, int column, float (&sum)[N]) {
    int left = a.features - column;
    for (int first = from; first < to; first += kAhead) {
        Piece x[kAhead];
#pragma unroll
        for (int u = 0; u < kAhead; u++)
            if (first + u < to) x[u] = load_columns<ALIGNED>(a.output_gradient + (i64)a.tokens[first + u] * a.features + column, left);
#pragma unroll
        for (int u = 0; u < kAhead; u++) {
            if (first + u >= to) continue;
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] += x[u][i];
        }
    }
}

template <bool ALIGNED> __device__ __forceinline__ void sum_run(const EmbeddingBackwardArguments& a) {
    int from = blockIdx.x * kRun, key = a.keys[from];
    if (a.keys[from + kRun - 1] != key || key == a.padding_index) return;
    for (int column = threadIdx.x * N; column < a.features; column += blockDim.x * N) {
        float sum[N] = {};
        add_rows<ALIGNED>(a, from, from + kRun, column, sum);
        write_as<ALIGNED>(a.runs + (i64)blockIdx.x * a.features + column, false, a.features - column, sum);
    }
}

// Whole runs only.
KERNEL(embedding_runs, EmbeddingBackwardArguments, 256, 4) {
    if (a.aligned) sum_run<true>(a);
    else sum_run<false>(a);
}

template <bool ALIGNED> __device__ __forceinline__ void sum_tokens(const EmbeddingBackwardArguments& a) {
    i64 row = blockIdx.x;
    int begin = a.begins[row], end = row == a.padding_index ? begin : a.ends[row];
    if (begin >= end && a.gradient.accumulate) return;
    int first_run = (begin + kRun - 1) / kRun, end_run = end / kRun;
    if (first_run >= end_run) first_run = end_run = -1;
    for (int column = threadIdx.x * N; column < a.features; column += blockDim.x * N) {
        float sum[N] = {};
        add_rows<ALIGNED>(a, begin, first_run < 0 ? end : first_run * kRun, column, sum);
        if (first_run >= 0) {
            for (int run = first_run; run < end_run; run++) {
                const float* p = a.runs + (i64)run * a.features + column;
#pragma unroll
                for (int i = 0; i < N; i++)
                    if (exists<ALIGNED>(i, a.features - column)) sum[i] += p[i];
            }
            add_rows<ALIGNED>(a, end_run * kRun, end, column, sum);
        }
        write_columns<ALIGNED, ELEMENT>(a.gradient, row * a.features + column, a.features - column, sum);
    }
}

KERNEL(embedding_backward, EmbeddingBackwardArguments, 256, 4) {
    if (a.aligned) sum_tokens<true>(a);
    else sum_tokens<false>(a);
}
