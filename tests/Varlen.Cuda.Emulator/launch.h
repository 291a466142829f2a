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
[[noreturn]] void abandon(std::string message);  // ends the launch, from within a thread
unsigned pick(Block* block, unsigned set);        // a bit of a set, by the block's order
void sleep_on(const void* barrier, const Place& place);
void wake(const void* barrier);
bool is_awaited(const void* barrier);

// The copy engine and barriers in shared memory (copies.cpp), the tensor cores of warpgroups (products.cpp).
void provide_copies(Block* block);
void begin_copies();
bool deliver_one();  // a load that is under way arrives; false: there is none
void end_thread();
void end_copies();
std::string barrier_text(const void* barrier);
void provide_products(Block* block);
void begin_products();
void end_products();
std::string text_of(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string who(const Block& block, unsigned thread);
inline unsigned char* stack_of(unsigned thread) { return reinterpret_cast<unsigned char*>(arena) + kArenaBytes / 2 + thread * kStackBytes; }

// Lines of the source, innermost first, for an instruction of a module; empty where no addr2line is found.
std::string lines_of(const Module& module, uint64_t instruction);
void have_signal_stack();

}  // namespace emulator
