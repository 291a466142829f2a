// Runs kernels: the blocks of a grid one after another, the threads of a block as fibers that hand the processor to each other where they
// must wait. Whatever goes wrong within a kernel ends the launch with an error, not the process.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <cstdarg>
#include <cstring>
#include <deque>
#include <vector>
#include "driver.h"

// Saves the callee's registers, stores the stack pointer in *from and goes on where "to" stopped.
extern "C" void emulator_switch(void** from, void* to);
extern "C" char emulator_resume[];
asm(R"(
.text
.globl emulator_switch
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

static Block* arena;
static Copies copies[kMaxThreads];
static unsigned prepared;      // stacks with a guard page
static std::string failure;
static std::deque<std::string> recent;
static constexpr unsigned kManySpins = 200000000;

std::string recent_kernels() {
    std::string text;
    for (auto name = recent.rbegin(); name != recent.rend(); ++name) text += (text.empty() ? "" : ", ") + *name;
    return text.empty() ? "none" : text;
}

static std::string text_of(const char* format, ...) __attribute__((format(printf, 1, 2)));
static std::string text_of(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return text;
}

static std::string who(const Block& b, unsigned thread) {
    return text_of("kernel %s, block %u of %u, thread %u of %u", b.kernel, b.block_index.x, b.grid_extent.x, thread, b.threads);
}
static std::string where(const Place& p) { return text_of("%s (%s:%d)", p.function, p.file, p.line); }

[[noreturn]] static void abandon(std::string message) {
    failure = std::move(message);
    void* lost;
    emulator_switch(&lost, arena->scheduler);
    __builtin_unreachable();
}

static void fail(const Place& place, const char* format, ...) {
    char text[256];
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
        else if (warp.arrived) text += text_of("; warp %u waits at ", w) + where(warp.place);
    }
    return text;
}

static unsigned first_of(unsigned set, bool descending) { return descending ? 31 - __builtin_clz(set) : __builtin_ctz(set); }

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
            abandon(who(*b, self) + ": no thread can go on" + waiting(*b));
        }
        w = first_of(b->ready, b->descending);
    }
    unsigned to = 32 * w + first_of(b->warps[w].runnable, b->descending);
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

static bool arrive(int id, unsigned needed, const Place& place) {
    Block* b = block();
    Barrier& barrier = b->barriers[id];
    if (barrier.warps && barrier.needed != needed) fail(place, "barrier %d is for %u warps here and for %u elsewhere", id, needed, barrier.needed);
    if (id == 0)
        for (unsigned w = 0; w < needed; w++)
            if (b->warps[w].exited) fail(place, "a barrier of the block, but threads of warp %u have ended", w);
    barrier.needed = needed;
    barrier.warps |= 1u << (thread() / 32);
    if ((unsigned)__builtin_popcount(barrier.warps) < needed) return false;
    unsigned self = 1u << (thread() / 32);
    for (unsigned set = barrier.warps & ~self; set; set &= set - 1) {
        Warp& w = b->warps[__builtin_ctz(set)];
        w.arrived = 0;
        w.runnable = w.present;
    }
    b->ready |= barrier.warps;
    barrier.warps = 0;
    return true;
}

// For loops that wait for a value: every other thread gets its turn before this one goes on.
static void yield(const Place& place) {
    Block* b = block();
    unsigned self = thread(), w = self / 32;
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
    if (w.arrived) abandon(who(*b, self) + ": ended while others of its warp wait at " + where(w.place));
    w.exited |= 1u << (self % 32);
    w.runnable &= ~(1u << (self % 32));
    b->exited++;
    next(b, self);
    __builtin_unreachable();
}

static unsigned char* stack_of(unsigned thread) { return reinterpret_cast<unsigned char*>(arena) + kArenaBytes / 2 + thread * kStackBytes; }

static bool prepare(unsigned threads) {
    if (!arena) {
        void* space = mmap(nullptr, 2 * kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED) return false;
        arena = reinterpret_cast<Block*>(((uint64_t)space + kArenaBytes - 1) & ~(kArenaBytes - 1));
        arena->meet = meet;
        arena->arrive = arrive;
        arena->yield = yield;
        arena->copy = copy;
        arena->copy_commit = copy_commit;
        arena->copy_wait = copy_wait;
        arena->fail = fail;
    }
    for (; prepared < threads; prepared++) mprotect(stack_of(prepared), 4096, PROT_NONE);
    return true;
}

static void run_block(Block* b) {
    b->exited = 0;
    b->spins = 0;
    b->ready = 0;
    unsigned warps = (b->threads + 31) / 32;
    for (unsigned w = 0; w < warps; w++) {
        unsigned lanes = std::min(32u, b->threads - 32 * w);
        Warp& warp = b->warps[w];
        warp.present = warp.runnable = lanes == 32 ? ~0u : (1u << lanes) - 1;
        warp.arrived = warp.exited = 0;
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
    unsigned w = first_of(b->ready, b->descending);
    emulator_switch(&b->scheduler, b->stacks[32 * w + first_of(b->warps[w].runnable, b->descending)]);
}

static CUresult check_pointers(const Function& f, const unsigned char* arguments, Device* device) {
    for (size_t at = 0; at + 8 <= f.facts.argument_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, arguments + at, 8);
        Allocation* a = word ? find(word, 1) : nullptr;
        if (a && a->device && a->device != device)
            return report(kIllegalAddress, text_of("kernel %s: the pointer at byte %zu of its arguments belongs to device %d", f.name.c_str(), at, a->device->ordinal));
        if (!a && word && find_freed(word) && !find(word - 1, 1))
            return report(kIllegalAddress, text_of("kernel %s: the pointer at byte %zu of its arguments is ", f.name.c_str(), at) + describe(word));
    }
    return kSuccess;
}

static CUresult check_guards(const Function& f, const unsigned char* arguments) {
    for (size_t at = 0; at + 8 <= f.facts.argument_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, arguments + at, 8);
        Allocation* a = word ? find(word, 1) : nullptr;
        if (!a) continue;
        std::string damaged = damage(*a);
        if (!damaged.empty()) return report(kIllegalAddress, "kernel " + f.name + ": " + damaged);
    }
    return kSuccess;
}

CUresult launch(Function* f, Extent grid, unsigned threads, unsigned shared, const void* given, Device* device) {
    static bool trace = switched_on("VARLEN_EMULATOR_TRACE");
    if (trace) fprintf(stderr, "Varlen emulator: %s, %u x %u x %u blocks of %u threads, %u bytes\n", f->name.c_str(), grid.x, grid.y, grid.z, threads, shared);
    if (!prepare(threads)) return kOutOfMemory;
    if (arena->kernel) return report(kLaunchFailed, "a kernel was launched while another one runs");
    alignas(64) static unsigned char arguments[4096];
    memcpy(arguments, given, f->facts.argument_bytes);
    if (CUresult code = check_pointers(*f, arguments, device)) return code;

    recent.push_back(f->name);
    if (recent.size() > 4) recent.pop_front();
    Block* b = arena;
    b->kernel = f->name.c_str();
    b->entry = f->entry;
    b->arguments = arguments;
    b->threads = threads;
    b->grid_extent = grid;
    failure.clear();
    ModuleFacts& module = f->module->facts;
    unsigned char* guard = module.dynamic_shared + shared;
    memset(guard, 0xA5, kSharedGuard);
    const char* order = getenv("VARLEN_EMULATOR_ORDER");
    for (unsigned z = 0; z < grid.z && failure.empty(); z++)
        for (unsigned y = 0; y < grid.y && failure.empty(); y++)
            for (unsigned x = 0; x < grid.x && failure.empty(); x++) {
                memset(module.dynamic_shared, 0xFF, shared);
                memset(module.static_begin, 0xFF, module.static_end - module.static_begin);
                b->block_index = Extent{x, y, z};
                b->descending = order ? *order == 'd' : x & 1;
                run_block(b);
                for (unsigned i = 0; i < kSharedGuard && failure.empty(); i++)
                    if (guard[i] != 0xA5) failure = who(*b, 0) + text_of(": byte %u after the end of %u bytes of dynamic shared memory was overwritten", i, shared);
            }
    b->kernel = nullptr;
    if (!failure.empty()) return report(kLaunchFailed, failure);
    return check_guards(*f, arguments);
}

// --- faults ---
static struct sigaction earlier[2];

static void on_fault(int signal, siginfo_t* info, void* context) {
    auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    uint64_t sp = registers[REG_RSP], begin = (uint64_t)arena + kArenaBytes / 2;
    if (arena && arena->kernel && sp >= begin && sp < (uint64_t)arena + kArenaBytes) {
        unsigned thread = (sp - 8) / kStackBytes % kMaxThreads;
        uint64_t address = (uint64_t)info->si_addr;
        bool overflow = address >= begin && address < (uint64_t)arena + kArenaBytes;
        const char* access = registers[REG_ERR] & 2 ? "wrote to " : "read from ";
        failure = who(*arena, thread) + ": " + (overflow ? "its stack overflowed" : info->si_code == SI_KERNEL ? "used an unaligned or impossible address" : access + describe(address));
        registers[REG_RSP] = (greg_t)arena->scheduler;
        registers[REG_RIP] = (greg_t)emulator_resume;
        return;
    }
    struct sigaction& old = earlier[signal == SIGBUS];
    if (old.sa_flags & SA_SIGINFO) old.sa_sigaction(signal, info, context);
    else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) old.sa_handler(signal);
    else ::signal(signal, SIG_DFL);  // the access is tried again and ends the process
}

void catch_faults() {
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigaction(SIGSEGV, &ours, &earlier[0]);
    sigaction(SIGBUS, &ours, &earlier[1]);
}

}  // namespace emulator
