// Kernels of the self-test that use hopper.cuh.
#include "kernel.cuh"
#include "hopper.cuh"

struct Arguments { const void* x; const void* y; void* z; i64 count; i32 mode; };
struct MapArguments { TensorMap x, y; void* z; i32 rows, end, length, first; i32 mode; };

// c [64, N] of x and y, each in panels of 64 columns: x [64, 64] by rows or, transposed, by columns; y the same, [N, 64] or [64, N].
template <int TA, int TB, bool registers, int N> __device__ void product(const MapArguments& a, unsigned char* memory) {
    __shared__ u64 full[1];
    const u32 x = shared_address(memory), y = x + 64 * 128, barrier = shared_address(full);
    const int group = threadIdx.x / 128, lane = lane_id(), row = 16 * (threadIdx.x / 32 % 4) + lane / 4, column = 2 * (lane & 3);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        fence_async();
        barrier_expect(barrier, 64 * 128 + N * 128);
        tile_load(x, a.x, barrier, 0, 0, 0, 0);
        if (TB) for (int p = 0; p < N / 64; p++) tile_load(y + p * 64 * 128, a.y, barrier, 64 * p, 0, 0, 0);
        else tile_load(y, a.y, barrier, 0, 0, 0, 0);
    }
    block_sync();
    float c[N / 2];
    for (int i = 0; i < N / 2; i++) c[i] = 1000;
    if (a.mode != 1) barrier_wait(barrier, 0);
    if (a.mode != 2) wgmma_fence();
    for (int k = 0; k < 4; k++) {
        const u64 of_y = TB ? matrix_descriptor(y + 2048 * k, 64 * 128) : matrix_descriptor(y + 32 * k);
        if (!registers) wgmma<TA, TB>(ELEMENT{}, c, matrix_descriptor(TA ? x + 2048 * k : x + 32 * k), of_y, a.mode == 3 || k != 0);
        else {
            u32 r[4];
            for (int i = 0; i < 4; i++) {
                const int at = (row + 8 * (i & 1)) * 128 + (((2 * k + (i >> 1)) ^ (row & 7)) << 4) + 2 * column;
                r[i] = *(u32*)(memory + at);
            }
            wgmma<TB>(ELEMENT{}, c, r[0], r[1], r[2], r[3], of_y, a.mode == 3 || k != 0);
        }
    }
    wgmma_commit();
    if (a.mode == 4 && threadIdx.x == 5) c[3] = 1;
    float early = c[0];
    wgmma_wait<0>();
    if (group > 0) return;
    float* z = (float*)a.z;
    for (int i = 0; i < N / 2; i++) z[(row + (i & 2 ? 8 : 0)) * N + 8 * (i / 4) + column + (i & 1)] = c[i];
    if (a.mode == 5) z[threadIdx.x] = early;
}
#define PRODUCT(name, TA, TB, registers, N)  \
    KERNEL(name, MapArguments, 256, 1) {     \
        DYNAMIC_SHARED(memory);              \
        product<TA, TB, registers, N>(a, memory); \
    }
PRODUCT(product_00_64, 0, 0, false, 64) PRODUCT(product_01_64, 0, 1, false, 64) PRODUCT(product_10_64, 1, 0, false, 64) PRODUCT(product_11_64, 1, 1, false, 64)
PRODUCT(product_00_128, 0, 0, false, 128) PRODUCT(product_01_128, 0, 1, false, 128) PRODUCT(product_10_128, 1, 0, false, 128) PRODUCT(product_11_128, 1, 1, false, 128)
PRODUCT(product_r0_64, 0, 0, true, 64) PRODUCT(product_r1_64, 0, 1, true, 64) PRODUCT(product_r0_128, 0, 0, true, 128) PRODUCT(product_r1_128, 0, 1, true, 128)

// Copies 64 rows of a sequence, head 1, through shared memory, which goes to z as it lies there.
KERNEL(tile_copy, MapArguments, 128, 1) {
    DYNAMIC_SHARED(memory);
    __shared__ u64 full[1];
    const u32 barrier = shared_address(full), tile = shared_address(memory);
    const int first = a.rows - a.length + a.first;
    if (threadIdx.x == 0) {
        if (a.mode != 1) barrier_init(barrier, 1);
        if (a.mode != 2) fence_async();
        barrier_expect(barrier, a.mode == 3 ? 8193 : 8192);
        tile_load(tile, a.x, barrier, 0, first, 1, a.end);
    }
    block_sync();
    barrier_wait(barrier, 0);
    for (int i = threadIdx.x; i < 4096; i += 128) ((u16*)a.z)[i] = ((u16*)memory)[i];
    block_sync();
    if (threadIdx.x == 0) {
        tile_store(a.y, tile, 0, first, 1, a.end);
        if (a.mode != 4) bulk_commit();
        if (a.mode == 5) *(u16*)memory ^= 1;
        bulk_wait<0>();
    }
}

// z += 1 + 2, each of 64 elements, from shared memory that is used again.
KERNEL(bulk, Arguments, 64, 1) {
    DYNAMIC_SHARED(memory);
    __shared__ u64 full[1];
    const u32 barrier = shared_address(full), row = shared_address(memory);
    float* values = (float*)memory;
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        fence_async();
        barrier_expect(barrier, 256);
        bulk_load(row, a.x, 256, barrier);
    }
    block_sync();
    barrier_wait(barrier, 0);
    for (int i = 1; i <= 2; i++) {
        values[threadIdx.x] = values[threadIdx.x] * i;
        fence_async();
        block_sync();
        if (threadIdx.x == 0) {
            bulk_add((float*)a.z, row, 256);
            bulk_commit();
            if (a.mode != 1) bulk_wait_read<0>();
        }
        block_sync();
    }
    if (threadIdx.x == 0) bulk_wait<0>();
}

// Warp 0 gives numbers to the others through two slots; each waits for the other side's barrier of the slot.
KERNEL(ring, Arguments, 96, 1) {
    __shared__ u64 barriers[4];
    __shared__ i32 slots[2];
    const u32 full = shared_address(barriers), empty = full + 16;
    if (threadIdx.x == 0)
        for (int i = 0; i < 2; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, a.mode == 1 ? 3 : 2);
        }
    block_sync();
    if (threadIdx.x == 0)
        for (int i = 0; i < (i32)a.count; i++) {
            if (i >= 2) barrier_wait(empty + 8 * (i % 2), (i / 2 - 1) & 1);
            slots[i % 2] = i;
            barrier_arrive(full + 8 * (i % 2));
        }
    else if (threadIdx.x >= 32) {
        i32 sum = 0;
        for (int i = 0; i < (i32)a.count; i++) {
            barrier_wait(full + 8 * (i % 2), (i / 2) & 1);
            sum += slots[i % 2];
            warp_sync();
            if (lane_id() == 0) barrier_arrive(empty + 8 * (i % 2));
        }
        ((i32*)a.z)[threadIdx.x - 32] = sum;
    }
}

// Two warps take turns: each lets the other go on without waiting for it.
KERNEL(turns, Arguments, 64, 1) {
    __shared__ i32 value[1];
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) value[0] = 0;
    block_sync();
    if (warp == 1) named_arrive(1, 64);
    for (int i = 0; i < (i32)a.count; i++) {
        named_sync(1 + warp, 64);
        if (lane_id() == 0) value[0] = 2 * value[0] + warp;
        warp_sync();
        if (a.mode != 1) named_arrive(2 - warp, 64);
        else named_sync(2 - warp, 64);
    }
    block_sync();
    if (threadIdx.x == 0) ((i32*)a.z)[0] = value[0];
}

// 16-bit elements 0..255 of four matrices, written transposed.
KERNEL(transpose, Arguments, 32, 1) {
    DYNAMIC_SHARED(memory);
    u32 r[4];
    const int lane = lane_id(), i = lane / 4, j = 2 * (lane % 4);
    for (int m = 0; m < 4; m++) r[m] = (u32)(64 * m + 8 * i + j) | (u32)(64 * m + 8 * i + j + 1) << 16;
    store_matrix_4_transposed(shared_address(memory) + 16 * lane, r[0], r[1], r[2], r[3]);
    warp_sync();
    for (int k = 0; k < 8; k++) ((u16*)a.z)[8 * lane + k] = ((u16*)memory)[8 * lane + k];
}
