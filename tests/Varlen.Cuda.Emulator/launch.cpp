// Launches: the blocks of a grid one after another, with checks before and after. Whatever goes wrong within a kernel ends the launch with an
// error, not the process.
#include <cstdarg>
#include <cstring>
#include <deque>
#include "launch.h"

namespace emulator {

static std::deque<std::string> recent;

std::string recent_kernels() {
    std::string text;
    for (auto name = recent.rbegin(); name != recent.rend(); ++name) text += (text.empty() ? "" : ", ") + *name;
    return text.empty() ? "none" : text;
}

std::string text_of(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return text;
}

std::string who(const Block& b, unsigned thread) {
    return text_of("kernel %s, block %u of %u, thread %u of %u", b.kernel, b.block_index.x, b.grid_extent.x, thread, b.threads);
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
    have_signal_stack();
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
    faulty_instruction = 0;
    ModuleFacts& module = f->module->facts;
    b->dynamic_begin = module.dynamic_shared;
    b->dynamic_end = module.dynamic_shared + shared;
    b->static_begin = module.static_begin;
    b->static_end = module.static_end;
    unsigned char* guard = module.dynamic_shared + shared;
    memset(guard, 0xA5, kSharedGuard);
    const char* order = getenv("VARLEN_EMULATOR_ORDER");
    if (!order) order = "";
    const char* seed = strchr(order, ':');
    for (unsigned z = 0; z < grid.z && failure.empty(); z++)
        for (unsigned y = 0; y < grid.y && failure.empty(); y++)
            for (unsigned x = 0; x < grid.x && failure.empty(); x++) {
                memset(module.dynamic_shared, 0xFF, shared);
                memset(module.static_begin, 0xFF, module.static_end - module.static_begin);
                b->block_index = Extent{x, y, z};
                b->order = order[0] == 'a' ? Order::ascending : order[0] == 'd' ? Order::descending : order[0] == 'r' ? Order::random : (Order)(x & 1);
                b->random = x + atoi(seed ? seed + 1 : "0");
                run_block(b);
                for (unsigned i = 0; i < kSharedGuard && failure.empty(); i++)
                    if (guard[i] != 0xA5) failure = who(*b, 0) + text_of(": byte %u after the end of %u bytes of dynamic shared memory was overwritten", i, shared);
            }
    b->kernel = nullptr;
    if (!failure.empty()) return report(kLaunchFailed, failure + (faulty_instruction ? lines_of(*f->module, faulty_instruction) : ""));
    return check_guards(*f, arguments);
}

}  // namespace emulator
