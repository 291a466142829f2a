// Failures on request: VARLEN_EMULATOR_FAIL, or emulatorInject, holds FUNCTION:NTH:CODE, several separated by commas; the NTH call of
// FUNCTION from now on returns CODE and does nothing, and with * for NTH every call does.
#pragma once
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace emulator {

constexpr long kEveryCall = 1l << 62;
struct Injection { std::string function; long nth; int code; };
inline std::mutex injection_lock;
inline std::vector<Injection> injections;
inline std::atomic<int> injection_state{-1};  // -1: the environment was not read yet; else how many there are

inline void inject(const char* text) {
    std::lock_guard<std::mutex> held(injection_lock);
    injections.clear();
    std::stringstream items(text ? text : "");
    for (std::string item; std::getline(items, item, ',');) {
        size_t first = item.find(':'), second = item.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        std::string nth = item.substr(first + 1, second - first - 1);
        injections.push_back({item.substr(0, first), nth == "*" ? kEveryCall : atol(nth.c_str()), atoi(item.c_str() + second + 1)});
    }
    injection_state = (int)injections.size();
}

inline int injected(const char* function) {
    if (injection_state < 0) inject(getenv("VARLEN_EMULATOR_FAIL"));
    if (injection_state == 0) return 0;
    std::lock_guard<std::mutex> held(injection_lock);
    for (Injection& i : injections) {
        if (i.function != function) continue;
        if (i.nth == kEveryCall || --i.nth == 0) return i.code;
    }
    return 0;
}

}  // namespace emulator
