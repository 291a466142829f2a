// Products of a few rows with large weights, as when one text is written: bound by reading the weights once, in an order in which many bytes are on
// their way. A row's bits do not depend on how many there are.
#include "rows.cuh"

struct FewRowsArguments {
    const ELEMENT *a, *b, *bias;  // [rows, depth]; lines of the weights; [columns] or null
    ELEMENT* c;                   // [rows, columns]
    i64 a_stride, b_stride, c_stride;
    i32 rows, columns, depth;
    float alpha;
};

typedef Columns<ELEMENT> Piece;
constexpr int N = kVector<ELEMENT>, kWarps = 8, kMostRows = 4, kUnroll = 4;

__device__ __forceinline__ void write(const FewRowsArguments& a, int row, int column, float sum) {
    sum *= a.alpha;
    if (a.bias) sum += to_float(a.bias[column]);
    a.c[row * a.c_stride + column] = from_float<ELEMENT>(sum);
}

// Lines of the weights are columns of the result: a warp takes two of them, and its lanes share the depth.
template <int ROWS> __device__ __forceinline__ void along_lines(const FewRowsArguments& a) {
    constexpr int kLines = 2;
    const int lane = lane_id(), line = (blockIdx.x * kWarps + threadIdx.x / 32) * kLines;
    if (line >= a.columns) return;
    float sum[ROWS][kLines] = {};
    for (int first = lane * N; first < a.depth; first += kUnroll * 32 * N) {
        Piece x[kUnroll][ROWS], w[kUnroll][kLines];
#pragma unroll
        for (int u = 0; u < kUnroll; u++) {
            const int at = first + u * 32 * N, left = a.depth - at;
#pragma unroll
            for (int i = 0; i < kLines; i++) w[u][i] = load_columns<true>(a.b + min_of(line + i, a.columns - 1) * a.b_stride + at, left);
#pragma unroll
            for (int r = 0; r < ROWS; r++) x[u][r] = load_columns<true>(a.a + min_of(r, a.rows - 1) * a.a_stride + at, left);
        }
#pragma unroll
        for (int u = 0; u < kUnroll; u++)
#pragma unroll
            for (int e = 0; e < N; e++)
#pragma unroll
                for (int r = 0; r < ROWS; r++)
#pragma unroll
                    for (int i = 0; i < kLines; i++) sum[r][i] += x[u][r][e] * w[u][i][e];
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < kLines; i++) {
            const float total = warp_sum(sum[r][i]);
            if (lane == 0 && r < a.rows && line + i < a.columns) write(a, r, line + i, total);
        }
}

KERNEL(few_rows_along_lines, FewRowsArguments, 32 * kWarps, 2) {
    if (a.rows == 1) along_lines<1>(a);
    else along_lines<kMostRows>(a);
}

// Lines of the weights are the depth: four lanes take a piece of 64 bytes of a line, and the others further lines.
template <int ROWS> __device__ __forceinline__ void across_lines(const FewRowsArguments& a, float* sums) {
    constexpr int kPieces = 4, kStep = kWarps * 32 / kPieces;
    const int lane = lane_id(), warp = threadIdx.x / 32, column = (blockIdx.x * kPieces + lane % kPieces) * N, left = a.columns - column;
    float sum[ROWS][N] = {};
    for (int first = threadIdx.x / kPieces; first < a.depth; first += kUnroll * kStep) {
        Piece w[kUnroll];
        float x[kUnroll][ROWS];
#pragma unroll
        for (int u = 0; u < kUnroll; u++) {
            const int at = first + u * kStep;
            w[u] = load_columns<true>(a.b + at * a.b_stride + column, at < a.depth ? left : 0);
#pragma unroll
            for (int r = 0; r < ROWS; r++) x[u][r] = at < a.depth ? to_float(a.a[min_of(r, a.rows - 1) * a.a_stride + at]) : 0;
        }
#pragma unroll
        for (int u = 0; u < kUnroll; u++)
#pragma unroll
            for (int e = 0; e < N; e++)
#pragma unroll
                for (int r = 0; r < ROWS; r++) sum[r][e] += x[u][r] * w[u][e];
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int e = 0; e < N; e++) {
            float total = sum[r][e];
#pragma unroll
            for (int mask = kPieces; mask < 32; mask <<= 1) total += shuffle_xor(total, mask);
            if (lane < kPieces) sums[(warp * ROWS + r) * kPieces * N + lane * N + e] = total;
        }
    block_sync();
    const int r = threadIdx.x / (kPieces * N), at = threadIdx.x % (kPieces * N), to = blockIdx.x * kPieces * N + at;
    if (r >= ROWS || r >= a.rows || to >= a.columns) return;
    float total = 0;
    for (int w = 0; w < kWarps; w++) total += sums[(w * ROWS + r) * kPieces * N + at];
    write(a, r, to, total);
}

KERNEL(few_rows_across_lines, FewRowsArguments, 32 * kWarps, 2) {
    __shared__ float sums[kWarps * kMostRows * 4 * N];
    if (a.rows == 1) across_lines<1>(a, sums);
    else across_lines<kMostRows>(a, sums);
}
