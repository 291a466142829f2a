// Draws an id from each row of logits: penalty, temperature, top-k, top-p and the draw itself, in the order of Varlen.Generation.TokenSampler. A
// block takes a row.
#include "sample_search.cuh"

struct SampledRow {
    i32 slot;   // row of seen
    i32 token;  // what was read last, which counts as seen; below 0 for a row that nothing is drawn for
    u32 seed_low, seed_high;
    u32 draw_low, draw_high;
};

struct SampleArguments {
    const ELEMENT* logits;
    const SampledRow* rows;
    u32* seen;      // [slots, words]: a bit for each id; null without a penalty
    i32* ids;       // drawn; -1 when a logit is NaN or infinite, or all are -infinity
    i64 stride;     // elements between rows of logits
    double penalty;
    double top_p;
    float sharpness;  // log2(e) / temperature; 0 takes the largest logit
    i32 classes, words;
    i32 top_k;
};

__device__ __forceinline__ u64 part_of(double part, u64 total) { return min_of((u64)(part * (double)total), total - 1); }

KERNEL(sample_rows, SampleArguments, kThreads, 1) {
    __shared__ Memory m;
    const int thread = threadIdx.x;
    const SampledRow row = a.rows[blockIdx.x];
    if (row.token < 0) return;
    Logits logits = {a.logits + blockIdx.x * a.stride, nullptr, a.penalty, a.classes, 0, a.sharpness};
    if (a.seen) {
        u32* seen = a.seen + (i64)row.slot * a.words;
        if (thread == 0) seen[row.token >> 5] |= 1u << (row.token & 31);
        block_sync();
        logits.seen = seen;
    }
    float most = -kInfinity;
    int at = 0x7fffffff;
    bool is_bad = false;
    logits.each<16>(thread, a.classes, kThreads, [&](int id, float x) {
        is_bad |= !(x < kInfinity);
        if (x > most) {
            most = x;
            at = id;
        }
    });
    const u64 top = block_least(is_bad ? 0 : entry_of(most, at), m);
    const bool is_none = top == 0 || (u32)top == 0x7fffffffu;
    if (is_none || a.sharpness == 0) {
        if (thread == 0) a.ids[blockIdx.x] = is_none ? -1 : (i32)(u32)top;
        return;
    }
    logits.most = value_of((u32)(top >> 32));
    const Philox words = philox(row.draw_low, row.draw_high, 0, 4, row.seed_low, row.seed_high);
    const double uniform = ((words.x >> 5) * 67108864.0 + (words.y >> 6)) / 9007199254740992.0;
    int id;
    if (a.top_k >= a.classes && a.top_p == 1) {
        const InOrder order = {false, 0};
        const u64 total = add_up(logits, order, m);
        id = find_in_order(logits, order, part_of(uniform, total) + 1, m);
    } else {
        // Top-k, top-p, and the draw from what they keep.
        Search search = {logits, m, false, 0};
        Place place = {0, 0};
#pragma unroll 1
        for (int cut = 0; cut < 3; cut++) {
            search.prepare();
            if (cut == 0) place.mass = m.masses[kBins - 1];
            u64 target = part_of(uniform, place.mass) + 1;
            if (cut == 0) {
                target = (u32)a.top_k;
                if (target >= m.counts[kBins - 1]) continue;
            } else if (cut == 1) {
                if (a.top_p == 1) continue;
                const double least = a.top_p * (double)place.mass;
                const u64 whole = (u64)least;
                target = min_of(max_of(whole + ((double)whole < least), (u64)1), place.mass);
            }
            place = search.find(target, cut == 0);
        }
        id = (i32)(u32)place.entry;
    }
    if (thread == 0) a.ids[blockIdx.x] = id;
}
