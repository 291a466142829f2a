// Finds, in a row of logits, the places where their order by likelihood or by id is cut: by a number of ids or by an amount of weight. A token's weight is a
// whole number, in units of 2^-40 of the largest: sums do not depend on their order, so that threads may add up by atomics and every cut is exact.
#pragma once
#include "kernel.cuh"

constexpr int kThreads = 512, kWarps = kThreads / 32, kBins = kThreads, kBinBits = 9, kEach = 4, kList = kEach * kThreads;
// Weights below 2^-kRange of the largest are nothing.
constexpr float kRange = 40, kUnit = 1099511627776.0f;

__device__ __forceinline__ u64 shuffle_wide(u64 x, int lane) { return (u64)shuffle((u32)(x >> 32), lane) << 32 | shuffle((u32)x, lane); }
__device__ __forceinline__ u64 xor_wide(u64 x, int mask) { return (u64)shuffle_xor((u32)(x >> 32), mask) << 32 | shuffle_xor((u32)x, mask); }

// Unsigned order that is the reverse of the floats'; both zeros are one value.
__device__ __forceinline__ u32 descending(float x) {
    const u32 bits = float_bits(x + 0.0f);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}
__device__ __forceinline__ float value_of(u32 key) { return bits_to_float(key & 0x80000000u ? key : ~(key | 0x80000000u)); }

// Likeliest first, equal ones by id.
__device__ __forceinline__ u64 entry_of(float x, int id) { return (u64)descending(x) << 32 | (u32)id; }

struct Logits {
    const ELEMENT* data;
    const u32* seen;
    double penalty;
    i32 classes;
    float most, sharpness;

    __device__ __forceinline__ float operator[](int id) const {
        const float x = to_float(data[id]);
        if (!seen || !(seen[id >> 5] >> (id & 31) & 1)) return x;
        return (float)(x > 0 ? (double)x / penalty : (double)x * penalty);
    }
    // How far below the largest, in powers of two of the weight; infinite for an impossible one.
    __device__ __forceinline__ float depth(float x) const { return x == -kInfinity ? kInfinity : (most - x) * sharpness; }
    __device__ __forceinline__ u64 weight(float x) const {
        const float down = depth(x);
        return down < kRange ? (u64)(exp2_fast(-down) * kUnit) : 0;
    }
    // Every step-th id from first on. Several are on their way at a time.
    template <int N, class Use> __device__ __forceinline__ void each(int first, int end, int step, Use use) const {
        for (; first < end; first += N * step) {
            float x[N];
#pragma unroll
            for (int u = 0; u < N; u++)
                if (first + u * step < end) x[u] = (*this)[first + u * step];
#pragma unroll
            for (int u = 0; u < N; u++)
                if (first + u * step < end) use(first + u * step, x[u]);
        }
    }
};

// Ranges of values in order, and in them bins in order: first by depth, then, within one of those bins, by the bits of the values.
struct Bins {
    i32 outer;    // bin by depth; below 0 where these are the bins
    u32 first;    // smallest key of the range
    i32 shift;    // a bin has 2^shift keys
    __device__ __forceinline__ int place(Logits logits, float x) const {
        const float down = logits.depth(x);
        if (!(down < kRange)) return -1;
        const int bin = min_of((int)(down * (kBins / kRange)), kBins - 1);
        if (outer < 0) return bin;
        if (bin != outer) return -1;
        const u32 key = descending(x);
        if (key < first) return -1;
        const u32 at = (key - first) >> shift;
        return at < (u32)kBins ? (int)at : -1;
    }
};

struct Memory {
    u64 list[kList];
    u64 masses[kBins];  // up to each bin, itself included
    u32 counts[kBins];
    u32 low[kBins], high[kBins];
    u64 scratch[kWarps];
    u64 found, found_mass;
    u32 listed;
};

// Sums over the threads up to each, itself included; total is that of all.
__device__ __forceinline__ u64 block_scan(u64 x, Memory& m, u64& total) {
    const int lane = lane_id(), warp = threadIdx.x / 32;
#pragma unroll
    for (int step = 1; step < 32; step <<= 1) {
        const u64 before = shuffle_wide(x, lane - step < 0 ? lane : lane - step);
        if (lane >= step) x += before;
    }
    if (lane == 31) m.scratch[warp] = x;
    block_sync();
    u64 base = 0;
    total = 0;
    for (int i = 0; i < kWarps; i++) {
        if (i == warp) base = total;
        total += m.scratch[i];
    }
    block_sync();
    return base + x;
}

__device__ __forceinline__ u64 block_least(u64 x, Memory& m) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x = min_of(x, xor_wide(x, mask));
    if (lane_id() == 0) m.scratch[threadIdx.x / 32] = x;
    block_sync();
    u64 least = m.scratch[0];
    for (int i = 1; i < kWarps; i++) least = min_of(least, m.scratch[i]);
    block_sync();
    return least;
}

// Fills counts and masses.
__device__ __forceinline__ void histogram(Logits logits, Bins bins, Memory& m) {
    const int thread = threadIdx.x;
    m.counts[thread] = m.low[thread] = m.high[thread] = 0;
    block_sync();
    logits.each<4>(thread, logits.classes, kThreads, [&](int, float x) {
        const int bin = bins.place(logits, x);
        if (bin < 0) return;
        const u64 weight = logits.weight(x);
        shared_add(&m.counts[bin], 1);
        // A sum of 64 bits in two: most weights have no high part, and a carry is rare.
        const u32 low = (u32)weight, high = (u32)(weight >> 32) + (shared_add(&m.low[bin], low) + low < low);
        if (high) shared_add(&m.high[bin], high);
    });
    block_sync();
    u64 total;
    const u64 mass = block_scan((u64)m.high[thread] << 32 | m.low[thread], m, total), count = block_scan(m.counts[thread], m, total);
    m.masses[thread] = mass;
    m.counts[thread] = (u32)count;
    block_sync();
}

// Puts the ids of bins [from, to] into the list, in order; the rest of the list comes behind everything.
__device__ __forceinline__ void gather(Logits logits, Bins bins, int from, int to, int count, Memory& m) {
    const int thread = threadIdx.x;
    int size = 32;
    while (size < count) size *= 2;
    for (int i = thread; i < kList; i += kThreads) m.list[i] = ~0ull;
    if (thread == 0) m.listed = 0;
    block_sync();
    logits.each<4>(thread, logits.classes, kThreads, [&](int id, float x) {
        const int bin = bins.place(logits, x);
        if (bin >= from && bin <= to) m.list[shared_add(&m.listed, 1)] = entry_of(x, id);
    });
    block_sync();
    for (int run = 2; run <= size; run *= 2)
        for (int apart = run / 2; apart > 0; apart /= 2) {
            for (int pair = thread; pair < size / 2; pair += kThreads) {
                const int i = (pair & ~(apart - 1)) << 1 | (pair & (apart - 1)), j = i + apart;
                const u64 x = m.list[i], y = m.list[j];
                if ((x > y) == ((i & run) == 0)) {
                    m.list[i] = y;
                    m.list[j] = x;
                }
            }
            block_sync();
        }
}

// The first id, in the order of ids, up to which the weights have a sum of at least target; where key is given, ids whose logit is that count 1 each, and
// others nothing.
struct InOrder {
    bool is_count;
    u32 key;
    __device__ __forceinline__ u64 amount(Logits logits, float x) const {
        return is_count ? descending(x) == key : logits.weight(x);
    }
};

// Each warp's sum over its ids.
__device__ __forceinline__ u64 add_up(Logits logits, InOrder order, Memory& m) {
    const int lane = lane_id(), warp = threadIdx.x / 32, length = (logits.classes + kThreads - 1) / kThreads * 32, first = warp * length, end = min_of(first + length, logits.classes);
    u64 sum = 0;
    logits.each<4>(first + lane, end, 32, [&](int, float x) { sum += order.amount(logits, x); });
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) sum += xor_wide(sum, mask);
    block_sync();
    if (lane == 0) m.scratch[warp] = sum;
    block_sync();
    u64 total = 0;
    for (int i = 0; i < kWarps; i++) total += m.scratch[i];
    return total;
}

// Behind add_up. target is at least 1 and at most the total.
__device__ __forceinline__ int find_in_order(Logits logits, InOrder order, u64 target, Memory& m) {
    const int lane = lane_id(), warp = threadIdx.x / 32, length = (logits.classes + kThreads - 1) / kThreads * 32, first = warp * length, end = min_of(first + length, logits.classes);
    u64 before = 0;
    for (int i = 0; i < warp; i++) before += m.scratch[i];
    if (before < target && before + m.scratch[warp] >= target) {
        for (int start = first; start < end; start += 32) {
            const int id = start + lane;
            u64 sum = id < end ? order.amount(logits, logits[id]) : 0;
#pragma unroll
            for (int step = 1; step < 32; step <<= 1) {
                const u64 left = shuffle_wide(sum, lane - step < 0 ? lane : lane - step);
                if (lane >= step) sum += left;
            }
            const u32 reached = ballot(before + sum >= target);
            if (reached) {
                if ((reached & ((2u << lane) - 1)) == 1u << lane) m.found = (u64)id;
                break;
            }
            before += shuffle_wide(sum, 31);
        }
    }
    block_sync();
    const int found = (int)m.found;
    block_sync();
    return found;
}

// Up to where ids are kept, or the one that is drawn.
struct Place {
    u64 entry;
    u64 mass;  // up to it, itself included
};

// The search for places, likeliest first. What the last one left in memory serves the next.
struct Search {
    Logits logits;
    Memory& m;
    bool has_bins;  // counts and masses are those of bins by depth
    int covered;    // bins by depth, from the first, whose ids are in the list

    // The first bin up to which there is the target; the number of bins when none.
    __device__ __forceinline__ int bin_of(u64 target, bool by_count) {
        const int thread = threadIdx.x;
        if (thread == 0) m.found = kBins;
        block_sync();
        const u64 up_to = by_count ? m.counts[thread] : m.masses[thread], before = thread == 0 ? 0 : by_count ? m.counts[thread - 1] : m.masses[thread - 1];
        if (before < target && up_to >= target) m.found = thread;
        block_sync();
        const int bin = (int)m.found;
        block_sync();
        return bin;
    }

    // In the list, of which base comes before.
    __device__ __forceinline__ Place in_list(u64 target, bool by_count, u64 base) {
        u64 sum = 0, up_to[kEach], entries[kEach];
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            entries[i] = m.list[kEach * threadIdx.x + i];
            up_to[i] = sum += entries[i] == ~0ull ? 0 : logits.weight(value_of((u32)(entries[i] >> 32)));
        }
        u64 total;
        u64 before = base + block_scan(sum, m, total) - sum;
        const u64 start = before;
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            const u64 mass = start + up_to[i];
            if (by_count ? target == kEach * (u64)threadIdx.x + i + 1 : before < target && mass >= target) {
                m.found = entries[i];
                m.found_mass = mass;
            }
            before = mass;
        }
        block_sync();
        const Place place = {m.found, m.found_mass};
        block_sync();
        return place;
    }

    // Counts and masses of bins by depth.
    __device__ __forceinline__ void prepare() {
        if (!has_bins) histogram(logits, Bins{-1, 0, 0}, m);
        has_bins = true;
    }

    // Behind prepare: the first id up to which there are as many ids, or as much weight, as target says; it is at least 1 and not more than there is.
    __device__ __forceinline__ Place find(u64 target, bool by_count) {
        Bins bins = {-1, 0, 0};
        int bin = bin_of(target, by_count);
        if (m.counts[bin] <= kList) {
            // All from the likeliest on fit into the list: most searches end here.
            if (bin >= covered) gather(logits, bins, 0, bin, (int)m.counts[bin], m);
            covered = max_of(covered, bin + 1);
            return in_list(target, by_count, 0);
        }
        covered = 0;
        u64 base_mass = bin == 0 ? 0 : m.masses[bin - 1], base_count = bin == 0 ? 0 : m.counts[bin - 1];
        u32 count = m.counts[bin] - (u32)base_count;
        if (count > kList) {
            has_bins = false;
            bins.outer = bin;
            bins.shift = 32;
        }
        while (count > kList && bins.shift > 0) {
            if (bins.shift == 32) {
                u64 least = ~0ull, most = ~0ull;
                logits.each<4>(threadIdx.x, logits.classes, kThreads, [&](int, float x) {
                    if (Bins{-1, 0, 0}.place(logits, x) != bins.outer) return;
                    least = min_of(least, (u64)descending(x));
                    most = min_of(most, (u64)~descending(x));
                });
                bins.first = (u32)block_least(least, m);
                const u32 last = ~(u32)block_least(most, m);
                bins.shift = 0;
                while (((last - bins.first) >> bins.shift) >= (u32)kBins) bins.shift++;
            } else {
                bins.first += (u32)bin << bins.shift;
                bins.shift = max_of(bins.shift - kBinBits, 0);
            }
            histogram(logits, bins, m);
            bin = bin_of(target - (by_count ? base_count : base_mass), by_count);
            count = m.counts[bin];
            if (bin > 0) {
                count -= m.counts[bin - 1];
                base_mass += m.masses[bin - 1];
                base_count += m.counts[bin - 1];
            }
        }
        if (count <= kList) {
            gather(logits, bins, bin, bin, (int)count, m);
            return in_list(by_count ? target - base_count : target, by_count, base_mass);
        }
        // More equal logits than the list holds.
        const u32 key = bins.first + (u32)bin;
        const u64 weight = logits.weight(value_of(key)), left = target - (by_count ? base_count : base_mass), rank = by_count ? left : (left + weight - 1) / weight;
        const InOrder order = {true, key};
        add_up(logits, order, m);
        const int id = find_in_order(logits, order, rank, m);
        return Place{(u64)key << 32 | (u32)id, base_mass + rank * weight};
    }
};
