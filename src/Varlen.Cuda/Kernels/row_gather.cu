// Moves rows: destination[i] is source[indices[i]], or a value where the index is -1; or scatters them: destination[indices[i]] is source[i], where
// the index is not negative.
#include "any_type.cuh"
#include "vector.cuh"

struct GatherArguments {
    const void* source;
    void* destination;
    const i32* indices;
    i64 rows, source_stride, stride;  // in items: units where rows are moved, else elements
    i32 source_type, destination_type;
    i32 accumulate, unit;  // bytes that are moved at once, where no value changes
    u64 fill;              // the bits of the value, repeated to 8 bytes
    double fill_value;
    Divider row_items;
    i32 padding;
};

__device__ __forceinline__ void place(const GatherArguments& a, i64 item, i64& row, i64& column) {
    row = item <= 0x7fffffff ? a.row_items.divide((u32)item) : item / a.row_items.divisor;
    column = item - row * a.row_items.divisor;
}

template <class U> __device__ __forceinline__ void move_rows(const GatherArguments& a, U fill) {
    for (i64 i = (i64)blockIdx.x * 256 + threadIdx.x; i < a.rows * a.row_items.divisor; i += (i64)gridDim.x * 256) {
        i64 row, column;
        place(a, i, row, column);
        i32 from = a.indices[row];
        U* to = (U*)a.destination + row * a.stride + column;
        // Not by ?:, which would choose between addresses and keep the value in local memory for that.
        if (from < 0) *to = fill;
        else *to = ((const U*)a.source)[from * a.source_stride + column];
    }
}

// Of one type, not adding: bytes.
KERNEL(gather_rows, GatherArguments, 256, 4) {
    switch (a.unit) {
        case 16: move_rows(a, Vec<u64, 2>{{a.fill, a.fill}}); break;
        case 8: move_rows(a, a.fill); break;
        case 4: move_rows(a, (u32)a.fill); break;
        case 2: move_rows(a, (u16)a.fill); break;
        default: move_rows(a, (u8)a.fill); break;
    }
}

struct ScatterArguments {
    const void* sources[2];
    void* destinations[2];
    const i32* indices;
    i64 rows, source_strides[2], strides[2];  // in units
    Divider row_items;
    i32 unit;
};

// Half of the blocks move rows of the one pair, half of the other.
template <class U> __device__ __forceinline__ void spread_rows(const ScatterArguments& a) {
    const int which = blockIdx.x & 1;
    const U* source = (const U*)(which ? a.sources[1] : a.sources[0]);
    U* destination = (U*)(which ? a.destinations[1] : a.destinations[0]);
    const i64 source_stride = which ? a.source_strides[1] : a.source_strides[0], stride = which ? a.strides[1] : a.strides[0];
    for (i64 i = (i64)(blockIdx.x >> 1) * 256 + threadIdx.x; i < a.rows * a.row_items.divisor; i += (i64)(gridDim.x >> 1) * 256) {
        const i64 row = i <= 0x7fffffff ? a.row_items.divide((u32)i) : i / a.row_items.divisor, column = i - row * a.row_items.divisor;
        const i32 to = a.indices[row];
        if (to >= 0) destination[to * stride + column] = source[row * source_stride + column];
    }
}

KERNEL(scatter_rows, ScatterArguments, 256, 4) {
    switch (a.unit) {
        case 16: spread_rows<Vec<u64, 2>>(a); break;
        case 8: spread_rows<u64>(a); break;
        case 4: spread_rows<u32>(a); break;
        case 2: spread_rows<u16>(a); break;
        default: spread_rows<u8>(a); break;
    }
}

// Converting or adding.
KERNEL(gather_values, GatherArguments, 256, 4) {
    for (i64 i = (i64)blockIdx.x * 256 + threadIdx.x; i < a.rows * a.row_items.divisor; i += (i64)gridDim.x * 256) {
        i64 row, column;
        place(a, i, row, column);
        i32 from = a.indices[row];
        if (from < 0 && a.accumulate) continue;
        Value x = from < 0 ? Value{a.fill_value, 0, false} : read_any(a.source, from * a.source_stride + column, a.source_type);
        if (a.accumulate) x = add(x, read_any(a.destination, row * a.stride + column, a.destination_type));
        write_any(a.destination, row * a.stride + column, a.destination_type, x);
    }
}
