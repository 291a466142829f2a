// A fake NVRTC: "compiles" kernels with a C++ compiler to a shared library of this machine, whose bytes are the cubin.
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdint>
#include <cstring>
#include <map>
#include "block.h"
#include "inject.h"

extern char** environ;
extern "C" const char emulated_ptx[], emulated_ptx_end[], emulated_hopper[], emulated_hopper_end[], emulated_block[], emulated_block_end[];
asm(".section .rodata\n"
    ".globl emulated_ptx, emulated_ptx_end, emulated_hopper, emulated_hopper_end, emulated_block, emulated_block_end\n"
    ".hidden emulated_ptx, emulated_ptx_end, emulated_hopper, emulated_hopper_end, emulated_block, emulated_block_end\n"
    "emulated_ptx: .incbin \"" EMULATOR_SOURCES "/ptx.cuh\"\nemulated_ptx_end:\n"
    "emulated_hopper: .incbin \"" EMULATOR_SOURCES "/hopper.cuh\"\nemulated_hopper_end:\n"
    "emulated_block: .incbin \"" EMULATOR_SOURCES "/block.h\"\nemulated_block_end:\n"
    ".text\n");

enum nvrtcResult { kSuccess = 0, kOutOfMemory = 1, kCreationFailure = 2, kInvalidInput = 3, kInvalidProgram = 4, kInvalidOption = 5, kCompilation = 6, kInternal = 11 };

namespace {

struct Program { std::string name; std::map<std::string, std::string> files; std::string log, image; };

// The place of one library folder's compiled kernels.
std::string cache_folder() {
    if (const char* given = getenv("VARLEN_EMULATOR_CACHE")) return given;
    Dl_info self;
    dladdr(emulated_ptx, &self);
    std::string path = self.dli_fname;
    return path.substr(0, path.rfind('/')) + "/cache";
}

bool runs(const std::string& command) { return system((command + " --version > /dev/null 2>&1").c_str()) == 0; }

const std::string& compiler() {
    static const std::string chosen = [] {
        if (const char* given = getenv("VARLEN_EMULATOR_CXX")) return std::string(given);
        for (const char* name : {"clang++-19", "clang++", "clang++-18", "clang++-17", "g++"})
            if (runs(name)) return std::string(name);
        return std::string("c++");
    }();
    return chosen;
}

std::string read_all(const std::string& path) {
    std::string text;
    if (FILE* file = fopen(path.c_str(), "rb")) {
        char buffer[65536];
        for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
        fclose(file);
    }
    return text;
}
bool write_all(const std::string& path, const std::string& text) {
    FILE* file = fopen(path.c_str(), "wb");
    if (!file) return false;
    bool done = fwrite(text.data(), 1, text.size(), file) == text.size();
    return fclose(file) == 0 && done;
}

// Unrolled, a kernel takes a minute to compile and gains nothing here.
std::string without_unrolling(std::string text) {
    static const std::string word = "#pragma unroll";
    for (size_t at = 0; (at = text.find(word, at)) != std::string::npos;)
        while (at < text.size() && text[at] != '\n') text[at++] = ' ';
    return text;
}

// Two independent 64-bit sums.
struct Hash {
    uint64_t a = 0xcbf29ce484222325, b = 0x9e3779b97f4a7c15;
    void add(const std::string& text) {
        for (unsigned char c : text) {
            a = (a ^ c) * 0x100000001b3;
            b = ((b << 5 | b >> 59) ^ c) * 0x9fb21c651e98df25;
        }
        a = (a ^ 0x1FF) * 0x100000001b3;
        b = (b ^ text.size()) * 0x9fb21c651e98df25;
    }
    std::string text() const {
        char hex[33];
        snprintf(hex, sizeof hex, "%016lx%016lx", a, b);
        return hex;
    }
};

// Code is made for this very processor.
const std::string& processor() {
    static const std::string flags = [] {
        std::string all = read_all("/proc/cpuinfo");
        size_t at = all.find("\nflags");
        return at == std::string::npos ? all : all.substr(at, all.find('\n', at + 1) - at);
    }();
    return flags;
}

int run(const std::vector<std::string>& words, const std::string& folder, const std::string& output) {
    std::vector<char*> arguments;
    for (const std::string& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
    pid_t child;
    int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed) return 127;
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

std::string with_header(const std::string& library) {
    emulator::ImageHeader header = {};
    memcpy(header.magic, emulator::kImageMagic, sizeof header.magic);
    header.bytes = library.size();
    header.stamp = EMULATOR_STAMP;
    return std::string(reinterpret_cast<char*>(&header), sizeof header) + library;
}

nvrtcResult compile(Program& p, const std::vector<std::string>& defines) {
    std::vector<std::string> words = {compiler()};
    std::stringstream flags(getenv("VARLEN_EMULATOR_FLAGS") ? getenv("VARLEN_EMULATOR_FLAGS") : "-O2 -fno-unroll-loops -fno-slp-vectorize");
    for (std::string flag; flags >> flag;) words.push_back(flag);
    for (const char* word : {"-march=native", "-std=c++20", "-x", "c++", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off",
                             "-fno-strict-aliasing", "-fno-stack-protector", "-fstack-clash-protection", "-fno-math-errno", "-w", "-D__CUDA_ARCH__=900", "-DVARLEN_EMULATOR=1", "-I."})
        words.push_back(word);
    // Clang's checks cost next to nothing and find what a device faults at: a trap tells the driver.
    if (compiler().find("clang") != std::string::npos)
        for (const char* word : {"-gline-tables-only", "-fsanitize=alignment,bounds", "-fsanitize-trap=all"}) words.push_back(word);
    words.insert(words.end(), defines.begin(), defines.end());

    Hash hash;
    for (const std::string& w : words) hash.add(w);
    for (auto& [name, text] : p.files) hash.add(name), hash.add(text);
    hash.add(p.name);
    hash.add(processor());
    std::string cache = cache_folder(), kept = cache + "/" + hash.text() + ".so";
    std::string library = read_all(kept);
    if (library.empty()) {
        char folder[] = "/tmp/varlen-emulator-XXXXXX";
        if (!mkdtemp(folder)) return kInternal;
        std::string here = folder;
        for (auto& [name, text] : p.files) write_all(here + "/" + name, text);
        words.insert(words.end(), {p.name, "-o", "kernels.so", "-lm"});
        int status = run(words, here, here + "/log");
        p.log = read_all(here + "/log");
        if (status == 127) p.log += "the compiler " + compiler() + " could not be started; VARLEN_EMULATOR_CXX names another\n";
        if (status == 0) library = read_all(here + "/kernels.so");
        for (auto& [name, text] : p.files) unlink((here + "/" + name).c_str());
        for (const char* name : {"/log", "/kernels.so"}) unlink((here + name).c_str());
        rmdir(folder);
        if (library.empty()) return kCompilation;
        mkdir(cache.c_str(), 0755);
        std::string partial = kept + "." + std::to_string(getpid()) + "." + std::to_string((uintptr_t)&p);
        if (!write_all(partial, library) || rename(partial.c_str(), kept.c_str()) != 0) unlink(partial.c_str());
    }
    p.image = with_header(library);
    return kSuccess;
}

}  // namespace

#define ENTER(program)                                                       \
    if (int code = emulator::injected(__func__)) return (nvrtcResult)code;   \
    if (!program) return kInvalidProgram;                                    \
    Program& p = *static_cast<Program*>(program)

// The minor version changes with the emulated headers, and is none of the real library's, so that caches keyed by it stay right.
EXPORT nvrtcResult nvrtcVersion(int* major, int* minor) {
    if (int code = emulator::injected(__func__)) return (nvrtcResult)code;
    *major = 13;
    *minor = 1000 + (int)(EMULATOR_STAMP % 1000000);
    return kSuccess;
}
EXPORT nvrtcResult nvrtcCreateProgram(void** program, const char* source, const char* name, int headers, const char* const* texts, const char* const* names) {
    if (int code = emulator::injected(__func__)) return (nvrtcResult)code;
    if (!program || !source || headers < 0) return kInvalidInput;
    auto* p = new Program{name && *name ? name : "default_program", {}, {}, {}};
    p->name = p->name.substr(p->name.rfind('/') + 1);
    p->files[p->name] = without_unrolling(source);
    for (int i = 0; i < headers; i++) p->files[names[i]] = without_unrolling(texts[i]);
    p->files["ptx.cuh"].assign(emulated_ptx, emulated_ptx_end);
    if (p->files.count("hopper.cuh")) p->files["hopper.cuh"].assign(emulated_hopper, emulated_hopper_end);
    p->files["block.h"].assign(emulated_block, emulated_block_end);
    *program = p;
    return kSuccess;
}
EXPORT nvrtcResult nvrtcDestroyProgram(void** program) {
    if (!program || !*program) return kInvalidProgram;
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return kSuccess;
}
EXPORT nvrtcResult nvrtcCompileProgram(void* program, int count, const char* const* options) {
    ENTER(program);
    std::vector<std::string> defines;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        if (option == "-D" || option == "--define-macro") defines.push_back(std::string("-D") + (i + 1 < count ? options[++i] : ""));
        else if (option.rfind("-D", 0) == 0) defines.push_back(option);
        else if (option.rfind("--define-macro=", 0) == 0) defines.push_back("-D" + option.substr(15));
        else if (option.empty() || option[0] != '-') {
            p.log = "error: unrecognized option " + option + "\n";
            return kInvalidOption;
        }
    }
    return compile(p, defines);
}

#define RESULT(size_name, name, value)                                    \
    EXPORT nvrtcResult size_name(void* program, size_t* bytes) {          \
        ENTER(program);                                                   \
        *bytes = (value).size();                                          \
        return kSuccess;                                                  \
    }                                                                     \
    EXPORT nvrtcResult name(void* program, char* text) {                  \
        ENTER(program);                                                   \
        memcpy(text, (value).data(), (value).size());                     \
        return kSuccess;                                                  \
    }
RESULT(nvrtcGetCUBINSize, nvrtcGetCUBIN, p.image)
RESULT(nvrtcGetPTXSize, nvrtcGetPTX, p.image)
RESULT(nvrtcGetProgramLogSize, nvrtcGetProgramLog, std::string(p.log.c_str(), p.log.size() + 1))

EXPORT const char* nvrtcGetErrorString(nvrtcResult code) {
    static const char* const names[] = {"NVRTC_SUCCESS", "NVRTC_ERROR_OUT_OF_MEMORY", "NVRTC_ERROR_PROGRAM_CREATION_FAILURE", "NVRTC_ERROR_INVALID_INPUT", "NVRTC_ERROR_INVALID_PROGRAM",
        "NVRTC_ERROR_INVALID_OPTION", "NVRTC_ERROR_COMPILATION", "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE"};
    return code >= 0 && code <= 7 ? names[code] : "NVRTC_ERROR_INTERNAL_ERROR";
}
EXPORT nvrtcResult nvrtcGetNumSupportedArchs(int* count) { *count = 1; return kSuccess; }
EXPORT nvrtcResult nvrtcGetSupportedArchs(int* archs) { *archs = 90; return kSuccess; }
EXPORT void emulatorInject(const char* text) { emulator::inject(text); }
