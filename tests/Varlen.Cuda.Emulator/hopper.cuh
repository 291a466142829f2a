// Takes the place of src/Varlen.Cuda/Kernels/hopper.cuh: the same functions. What they do is in copies.cpp and products.cpp of the driver, because the
// copy engine and the tensor cores go on by themselves.
#pragma once
#include "kernel.cuh"

struct alignas(64) TensorMap { u64 words[16]; };

// --- barriers in shared memory ---
inline void barrier_init(u32 barrier, int arrivals, HERE) { emulator::block()->barrier_init(emulator::shared_pointer(barrier, 8, place), arrivals, place); }
inline void barrier_expect(u32 barrier, int bytes, HERE) {
    if (bytes < 0) emulator::block()->fail(place, "%d bytes are announced", bytes);
    emulator::block()->barrier_arrive(emulator::shared_pointer(barrier, 8, place), bytes, place);
}
inline void barrier_arrive(u32 barrier, HERE) { emulator::block()->barrier_arrive(emulator::shared_pointer(barrier, 8, place), 0, place); }
inline void barrier_wait(u32 barrier, u32 parity, HERE) { emulator::block()->barrier_wait(emulator::shared_pointer(barrier, 8, place), parity, place); }
inline void fence_async() { emulator::block()->fence_async(); }

// --- copies ---
inline void tile_load(u32 shared, const TensorMap& map, u32 barrier, int c0, int c1, int c2, int c3, HERE) {
    int coordinates[] = {c0, c1, c2, c3};
    emulator::block()->tile_load(emulator::shared_pointer(shared, 128, place), &map, emulator::shared_pointer(barrier, 8, place), coordinates, place);
}
inline void tile_store(const TensorMap& map, u32 shared, int c0, int c1, int c2, int c3, HERE) {
    int coordinates[] = {c0, c1, c2, c3};
    emulator::block()->tile_store(&map, emulator::shared_pointer(shared, 128, place), coordinates, place);
}
inline void bulk_load(u32 shared, const void* global, int bytes, u32 barrier, HERE) {
    emulator::block()->bulk_load(emulator::shared_pointer(shared, 16, place), global, bytes, emulator::shared_pointer(barrier, 8, place), place);
}
inline void bulk_add(float* global, u32 shared, int bytes, HERE) { emulator::block()->bulk_add(global, emulator::shared_pointer(shared, 16, place), bytes, place); }
inline void bulk_commit() { emulator::block()->bulk_commit(); }
template <int N> inline void bulk_wait_read(HERE) { emulator::block()->bulk_wait(N, true, place); }
template <int N> inline void bulk_wait(HERE) { emulator::block()->bulk_wait(N, false, place); }

// The inverses of load_matrix_4 and load_matrix_4_transposed.
namespace emulator {
template <bool transposed> inline void store_matrices(u32 address, u32 r0, u32 r1, u32 r2, u32 r3, const Place& place) {
    MatrixLane lane = {address, place, {r0, r1, r2, r3}};
    meet(lane, [](MatrixLane* const* lanes) {
        require_full(lanes, lanes[0]->place);
        for (int m = 0; m < 4; m++) {
            u16 values[8][8];
            for (int l = 0; l < 32; l++)
                for (int e = 0; e < 2; e++) {
                    int i = l / 4, j = 2 * (l % 4) + e;
                    (transposed ? values[j][i] : values[i][j]) = (u16)(lanes[l]->r[m] >> 16 * e);
                }
            for (int row = 0; row < 8; row++) {
                MatrixLane* to = lanes[8 * m + row];
                memcpy(shared_pointer(to->address, 16, to->place), values[row], 16);
            }
        }
    }, place);
}
}  // namespace emulator
inline void store_matrix_4(u32 address, u32 r0, u32 r1, u32 r2, u32 r3, HERE) { emulator::store_matrices<false>(address, r0, r1, r2, r3, place); }
inline void store_matrix_4_transposed(u32 address, u32 r0, u32 r1, u32 r2, u32 r3, HERE) { emulator::store_matrices<true>(address, r0, r1, r2, r3, place); }

// --- registers of a warpgroup: here, a thread has as many as it likes ---
template <int N> inline void registers_lower() {}
template <int N> inline void registers_raise() {}
template <int N> inline void pin(float (&)[N]) {}
template <int N> inline void pin(u32 (&)[N]) {}

// --- matrix products of a warpgroup ---
inline void wgmma_fence() { emulator::block()->multiply_fence(); }
inline void wgmma_commit(HERE) {
    emulator::block()->meet(nullptr, [](void* const*, unsigned) { emulator::block()->multiply_commit(); return true; }, place);
}
template <int N> inline void wgmma_wait(HERE) {
    emulator::block()->meet(nullptr, [](void* const*, unsigned) { emulator::block()->multiply_wait(N); return true; }, place);
}

// Dynamic shared memory begins at a multiple of 2^18, so the bits that a descriptor keeps are enough to find it again.
inline u64 matrix_descriptor(u32 address, u32 panel = 16, HERE) {
    unsigned char* p = emulator::shared_pointer(address, 16, place);
    if (p < emulated_dynamic || p >= emulated_dynamic + emulator::kSharedBytes) emulator::block()->fail(place, "the emulator knows matrices in dynamic shared memory only");
    return (u64)((address & 0x3FFFF) >> 4) | (u64)(panel >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}
inline u64 further(u64 descriptor, u32 bytes) { return descriptor + (bytes >> 4); }

namespace emulator {
inline bool is_half(bf16) { return false; }
inline bool is_half(f16) { return true; }
inline void multiply(GroupProduct& lane, const Place& place) {
    block()->meet(&lane, [](void* const* lanes, unsigned) { block()->multiply(reinterpret_cast<GroupProduct* const*>(lanes)); return true; }, place);
}
}  // namespace emulator

template <int TA, int TB, class T, int N> inline void wgmma(T type, float (&c)[N], u64 a, u64 b, bool adds, HERE) {
    static_assert(N == 32 || N == 64);
    emulator::GroupProduct lane = {c, {2 * N, false, TA != 0, TB != 0, emulator::is_half(type), adds, a, b}, {}, place};
    emulator::multiply(lane, place);
}
template <int TB, class T, int N> inline void wgmma(T type, float (&c)[N], u32 a0, u32 a1, u32 a2, u32 a3, u64 b, bool adds, HERE) {
    static_assert(N == 32 || N == 64);
    emulator::GroupProduct lane = {c, {2 * N, true, false, TB != 0, emulator::is_half(type), adds, 0, b}, {a0, a1, a2, a3}, place};
    emulator::multiply(lane, place);
}
