// Matrix products that the library does not take: mixed element types, odd strides, a depth of 0. Element types are run-time data: this path is
// for completeness, and one module serves all of it.
#include "kernel.cuh"

struct Operand {
    void* data;
    i64 row_stride, column_stride, step;
    i32 type;
};

struct ProductArguments {
    Operand a, b, c;  // c (+)= alpha a b + bias
    const void* bias;
    const float* factor;  // multiplies alpha when given: a number on the device
    i64 m, n, k;
    i32 bias_type;
    float alpha;
    i32 accumulate;
};

constexpr int kTile = 64, kDepth = 16, kPerThread = 4;

__device__ __forceinline__ float read(const void* p, i64 i, i32 type) {
    switch (type) {
        case kBFloat16: return to_float(((const bf16*)p)[i]);
        case kFloat16: return to_float(((const f16*)p)[i]);
        default: return ((const float*)p)[i];
    }
}

// A tile of kTile lines and kDepth along the depth, transposed: the depth is the outer dimension. Neighbouring threads read neighbouring
// elements, whichever way the operand lies.
__device__ __forceinline__ void load_tile(float (&tile)[kDepth][kTile + 4], const Operand& x, i64 batch, i64 first, i64 lines, i64 line_stride, i64 depth, i64 depths, i64 depth_stride) {
    for (int at = threadIdx.x; at < kTile * kDepth; at += 256) {
        int line = depth_stride == 1 ? at / kDepth : at % kTile, d = depth_stride == 1 ? at % kDepth : at / kTile;
        bool is_inside = first + line < lines && depth + d < depths;
        tile[d][line] = is_inside ? read(x.data, batch * x.step + (first + line) * line_stride + (depth + d) * depth_stride, x.type) : 0;
    }
}

KERNEL(matrix_product, ProductArguments, 256, 2) {
    __shared__ float left[kDepth][kTile + 4], right[kDepth][kTile + 4];
    i64 across = ceil_div(a.n, kTile), down = ceil_div(a.m, kTile), tile = blockIdx.x % (across * down), batch = blockIdx.x / (across * down);
    i64 row = tile / across * kTile, column = tile % across * kTile;
    int y = threadIdx.x / 16 * kPerThread, x = threadIdx.x % 16 * kPerThread;
    float sums[kPerThread][kPerThread] = {};
    for (i64 depth = 0; depth < a.k; depth += kDepth) {
        load_tile(left, a.a, batch, row, a.m, a.a.row_stride, depth, a.k, a.a.column_stride);
        load_tile(right, a.b, batch, column, a.n, a.b.column_stride, depth, a.k, a.b.row_stride);
        block_sync();
        int steps = (int)min_of(a.k - depth, (i64)kDepth);
        for (int d = 0; d < steps; d++)
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
#pragma unroll
                for (int j = 0; j < kPerThread; j++) sums[i][j] += left[d][y + i] * right[d][x + j];
        block_sync();
    }
    float alpha = a.factor ? a.alpha * *a.factor : a.alpha;
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
#pragma unroll
        for (int j = 0; j < kPerThread; j++) {
            if (row + y + i >= a.m || column + x + j >= a.n) continue;
            i64 at = batch * a.c.step + (row + y + i) * a.c.row_stride + (column + x + j) * a.c.column_stride;
            // With a depth of 0 there is no sum that a factor could turn into NaN.
            float value = a.k == 0 ? 0 : alpha * sums[i][j];
            if (a.bias) value += read(a.bias, column + x + j, a.bias_type);
            Target{a.c.data, a.c.type, a.accumulate}.write(at, value);
        }
}
