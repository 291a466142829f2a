// What the processor finds wrong within a kernel - inaccessible memory, a trap of the compiler's checks - becomes an error of the launch.
#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>
#include <cstdlib>
#include <cstring>
#include "launch.h"

namespace emulator {

std::string temporary_file(const void* bytes, size_t count) {
    char path[] = "/tmp/varlen-emulator-XXXXXX";
    int file = mkstemp(path);
    if (file < 0) return {};
    bool written = write(file, bytes, count) == (ssize_t)count;
    close(file);
    if (written) return path;
    unlink(path);
    return {};
}

static struct sigaction earlier[32];

// The compiler's traps are "ud1" with the number of a check.
static const char* trap_of(const unsigned char* instruction) {
    if (memcmp(instruction, "\x67\x0F\xB9\x40", 4) != 0) return "an illegal instruction";
    switch (instruction[4]) {
        case 0x12: return "an index is outside of its array";
        case 0x16: return "an address is not a multiple of what its type needs";
        default: return "a check of the compiler failed";
    }
}

static void on_fault(int signal, siginfo_t* info, void* context) {
    auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    uint64_t sp = registers[REG_RSP], begin = (uint64_t)arena + kArenaBytes / 2;
    if (arena && arena->kernel && sp >= begin && sp < (uint64_t)arena + kArenaBytes) {
        unsigned thread = (sp - 8) / kStackBytes % kMaxThreads;
        uint64_t address = (uint64_t)info->si_addr;
        bool overflow = signal != SIGILL && address - (uint64_t)stack_of(thread) < kGuardBytes;
        failure = who(*arena, thread) + ": ";
        if (signal == SIGILL) failure += trap_of((const unsigned char*)registers[REG_RIP]);
        else if (overflow) failure += "its stack overflowed";
        else if (info->si_code == SI_KERNEL) failure += "an address is unaligned or impossible";
        else failure += (registers[REG_ERR] & 2 ? "wrote to " : "read from ") + describe(address);
        faulty_instruction = registers[REG_RIP];
        registers[REG_RSP] = (greg_t)arena->scheduler;
        registers[REG_RIP] = (greg_t)emulator_resume;
        return;
    }
    struct sigaction& old = earlier[signal];
    if (old.sa_flags & SA_SIGINFO) old.sa_sigaction(signal, info, context);
    else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) old.sa_handler(signal);
    else ::signal(signal, SIG_DFL);  // what failed is tried again and ends the process
}

// Faults that are none of ours go to whoever handled them before: .NET makes exceptions of them, and needs its own mask to be kept.
void catch_faults() {
    for (int signal : {SIGSEGV, SIGBUS, SIGILL}) {
        sigaction(signal, nullptr, &earlier[signal]);
        struct sigaction ours = earlier[signal];
        ours.sa_sigaction = on_fault;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        sigaction(signal, &ours, nullptr);
    }
}

// A thread whose stack has overflowed can handle the signal on another one only; .NET's threads have one already.
void have_signal_stack() {
    struct Stack {
        stack_t before = {};
        void* memory = nullptr;
        Stack() {
            if (sigaltstack(nullptr, &before) != 0 || !(before.ss_flags & SS_DISABLE)) return;
            stack_t mine = {};
            mine.ss_size = 1 << 16;
            mine.ss_sp = memory = malloc(mine.ss_size);
            sigaltstack(&mine, nullptr);
        }
        ~Stack() {
            if (!memory) return;
            sigaltstack(&before, nullptr);
            free(memory);
        }
    };
    static thread_local Stack stack;
    (void)stack;
}

std::string lines_of(const Module& module, uint64_t instruction) {
    Dl_info place;
    if (!dladdr((void*)instruction, &place) || !place.dli_fbase) return {};
    std::string path = temporary_file(module.image.data(), module.image.size()), text;
    if (path.empty()) return {};
    std::string command = text_of("addr2line -i -s -e %s %#lx 2> /dev/null", path.c_str(), instruction - (uint64_t)place.dli_fbase);
    if (FILE* lines = popen(command.c_str(), "r")) {
        char line[256];
        while (fgets(line, sizeof line, lines)) text += (text.empty() ? " at " : " from ") + std::string(line, strcspn(line, " \n"));
        pclose(lines);
    }
    unlink(path.c_str());
    return text;
}

}  // namespace emulator
