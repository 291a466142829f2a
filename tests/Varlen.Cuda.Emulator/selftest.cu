// Kernels of the self-test: each writes what selftest.cpp can compute by itself.
#include "kernel.cuh"

struct Arguments { const void* x; const void* y; void* z; i64 count; i32 mode; };

KERNEL(add_one, Arguments, 256, 1) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) ((float*)a.z)[i] = ((const float*)a.x)[i] + 1;
}

KERNEL(sum_blocks, Arguments, 1024, 1) {
    __shared__ float scratch[32];
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    float total = block_sum(i < a.count ? ((const float*)a.x)[i] : 0.0f, scratch);
    ((float*)a.z)[i] = total;
}

KERNEL(exchange, Arguments, 96, 1) {
    u32* z = (u32*)a.z + 5 * threadIdx.x;
    u32 x = 1000 * (threadIdx.x / 32) + lane_id();
    z[0] = shuffle_xor(x, 5);
    z[1] = shuffle(x, (int)(31 - lane_id()));
    z[2] = ballot(lane_id() % 3 == 0);
    z[3] = any(threadIdx.x == 40);
    z[4] = (u32)shuffle_xor((double)x, 1);
}

// z = x y for x 16x16, y 16x8, all row-major; ldmatrix loads x and, transposed, y.
template <class T> __device__ void product(const Arguments& a, unsigned char* shared) {
    T* x = (T*)shared;
    T* y = x + 256;
    int lane = lane_id();
    for (int i = lane; i < 32; i += 32) copy_async_16(shared_address(x + 8 * i), (const T*)a.x + 8 * i, 16);
    if (lane < 16) copy_async_16(shared_address(y + 8 * lane), (const T*)a.y + 8 * lane, 16);
    copy_async_commit();
    if (a.mode != 1) copy_async_wait<0>();
    warp_sync();
    u32 fa[4], fb[4];
    load_matrix_4(fa, shared_address(x + 16 * (lane % 16) + 8 * (lane / 16)));
    load_matrix_4_transposed(fb, shared_address(y + 8 * (lane % 16)));
    float c[4] = {};
    if constexpr (sizeof(T) == 2 && __is_same(T, bf16)) mma_bf16(c, fa, fb[0], fb[1]);
    else mma_half(c, fa, fb[0], fb[1]);
    float* z = (float*)a.z;
    int i = lane / 4, j = 2 * (lane % 4);
    z[8 * i + j] = c[0];
    z[8 * i + j + 1] = c[1];
    z[8 * (i + 8) + j] = c[2];
    z[8 * (i + 8) + j + 1] = c[3];
}
KERNEL(product_bf16, Arguments, 32, 1) {
    DYNAMIC_SHARED(shared);
    product<bf16>(a, shared);
}
KERNEL(product_half, Arguments, 32, 1) {
    DYNAMIC_SHARED(shared);
    product<f16>(a, shared);
}

// Warps 0 and 1 hand values to each other by barriers of their own, while warp 2 ends at once.
KERNEL(pairs, Arguments, 96, 1) {
    __shared__ i32 values[64];
    if (threadIdx.x >= 64) return;
    values[threadIdx.x] = (i32)threadIdx.x;
    named_sync(1, 64);
    ((i32*)a.z)[threadIdx.x] = values[63 - threadIdx.x];
}

// 65536 random bits to and from both 16-bit types.
KERNEL(round_trip, Arguments, 256, 1) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    ((u32*)a.z)[i] = float_bits(half_to_float((u16)i));
    ((u16*)a.y)[i] = float_to_half(half_to_float((u16)i));
}

// Mistakes, by number.
__device__ __noinline__ float overflow(i64 i) {
    volatile char much[200000];
    for (int k = 0; k < 200000; k += 100) much[k] = 1;
    return much[i];
}
KERNEL(mistake, Arguments, 64, 1) {
    __shared__ float values[64];
    DYNAMIC_SHARED(dynamic);
    float* z = (float*)a.z;
    float x = 0;
    switch (a.mode) {
        case 0: if (threadIdx.x < 7) warp_sync(); break;
        case 1:
            if (threadIdx.x < 7) x = shuffle_xor(x, 1);
            else x = shuffle_xor(x, 2);
            break;
        case 2: if (threadIdx.x < 32) block_sync(); break;
        case 3: if (threadIdx.x < 32) named_sync(1, 64); break;
        case 4: z[a.count] = 1; break;
        case 5: x = z[a.count]; break;
        case 6: z[-1] = 1; break;
        case 7: dynamic[a.count] = 1; break;
        case 8: x = *(volatile float*)(i64)(threadIdx.x + 16); break;
        case 9: x = overflow(a.count); break;
        case 10: x = (float)shared_address(z); break;
        case 11: values[threadIdx.x] = (float)threadIdx.x; x = values[63 - threadIdx.x]; break;  // a barrier is missing
        case 12: { u32 r[4]; load_matrix_4(r, shared_address(values) + 8); x = (float)r[0]; break; }
        case 14: x = *(float*)((char*)z + 2); break;
        case 15: values[(i32)a.count] = 1; x = values[0]; break;
        case 13: if (threadIdx.x < 32) return; block_sync(); break;
    }
    z[threadIdx.x] = x;
}

KERNEL(many_products, Arguments, 128, 1) {
    float c[4] = {};
    u32 fa[4] = {1, 2, 3, threadIdx.x};
    for (i32 i = 0; i < a.mode; i++) mma_bf16(c, fa, 5, i);
    ((float*)a.z)[threadIdx.x] = c[0];
}
