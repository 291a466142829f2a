// The threads of a block as fibers, which hand the processor to each other where they must wait.
#include <sys/mman.h>
#include <cstdarg>
#include <cstring>
#include <vector>
#include "launch.h"

// Saves the callee's registers, stores the stack pointer in *from and goes on where "to" stopped.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.globl emulator_switch, emulator_resume
.hidden emulator_switch
.hidden emulator_resume
.type emulator_switch, @function
emulator_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
emulator_resume:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

namespace emulator {

struct Copy { void* target; const void* source; int bytes, size, group; };
struct Copies { std::vector<Copy> pending; int committed = 0; };

struct Sleeper { const void* barrier; Place place; };

static Copies copies[kMaxThreads];
static Sleeper sleepers[kMaxThreads];
static unsigned prepared;  // stacks that may be used
static constexpr unsigned kManySpins = 200000000;

static std::string where(const Place& p) { return text_of("%s (%s:%d)", p.function, p.file, p.line); }

[[noreturn]] void abandon(std::string message) {
    failure = std::move(message);
    void* lost;
    emulator_switch(&lost, arena->scheduler);
    __builtin_unreachable();
}

static void fail(const Place& place, const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    abandon(who(*block(), thread()) + ": " + text + " at " + where(place));
}

// What every warp waits for.
static std::string waiting(const Block& b) {
    std::string text;
    for (unsigned w = 0; w < 32 && b.warps[w].present; w++) {
        const Warp& warp = b.warps[w];
        if (warp.exited == warp.present) text += text_of("; warp %u has ended", w);
        else if (warp.asleep) text += text_of("; thread %u waits at ", 32 * w + __builtin_ctz(warp.asleep)) + where(sleepers[32 * w + __builtin_ctz(warp.asleep)].place) + barrier_text(sleepers[32 * w + __builtin_ctz(warp.asleep)].barrier);
        else if (warp.arrived) text += text_of("; warp %u waits at ", w) + where(warp.place);
    }
    return text;
}

unsigned pick(Block* b, unsigned set) {
    if (b->order == Order::ascending) return __builtin_ctz(set);
    if (b->order == Order::descending) return 31 - __builtin_clz(set);
    b->random = b->random * 1664525 + 1013904223;
    for (unsigned skipped = (b->random >> 16) % __builtin_popcount(set); skipped > 0; skipped--) set &= set - 1;
    return __builtin_ctz(set);
}

// Goes on with another thread: of this warp if one can run, else of the next warp.
static void next(Block* b, unsigned self) {
    unsigned w = self / 32;
    if (!b->warps[w].runnable) {
        b->ready &= ~(1u << w);
        if (!b->ready) {
            if (b->exited == b->threads) {
                emulator_switch(&b->stacks[self], b->scheduler);
                return;
            }
            // What the copy engine still brings may wake one.
            while (!b->ready && deliver_one()) {}
            if (!b->ready) abandon(who(*b, self) + ": no thread can go on" + waiting(*b));
        }
        w = pick(b, b->ready);
    }
    unsigned to = 32 * w + pick(b, b->warps[w].runnable);
    if (to != self) emulator_switch(&b->stacks[self], b->stacks[to]);
}

static void meet(void* lane, Meeting meeting, const Place& place) {
    Block* b = block();
    unsigned self = thread();
    Warp& w = b->warps[self / 32];
    unsigned bit = 1u << (self % 32);
    if (w.arrived == 0) {
        w.meeting = meeting;
        w.place = place;
    } else if (w.meeting != meeting || w.place.line != place.line) {
        abandon(who(*b, self) + ": the warp diverged: this thread is at " + where(place) + ", others of its warp wait at " + where(w.place));
    }
    if (w.exited) abandon(who(*b, self) + text_of(": comes to ") + where(place) + text_of(", but threads of its warp have ended (mask %#x)", w.exited));
    w.arrived |= bit;
    w.lanes[self % 32] = lane;
    if (w.arrived == w.present) {
        w.runnable = 0;
        if (meeting(w.lanes, w.present)) {
            w.arrived = 0;
            w.runnable = w.present;
            return;
        }
    } else {
        w.runnable &= ~bit;
    }
    next(b, self);
}

static bool arrive(int id, unsigned needed, bool waits, const Place& place) {
    Block* b = block();
    Barrier& barrier = b->barriers[id];
    unsigned self = 1u << (thread() / 32);
    if (barrier.warps && barrier.needed != needed) fail(place, "barrier %d is for %u warps here and for %u elsewhere", id, needed, barrier.needed);
    if (barrier.warps & self) fail(place, "the warp comes to barrier %d again before the others have come", id);
    if (id == 0)
        for (unsigned w = 0; w < needed; w++)
            if (b->warps[w].exited) fail(place, "a barrier of the block, but threads of warp %u have ended", w);
    barrier.needed = needed;
    barrier.warps |= self;
    if ((unsigned)__builtin_popcount(barrier.warps) < needed) {
        if (waits) barrier.waiting |= self;
        return !waits;
    }
    for (unsigned set = barrier.waiting; set; set &= set - 1) {
        Warp& w = b->warps[__builtin_ctz(set)];
        w.arrived = 0;
        w.runnable = w.present;
    }
    b->ready |= barrier.waiting | self;
    barrier.warps = barrier.waiting = 0;
    return true;
}

// One thread alone waits until somebody wakes those that wait for this barrier.
void sleep_on(const void* barrier, const Place& place) {
    Block* b = block();
    unsigned self = thread(), bit = 1u << (self % 32);
    sleepers[self] = {barrier, place};
    b->warps[self / 32].asleep |= bit;
    b->warps[self / 32].runnable &= ~bit;
    next(b, self);
}
bool is_awaited(const void* barrier) {
    for (unsigned w = 0; w < 32 && arena->warps[w].present; w++)
        for (unsigned set = arena->warps[w].asleep; set; set &= set - 1)
            if (sleepers[32 * w + __builtin_ctz(set)].barrier == barrier) return true;
    return false;
}
void wake(const void* barrier) {
    for (unsigned w = 0; w < 32 && arena->warps[w].present; w++) {
        Warp& warp = arena->warps[w];
        for (unsigned set = warp.asleep; set; set &= set - 1) {
            unsigned lane = __builtin_ctz(set);
            if (sleepers[32 * w + lane].barrier != barrier) continue;
            warp.asleep &= ~(1u << lane);
            warp.runnable |= 1u << lane;
            arena->ready |= 1u << w;
        }
    }
}

// For loops that wait for a value: every other thread gets its turn before this one goes on.
static void yield(const Place& place) {
    Block* b = block();
    unsigned self = thread(), w = self / 32;
    deliver_one();
    if (++b->spins > kManySpins) abandon(who(*b, self) + ": waits forever at " + where(place));
    unsigned lanes = b->warps[w].runnable & ~((2u << (self % 32)) - 1);
    unsigned to;
    if (lanes) to = 32 * w + __builtin_ctz(lanes);
    else {
        unsigned others = b->ready & ~((2u << w) - 1);
        unsigned chosen = __builtin_ctz(others ? others : b->ready);
        to = 32 * chosen + __builtin_ctz(b->warps[chosen].runnable);
    }
    if (to != self) emulator_switch(&b->stacks[self], b->stacks[to]);
}

static void copy(void* target, const void* source, int bytes, int size) {
    memset(target, 0xFF, size);
    Copies& c = copies[thread()];
    c.pending.push_back({target, source, bytes, size, c.committed});
}
static void copy_commit() { copies[thread()].committed++; }
static void copy_wait(int groups) {
    Copies& c = copies[thread()];
    size_t done = 0;
    for (; done < c.pending.size() && c.pending[done].group < c.committed - groups; done++) {
        Copy& x = c.pending[done];
        memcpy(x.target, x.source, x.bytes);
        memset(static_cast<char*>(x.target) + x.bytes, 0, x.size - x.bytes);
    }
    if (done) c.pending.erase(c.pending.begin(), c.pending.begin() + done);
}

static void fiber_main() {
    Block* b = block();
    unsigned self = thread();
    b->entry(b->arguments);
    Warp& w = b->warps[self / 32];
    end_thread();
    if (w.arrived) abandon(who(*b, self) + ": ended while others of its warp wait at " + where(w.place));
    w.exited |= 1u << (self % 32);
    w.runnable &= ~(1u << (self % 32));
    b->exited++;
    next(b, self);
    __builtin_unreachable();
}

bool prepare(unsigned threads) {
    if (!arena) {
        void* space = mmap(nullptr, 2 * kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED) return false;
        arena = reinterpret_cast<Block*>(((uint64_t)space + kArenaBytes - 1) & ~(kArenaBytes - 1));
        if (mprotect(arena, sizeof(Block), PROT_READ | PROT_WRITE) != 0) return false;
        arena->meet = meet;
        arena->arrive = arrive;
        arena->yield = yield;
        arena->copy = copy;
        arena->copy_commit = copy_commit;
        arena->copy_wait = copy_wait;
        arena->fail = fail;
        provide_copies(arena);
        provide_products(arena);
    }
    for (; prepared < threads; prepared++)
        if (mprotect(stack_of(prepared) + kGuardBytes, kStackBytes - kGuardBytes, PROT_READ | PROT_WRITE) != 0) return false;
    return true;
}

void run_block(Block* b) {
    b->exited = 0;
    b->spins = 0;
    b->ready = 0;
    unsigned warps = (b->threads + 31) / 32;
    for (unsigned w = 0; w < warps; w++) {
        unsigned lanes = std::min(32u, b->threads - 32 * w);
        Warp& warp = b->warps[w];
        warp.present = warp.runnable = lanes == 32 ? ~0u : (1u << lanes) - 1;
        warp.arrived = warp.exited = warp.asleep = 0;
        memset(warp.lanes, 0, sizeof warp.lanes);
        b->ready |= 1u << w;
    }
    if (warps < 32) b->warps[warps].present = 0;
    memset(b->barriers, 0, sizeof b->barriers);
    for (unsigned t = 0; t < b->threads; t++) {
        // Stacks begin at different offsets, else their hot lines would all compete for the same cache sets.
        void** top = reinterpret_cast<void**>(stack_of(t) + kStackBytes - (t * 576) % 32768);
        top[-1] = nullptr;
        top[-2] = reinterpret_cast<void*>(fiber_main);
        b->stacks[t] = top - 8;
        copies[t].pending.clear();
        copies[t].committed = 0;
    }
    begin_copies();
    begin_products();
    unsigned w = pick(b, b->ready);
    emulator_switch(&b->scheduler, b->stacks[32 * w + pick(b, b->warps[w].runnable)]);
    if (failure.empty()) end_copies();
    if (failure.empty()) end_products();
}

}  // namespace emulator
