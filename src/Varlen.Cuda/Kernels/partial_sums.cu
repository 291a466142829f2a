// Second half of every sum over rows: kernels that pass over rows leave one partial sum for each chunk of rows and each column, and these
// are added here in a fixed order. No atomics, so the same input gives the same bits in every run.
#include "kernel.cuh"

struct PartialSumsArguments {
    const float* partials;  // [chunks, columns]
    i64 chunks, columns;
    const double* factor;   // multiplies the sum when given: a number on the device
    double scale;
    i64 split;              // columns before it go to the first target, the others to the second
    Target target, second;
};

constexpr int kColumns = 32, kLanes = 32;

KERNEL(add_partials, PartialSumsArguments, 1024, 1) {
    __shared__ float sums[kLanes][kColumns + 1];
    int column = threadIdx.x % kColumns, lane = threadIdx.x / kColumns;
    i64 at = (i64)blockIdx.x * kColumns + column;
    float sum = 0;
    if (at < a.columns)
        for (i64 chunk = lane; chunk < a.chunks; chunk += kLanes) sum += a.partials[chunk * a.columns + at];
    sums[lane][column] = sum;
    block_sync();
    if (lane == 0 && at < a.columns) {
        float total = 0;
        for (int i = 0; i < kLanes; i++) total += sums[i][column];
        float value = (float)(total * (a.factor ? a.scale * *a.factor : a.scale));
        if (at < a.split) {
            if (a.target.data) a.target.write(at, value);
        } else if (a.second.data) a.second.write(at - a.split, value);
    }
}
