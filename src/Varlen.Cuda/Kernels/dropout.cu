// Dropout: the mask is a function of counters, so nothing is kept for the backward pass. docs/numerics.md says which word is whose.
#include "vector.cuh"

struct DropoutArguments {
    const void* input;
    Target output;
    const StepState* state;
    const u64* documents;  // of each row; all 0 when null
    const u32* positions;  // of each row; its index when null
    i64 rows;
    i32 features;
    u32 threshold, layer;
    float scale;
    i32 row_threads;       // threads that share a row, a power of two
    i32 thread_rows;       // neighbouring rows of a thread
    i32 is_vector;         // rows are whole vectors
};

// The key of each round. They change with the document only, so ten rounds cost two products and two exclusive ors each.
struct RoundKeys { u32 k[20]; };

__device__ __forceinline__ RoundKeys key_of(const DropoutArguments& a, u64 document, u64 step, u64 seed) {
    Philox key = philox((u32)document, (u32)(document >> 32), (u32)step, (u32)(step >> 32) << 16 | a.layer, (u32)seed, (u32)(seed >> 32));
    RoundKeys keys;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        keys.k[2 * round] = key.x + round * 0x9E3779B9u;
        keys.k[2 * round + 1] = key.y + round * 0xBB67AE85u;
    }
    return keys;
}

__device__ __forceinline__ Philox words(u32 c0, u32 c1, const RoundKeys& keys) {
    u32 c2 = 0, c3 = 1;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        u32 n0 = (u32)(p1 >> 32) ^ c1 ^ keys.k[2 * round], n2 = (u32)(p0 >> 32) ^ c3 ^ keys.k[2 * round + 1];
        c1 = (u32)p1; c3 = (u32)p0; c0 = n0; c2 = n2;
    }
    return Philox{c0, c1, c2, c3};
}

// A vector of a row.
__device__ __forceinline__ void drop(const DropoutArguments& a, i64 row, int column, const Raw& raw, u32 position, const RoundKeys& keys, bool whole) {
    constexpr int N = kVector<ELEMENT>;
    float x[N];
    unpack<ELEMENT>(raw, x);
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        Philox word = words((u32)(column + i) >> 2, position, keys);
        x[i] = word.x < a.threshold ? 0 : x[i] * a.scale;
        x[i + 1] = word.y < a.threshold ? 0 : x[i + 1] * a.scale;
        x[i + 2] = word.z < a.threshold ? 0 : x[i + 2] * a.scale;
        x[i + 3] = word.w < a.threshold ? 0 : x[i + 3] * a.scale;
    }
    store_part<ELEMENT>(a.output, row * a.features + column, x, a.features - column, whole);
}

KERNEL(dropout, DropoutArguments, 256, 3) {
    typedef ELEMENT T;
    constexpr int N = kVector<T>, U = 2;
    i64 group = (i64)blockIdx.x * (256 / a.row_threads) + threadIdx.x / a.row_threads;
    int place = threadIdx.x & (a.row_threads - 1), step_columns = a.row_threads * N;
    i64 end = min_of(a.rows, (group + 1) * a.thread_rows);
    u64 step = (u64)a.state->step, seed = a.state->seed, document = 0;
    RoundKeys keys;
    bool has_keys = false;
    for (i64 row = group * a.thread_rows; row < end; row++) {
        u64 own = a.documents ? a.documents[row] : 0;
        if (!has_keys || own != document) keys = key_of(a, document = own, step, seed);
        has_keys = true;
        u32 position = a.positions ? a.positions[row] : (u32)row;
        const T* input = (const T*)a.input + row * a.features;
        int column = place * N;
        if (a.is_vector) {
            for (; column + (U - 1) * step_columns < a.features; column += U * step_columns) {
                Raw raw[U];
#pragma unroll
                for (int u = 0; u < U; u++) raw[u] = load<4>((const u32*)(input + column + u * step_columns));
#pragma unroll
                for (int u = 0; u < U; u++) drop(a, row, column + u * step_columns, raw[u], position, keys, true);
            }
        }
        for (; column < a.features; column += step_columns) drop(a, row, column, load_part(input + column, a.features - column, a.is_vector), position, keys, a.is_vector);
    }
}
