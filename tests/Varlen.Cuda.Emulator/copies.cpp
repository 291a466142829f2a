// The copy engine and the barriers in shared memory that tell of its loads. A load's target holds NaN from its issue until the load arrives: in ascending
// order of threads, when no thread can go on without it; in descending order at once. A store's source must stay as it was
// until it has been waited for, and its target is written only when somebody waits for it or the block ends.
#include <cstring>
#include <memory>
#include <vector>
#include "launch.h"

namespace emulator {

// --- barriers: their state is in their 8 bytes ---
struct State {
    unsigned arrivals, pending;  // of each phase, 20 bits; still to come in this one, 20 bits
    int bytes;                   // announced and not there yet: 22 bits
    unsigned phase;              // parity
};
static constexpr uint64_t kBit62 = 1ull << 62;  // never set, but in memory that was not written

static bool decode(const void* barrier, State* s) {
    uint64_t word;
    memcpy(&word, barrier, 8);
    *s = {(unsigned)(word & 0xFFFFF), (unsigned)(word >> 20 & 0xFFFFF), (int)(word >> 40 & 0x3FFFFF) << 10 >> 10, (unsigned)(word >> 63)};
    return !(word & kBit62) && s->arrivals > 0 && s->pending <= s->arrivals;
}
static State state_of(const void* barrier, const Place& place) {
    State s;
    if (!decode(barrier, &s)) arena->fail(place, "the barrier was not initialised, or overwritten");
    return s;
}
static void keep(void* barrier, State s) {
    bool ends = s.pending == 0 && s.bytes == 0;
    if (ends) {
        s.phase ^= 1;
        s.pending = s.arrivals;
    }
    uint64_t word = s.arrivals | (uint64_t)s.pending << 20 | (uint64_t)(s.bytes & 0x3FFFFF) << 40 | (uint64_t)s.phase << 63;
    memcpy(barrier, &word, 8);
    if (ends) wake(barrier);
}
static bool unfenced;  // a barrier was initialised, and no fence_async since

static void barrier_init(void* barrier, int arrivals, const Place& place) {
    if (arrivals < 1 || arrivals > 0xFFFFF) arena->fail(place, "a barrier for %d arrivals", arrivals);
    keep(barrier, {(unsigned)arrivals, (unsigned)arrivals, 0, 0});
    unfenced = true;
}
static void announce(State& s, int bytes, const Place& place) {
    s.bytes += bytes;
    if (s.bytes > 0xFFFFF || s.bytes < -0xFFFFF) arena->fail(place, "%d bytes are announced and not there yet: more than a barrier counts", s.bytes);
}
static void barrier_arrive(void* barrier, int bytes, const Place& place) {
    State s = state_of(barrier, place);
    if (s.pending == 0) arena->fail(place, "more than the barrier's %u arrivals, while %d bytes are not there yet", s.arrivals, s.bytes);
    s.pending--;
    announce(s, bytes, place);
    keep(barrier, s);
}
static void barrier_wait(void* barrier, unsigned parity, const Place& place) {
    if (parity > 1) arena->fail(place, "parity %u", parity);
    while (state_of(barrier, place).phase == parity) sleep_on(barrier, place);
}
std::string barrier_text(const void* barrier) {
    State s;
    if (!decode(barrier, &s)) return " for a barrier that was overwritten";
    return text_of(" for the end of phase %u, which lacks %u arrivals and %d bytes", s.phase, s.pending, s.bytes);
}
static void fence_async() { unfenced = false; }

// --- tiles ---
struct Tile { TiledMap map; int at[4]; unsigned row_bytes, bytes; };

static void require_shared(const unsigned char* p, unsigned bytes, const Place& place) {
    const Block& b = *arena;
    if ((p < b.dynamic_begin || p + bytes > b.dynamic_end) && (p < b.static_begin || p + bytes > b.static_end))
        arena->fail(place, "%u bytes at byte %ld of dynamic shared memory, which has %ld", bytes, (long)(p - b.dynamic_begin), (long)(b.dynamic_end - b.dynamic_begin));
}
static void require_global(uint64_t address, size_t bytes, const Place& place) {
    Allocation* a = find(address, bytes);
    if (a && a->device) return;
    Allocation* begin = find(address, 1);
    std::string text = begin ? text_of("%zu bytes, which end %zu bytes after the end, at ", bytes, (size_t)(address + bytes - (uint64_t)begin->base - begin->bytes)) : "";
    arena->fail(place, "illegal address: the copy engine would touch %s%s", text.c_str(), describe(address).c_str());
}

// Calls row(address, first, last, offset in the box) for every row of the box: elements [first, last) of it lie within the tensor.
template <class F> static void each_row(const Tile& t, F row) {
    unsigned offset = 0;
    int64_t first = t.at[0] < 0 ? -(int64_t)t.at[0] : 0, last = std::min<int64_t>(t.map.box[0], (int64_t)t.map.sizes[0] - t.at[0]);
    for (int z = 0; z < t.map.box[3]; z++)
        for (int y = 0; y < t.map.box[2]; y++)
            for (int x = 0; x < t.map.box[1]; x++, offset += t.row_bytes) {
                int64_t at[] = {(int64_t)t.at[1] + x, (int64_t)t.at[2] + y, (int64_t)t.at[3] + z};
                bool inside = first < last;
                uint64_t address = (t.map.disguised ^ kDisguise) + (uint64_t)(t.at[0] + first) * t.map.element_bytes;
                for (int d = 0; d < 3; d++) {
                    inside &= at[d] >= 0 && (uint64_t)at[d] < t.map.sizes[d + 1];
                    address += (uint64_t)at[d] * t.map.strides[d];
                }
                row(address, inside ? first : 0, inside ? last : 0, offset);
            }
}
static unsigned char* chunk(const Tile& t, unsigned char* shared, unsigned offset) {
    uint64_t p = (uint64_t)shared + offset;
    return (unsigned char*)(t.map.swizzled ? p ^ (p >> 3 & 0x70) : p);
}
static Tile tile_of(const void* map, const int* coordinates, const unsigned char* shared, const Place& place) {
    Tile t;
    memcpy(&t.map, map, sizeof t.map);
    if (t.map.magic != kMapMagic) arena->fail(place, "this is not a map that cuTensorMapEncodeTiled made");
    if ((uint64_t)map % 64 != 0) arena->fail(place, "the map's address %p is not a multiple of 64", map);
    memcpy(t.at, coordinates, sizeof t.at);
    t.row_bytes = t.map.box[0] * t.map.element_bytes;
    t.bytes = t.row_bytes * t.map.box[1] * t.map.box[2] * t.map.box[3];
    if (t.map.swizzled && t.row_bytes != 128) arena->fail(place, "rows of %u bytes: the emulator knows rows of 128 with the 128-byte swizzle only", t.row_bytes);
    for (int d = 0; d < 4; d++)
        if (t.at[d] >= 0 && (uint64_t)t.at[d] >= t.map.sizes[d])
            arena->fail(place, "illegal address: the tile begins at %d of dimension %d, which has %lu", t.at[d], d, t.map.sizes[d]);
    require_shared(shared, t.bytes, place);
    each_row(t, [&](uint64_t address, int64_t first, int64_t last, unsigned) {
        if (first < last) require_global(address, (size_t)(last - first) * t.map.element_bytes, place);
    });
    return t;
}

// --- loads ---
struct Load {
    Tile tile;  // bytes only, when it is none
    bool is_tile;
    unsigned char* shared;
    const void* global;
    void* barrier;
    Place place;
};
static std::vector<Load> loads;

static void arrive(const Load& l) {
    if (!l.is_tile) memcpy(l.shared, l.global, l.tile.bytes);
    else
        each_row(l.tile, [&](uint64_t address, int64_t first, int64_t last, unsigned offset) {
            alignas(16) unsigned char row[4096];
            const unsigned size = l.tile.map.element_bytes;
            memset(row, 0, l.tile.row_bytes);
            if (first < last) memcpy(row + first * size, (const void*)address, (last - first) * size);
            for (unsigned i = 0; i < l.tile.row_bytes; i += 16) memcpy(chunk(l.tile, l.shared, offset + i), row + i, 16);
        });
    State s = state_of(l.barrier, l.place);
    announce(s, -(int)l.tile.bytes, l.place);
    keep(l.barrier, s);
}
bool deliver_one() {
    if (loads.empty()) return false;
    // What nobody waits for stays away as long as it can: a wait that is missing is found by that.
    size_t which = loads.size() - 1;
    if (arena->order == Order::random)
        for (size_t i = which; i > 0 && pick(arena, 3) == 0; i--) which--;
    else if (arena->order == Order::ascending)
        for (size_t i = loads.size(); i-- > 0;)
            if (is_awaited(loads[i].barrier)) {
                which = i;
                break;
            }
    Load l = loads[which];
    loads.erase(loads.begin() + which);
    arrive(l);
    return true;
}
static void load(const Load& l) {
    state_of(l.barrier, l.place);
    if (unfenced) arena->fail(l.place, "a barrier was initialised, but no fence_async tells the copy engine");
    memset(l.shared, 0xFF, l.tile.bytes);
    loads.push_back(l);
    if (arena->order == Order::descending || (arena->order == Order::random && pick(arena, 3) == 0)) deliver_one();
}
static void tile_load(unsigned char* shared, const void* map, void* barrier, const int* coordinates, const Place& place) {
    load({tile_of(map, coordinates, shared, place), true, shared, nullptr, barrier, place});
}
static void require_aligned(const void* global, int bytes, const Place& place) {
    if ((uint64_t)global % 16 != 0 || bytes <= 0 || bytes % 16 != 0) arena->fail(place, "%d bytes at global address %p: both must be multiples of 16", bytes, global);
    require_global((uint64_t)global, bytes, place);
}
static void bulk_load(unsigned char* shared, const void* global, int bytes, void* barrier, const Place& place) {
    require_aligned(global, bytes, place);
    require_shared(shared, bytes, place);
    Tile t = {};
    t.bytes = bytes;
    load({t, false, shared, global, barrier, place});
}

// --- stores and additions ---
struct Store {
    Tile tile;
    bool is_tile;
    const unsigned char* shared;
    float* global;
    Place place;
    int group;
    bool read;
    std::vector<unsigned char> held;  // what is in shared memory, as it lies there
};
struct Stores { std::vector<Store> pending; int committed = 0; };
static Stores stores[kMaxThreads];

static void finish_reading(Store& s) {
    if (!s.read && memcmp(s.held.data(), s.shared, s.held.size()) != 0) arena->fail(s.place, "shared memory was changed while the copy engine read it");
    s.read = true;
}
static void write(const Store& s) {
    if (!s.is_tile) {
        for (size_t i = 0; i < s.held.size() / 4; i++) {
            float x;
            memcpy(&x, s.held.data() + 4 * i, 4);
            s.global[i] += x;
        }
        return;
    }
    // Chunks are exchanged by their place in shared memory.
    const int64_t moved = s.held.data() - s.shared;
    each_row(s.tile, [&](uint64_t address, int64_t first, int64_t last, unsigned offset) {
        alignas(16) unsigned char row[4096];
        const unsigned size = s.tile.map.element_bytes;
        if (first >= last) return;
        for (unsigned i = 0; i < s.tile.row_bytes; i += 16) memcpy(row + i, chunk(s.tile, const_cast<unsigned char*>(s.shared), offset + i) + moved, 16);
        memcpy((void*)address, row + first * size, (last - first) * size);
    });
}
static void store(Store s) {
    s.group = stores[thread()].committed;
    s.read = false;
    s.held.assign(s.shared, s.shared + s.tile.bytes);
    stores[thread()].pending.push_back(std::move(s));
}
static void tile_store(const void* map, const unsigned char* shared, const int* coordinates, const Place& place) {
    store({tile_of(map, coordinates, shared, place), true, shared, nullptr, place, 0, false, {}});
}
static void bulk_add(float* global, const unsigned char* shared, int bytes, const Place& place) {
    require_aligned(global, bytes, place);
    require_shared(shared, bytes, place);
    Tile t = {};
    t.bytes = bytes;
    store({t, false, shared, global, place, 0, false, {}});
}
static void bulk_commit() { stores[thread()].committed++; }
static void bulk_wait(int groups, bool reads_only, const Place&) {
    Stores& s = stores[thread()];
    size_t done = 0;
    for (; done < s.pending.size() && s.pending[done].group < s.committed - groups; done++) {
        finish_reading(s.pending[done]);
        if (!reads_only) write(s.pending[done]);
    }
    if (!reads_only) s.pending.erase(s.pending.begin(), s.pending.begin() + done);
}
void end_thread() {
    for (const Store& s : stores[thread()].pending)
        if (!s.read) arena->fail(s.place, "the thread ends while the copy engine reads for it: no bulk_wait_read, or no bulk_commit before it");
}

void provide_copies(Block* b) {
    b->barrier_init = barrier_init;
    b->barrier_arrive = barrier_arrive;
    b->barrier_wait = barrier_wait;
    b->fence_async = fence_async;
    b->tile_load = tile_load;
    b->tile_store = tile_store;
    b->bulk_load = bulk_load;
    b->bulk_add = bulk_add;
    b->bulk_commit = bulk_commit;
    b->bulk_wait = bulk_wait;
}
void begin_copies() {
    loads.clear();
    for (unsigned t = 0; t < arena->threads; t++) stores[t] = Stores();
    unfenced = false;
}
// Additions of different threads meet in no particular order.
void end_copies() {
    if (!loads.empty()) failure = who(*arena, 0) + text_of(": the block ended while the copy engine loads, from line %d of %s", loads[0].place.line, loads[0].place.file);
    for (unsigned i = 0; i < arena->threads; i++) {
        unsigned t = arena->order == Order::descending ? arena->threads - 1 - i : i;
        for (const Store& s : stores[t].pending) write(s);
        stores[t].pending.clear();
    }
}

}  // namespace emulator

using namespace emulator;

static CUresult refuse(const std::string& why) { return report(kInvalidValue, "cuTensorMapEncodeTiled: " + why); }

EXPORT CUresult cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* address, const uint64_t* sizes, const uint64_t* strides, const unsigned* box, const unsigned* steps, int interleave, int swizzle, int promotion, int fill) {
    ENTER;
    static constexpr unsigned kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
    if (!map || !sizes || !strides || !box || !steps) return refuse("a null pointer");
    if ((uint64_t)map % 64 != 0) return refuse("the map's address is not a multiple of 64");
    if (rank < 1 || rank > 5 || type < 0 || interleave < 0 || interleave > 2 || swizzle < 0 || swizzle > 3 || promotion < 0 || promotion > 3 || fill < 0 || fill > 1) return refuse("an enumeration or the rank is out of range");
    if (rank != 4 || type > 9 || interleave != 0 || (swizzle != 0 && swizzle != 3) || fill != 0) return report(kNotSupported, "cuTensorMapEncodeTiled: the emulator knows four dimensions, with the 128-byte swizzle or none");
    TiledMap m = {kMapMagic, (uint64_t)address ^ kDisguise, {}, {}, {}, kBytes[type], swizzle == 3};
    if ((uint64_t)address % 16 != 0) return refuse(text_of("address %p is not a multiple of 16", address));
    for (int d = 0; d < 4; d++) {
        if (sizes[d] < 1 || sizes[d] > 1ull << 32) return refuse(text_of("dimension %d has size %lu", d, sizes[d]));
        if (box[d] < 1 || box[d] > 256) return refuse(text_of("the box has %u of dimension %d: 1 to 256", box[d], d));
        if (steps[d] < 1 || steps[d] > 8) return refuse(text_of("step %u of dimension %d: 1 to 8", steps[d], d));
        if (steps[d] != 1) return report(kNotSupported, "cuTensorMapEncodeTiled: the emulator knows steps of 1 only");
        m.sizes[d] = sizes[d];
        m.box[d] = (unsigned short)box[d];
        if (d == 3) break;
        if (strides[d] % 16 != 0 || strides[d] >= 1ull << 40) return refuse(text_of("stride %lu of dimension %d is not a multiple of 16 below 2^40", strides[d], d + 1));
        m.strides[d] = strides[d];
    }
    unsigned row = box[0] * m.element_bytes;
    if (row % 16 != 0) return refuse(text_of("rows of the box have %u bytes, not a multiple of 16", row));
    if (swizzle == 3 && row > 128) return refuse(text_of("rows of the box have %u bytes, more than the swizzle's 128", row));
    memset(map, 0, 128);
    memcpy(map, &m, sizeof m);
    return kSuccess;
}
