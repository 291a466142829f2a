// What the self-tests share: calls of the fake libraries, device arrays, compilation.
#pragma once
#include <dlfcn.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <fstream>
#include <sstream>
#include <ctime>
#include <string>
#include <vector>

typedef uint64_t Pointer;
inline void *driver, *compiler, *blas;
inline int failures;

inline void check(bool good, const std::string& what) {
    if (!good) failures++;
    printf("%s %s\n", good ? "ok    " : "FAILED", what.c_str());
}
template <class... A> inline int call(void* library, const char* name, A... arguments) {
    auto f = reinterpret_cast<int (*)(A...)>(dlsym(library, name));
    if (!f) {
        fprintf(stderr, "selftest: no function %s\n", name);
        exit(1);
    }
    return f(arguments...);
}
template <class... A> inline void need(void* library, const char* name, A... arguments) {
    if (int code = call(library, name, arguments...)) {
        fprintf(stderr, "selftest: %s returned %d\n", name, code);
        exit(1);
    }
}
inline std::string read(const std::string& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

template <class A> inline int launch(void* module, const char* name, A a, unsigned blocks, unsigned threads, unsigned shared = 0) {
    void* function;
    need(driver, "cuModuleGetFunction", &function, module, name);
    if (shared > 49152) need(driver, "cuFuncSetAttribute", function, 8, (int)shared);
    void* parameters[] = {&a};
    return call(driver, "cuLaunchKernel", function, blocks, 1u, 1u, threads, 1u, 1u, shared, (void*)nullptr, parameters, (void**)nullptr);
}
inline std::string error_text(int code) {
    const char* text;
    call(driver, "cuGetErrorString", code, &text);
    return text ? text : "";
}

template <class T> struct Array {
    Pointer at;
    size_t count;
    explicit Array(size_t n) : count(n) { need(driver, "cuMemAllocAsync", &at, n * sizeof(T), (void*)nullptr); }
    explicit Array(const std::vector<T>& v) : Array(v.size()) { need(driver, "cuMemcpyHtoDAsync_v2", at, (const void*)v.data(), count * sizeof(T), (void*)nullptr); }
    ~Array() { need(driver, "cuMemFreeAsync", at, (void*)nullptr); }
    std::vector<T> get() const {
        std::vector<T> v(count);
        need(driver, "cuMemcpyDtoHAsync_v2", (void*)v.data(), at, count * sizeof(T), (void*)nullptr);
        return v;
    }
};

inline void* compile(const std::string& kernels, const std::string& name, const std::string& source, std::string* log, const std::string& defines = "-DELEMENT=bf16") {
    std::vector<std::string> headers, contents;
    for (const auto& entry : std::filesystem::directory_iterator(kernels)) {
        if (entry.path().extension() != ".cuh") continue;
        headers.push_back(entry.path().filename());
        contents.push_back(read(entry.path()));
    }
    std::vector<const char*> names, texts;
    for (size_t i = 0; i < headers.size(); i++) {
        names.push_back(headers[i].c_str());
        texts.push_back(contents[i].c_str());
    }
    std::vector<std::string> words = {"--gpu-architecture=sm_90a", "-std=c++17"};
    std::stringstream list(defines);
    for (std::string word; list >> word;) words.push_back(word);
    std::vector<const char*> options;
    for (const std::string& word : words) options.push_back(word.c_str());
    void *program, *made = nullptr;
    need(compiler, "nvrtcCreateProgram", &program, source.c_str(), name.c_str(), (int)names.size(), texts.data(), names.data());
    int code = call(compiler, "nvrtcCompileProgram", program, (int)options.size(), options.data());
    size_t bytes;
    need(compiler, "nvrtcGetProgramLogSize", program, &bytes);
    log->resize(bytes);
    need(compiler, "nvrtcGetProgramLog", program, log->data());
    if (code == 0) {
        need(compiler, "nvrtcGetCUBINSize", program, &bytes);
        std::string image(bytes, 0);
        need(compiler, "nvrtcGetCUBIN", program, image.data());
        need(driver, "cuModuleLoadDataEx", &made, (const void*)image.data(), 0u, (int*)nullptr, (void**)nullptr);
    }
    need(compiler, "nvrtcDestroyProgram", &program);
    return made;
}

// Random numbers of a 16-bit type, and their values.
struct Numbers { std::vector<uint16_t> bits; std::vector<float> values; };
inline float to_float(uint16_t x, bool half) {
    _Float16 h;
    uint32_t u = (uint32_t)x << 16;
    float f;
    if (half) memcpy(&h, &x, 2); else memcpy(&f, &u, 4);
    return half ? (float)h : f;
}
inline uint16_t to_bits(float f, bool half) {
    _Float16 h = (_Float16)f;
    uint32_t u;
    uint16_t x;
    memcpy(&u, &f, 4);
    if (half) memcpy(&x, &h, 2); else x = (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
    return x;
}
template <class F> inline Numbers numbers(size_t count, bool half, F next) {
    Numbers n{std::vector<uint16_t>(count), std::vector<float>(count)};
    for (size_t i = 0; i < count; i++) n.values[i] = to_float(n.bits[i] = to_bits(next(), half), half);
    return n;
}

// A map of four dimensions as the host code makes it; strides in elements.
struct alignas(64) TensorMap { uint64_t words[16]; };
inline int encode(TensorMap* map, bool half, Pointer address, std::vector<uint64_t> sizes, std::vector<uint64_t> strides, std::vector<unsigned> box) {
    unsigned steps[] = {1, 1, 1, 1};
    for (uint64_t& s : strides) s *= 2;
    return call(driver, "cuTensorMapEncodeTiled", (void*)map, half ? 6 : 9, 4u, address, (const uint64_t*)sizes.data(), (const uint64_t*)strides.data(), (const unsigned*)box.data(), (const unsigned*)steps, 0, 3, 2, 0);
}
// Sequences of a tensor [tokens, heads, dim]: rows are counted against the end of a dimension, which another one of the same stride shifts.
inline TensorMap ragged(bool half, Pointer address, uint64_t dim, uint64_t heads, uint64_t token, uint64_t rows, unsigned box) {
    TensorMap map;
    if (encode(&map, half, address - 2 * rows * token, {dim, rows, heads, (1ull << 31) - 1}, {token, dim, token}, {64, box, 1, 1}) != 0) exit(1);
    return map;
}
