// What running a block, launching a grid and handling faults share.
#pragma once
#include "driver.h"

extern "C" char emulator_resume[];  // restores what emulator_switch saved, from the stack pointer on

namespace emulator {

constexpr unsigned long kGuardBytes = 4096;
inline Block* arena;
inline std::string failure;           // of the launch under way
inline uint64_t faulty_instruction;   // where it was, when the processor found it

bool prepare(unsigned threads);
void run_block(Block* block);
std::string text_of(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string who(const Block& block, unsigned thread);
inline unsigned char* stack_of(unsigned thread) { return reinterpret_cast<unsigned char*>(arena) + kArenaBytes / 2 + thread * kStackBytes; }

// Lines of the source, innermost first, for an instruction of a module; empty where no addr2line is found.
std::string lines_of(const Module& module, uint64_t instruction);
void have_signal_stack();

}  // namespace emulator
