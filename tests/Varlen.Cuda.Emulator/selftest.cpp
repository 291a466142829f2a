// Compiles selftest.cu with the fake NVRTC, runs its kernels by the fake driver and compares; then sees that mistakes are found.
#include "selftest.h"

struct Arguments { Pointer x, y, z; int64_t count; int32_t mode; };
static void* module;
static int run(const char* name, Arguments a, unsigned blocks, unsigned threads, unsigned shared = 0) { return launch(module, name, a, blocks, threads, shared); }

void test_hopper(const std::string& kernels, const std::string& source);  // selftest_hopper.cpp
void test_attention(const std::string& kernels);                          // selftest_attention.cpp
void test_capture(const std::string& kernels, const std::string& source);  // selftest_capture.cpp

static void test_kernels() {
    std::vector<float> x(1000);
    for (int i = 0; i < 1000; i++) x[i] = (float)i;
    Array<float> dx(x);
    {
        Array<float> z(1000);
        check(run("add_one", {dx.at, 0, z.at, 1000, 0}, 4, 256) == 0, "elementwise kernel");
        bool good = true;
        auto v = z.get();
        for (int i = 0; i < 1000; i++) good &= v[i] == x[i] + 1;
        check(good, "elementwise values");
    }
    for (unsigned threads : {32u, 96u, 100u, 1024u}) {
        unsigned blocks = (1000 + threads - 1) / threads;
        Array<float> z(blocks * threads);
        bool good = run("sum_blocks", {dx.at, 0, z.at, 1000, 0}, blocks, threads) == 0;
        auto v = z.get();
        for (unsigned b = 0; b < blocks; b++) {
            double sum = 0;
            for (unsigned i = b * threads; i < std::min(1000u, (b + 1) * threads); i++) sum += x[i];
            for (unsigned t = 0; t < threads; t++) good &= v[b * threads + t] == (float)sum || threads == 100;
        }
        check(good, "block_sum of " + std::to_string(threads));
    }
    {
        Array<uint32_t> z(96 * 5);
        bool good = run("exchange", {0, 0, z.at, 0, 0}, 1, 96) == 0;
        auto v = z.get();
        for (unsigned t = 0; t < 96; t++) {
            unsigned base = 1000 * (t / 32), lane = t % 32;
            good &= v[5 * t] == base + (lane ^ 5) && v[5 * t + 1] == base + 31 - lane && v[5 * t + 2] == 0x49249249 && v[5 * t + 3] == (t / 32 == 1) && v[5 * t + 4] == base + (lane ^ 1);
        }
        check(good, "shuffles and ballots");
    }
    for (bool half : {false, true}) {
        std::vector<uint16_t> a(256), b(128);
        std::vector<float> fa(256), fb(128);
        auto fill = [&](std::vector<uint16_t>& bits, std::vector<float>& values) {
            for (size_t i = 0; i < bits.size(); i++) {
                float f = (float)(rand() % 64 - 32) / 8;
                values[i] = f;
                if (half) { _Float16 h = (_Float16)f; memcpy(&bits[i], &h, 2); }
                else { uint32_t u; memcpy(&u, &f, 4); bits[i] = (uint16_t)(u >> 16); }
            }
        };
        fill(a, fa);
        fill(b, fb);
        Array<uint16_t> da(a), db(b);
        Array<float> z(128);
        const char* name = half ? "product_half" : "product_bf16";
        bool good = run(name, {da.at, db.at, z.at, 0, 0}, 1, 32, 768) == 0;
        auto v = z.get();
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                float sum = 0;
                for (int k = 0; k < 16; k++) sum += fa[16 * i + k] * fb[8 * k + j];
                good &= v[8 * i + j] == sum;
            }
        check(good, std::string(name) + " with ldmatrix and cp.async");
        run(name, {da.at, db.at, z.at, 0, 1}, 1, 32, 768);
        check(std::isnan(z.get()[0]), std::string(name) + " without waiting for its copies gives NaN");
    }
    {
        Array<int32_t> z(64);
        bool good = run("pairs", {0, 0, z.at, 0, 0}, 1, 96) == 0;
        auto v = z.get();
        for (int i = 0; i < 64; i++) good &= v[i] == 63 - i;
        check(good, "named barriers");
    }
    {
        Array<uint16_t> y(65536);
        Array<float> z(65536);
        bool good = run("round_trip", {0, y.at, z.at, 0, 0}, 256, 256) == 0;
        auto halves = y.get();
        auto v = z.get();
        for (int i = 0; i < 65536; i++) {
            _Float16 h;
            uint16_t bits = (uint16_t)i;
            memcpy(&h, &bits, 2);
            good &= std::isnan((float)h) ? std::isnan(v[i]) && halves[i] == 0x7FFF : (float)h == v[i] && halves[i] == i;
        }
        check(good, "half precision");
    }
}

static void test_mistakes() {
    struct Mistake { int mode; const char* found; int64_t count; int code; };
    for (const Mistake& m : {Mistake{0, "of its warp", 0, 719}, {1, "diverged", 0, 719}, {2, "ended", 0, 719},
                             {3, "no thread can go on", 0, 719}, {4, "after the end of an allocation of 252 bytes was overwritten", 63, 700}, {4, "wrote to", 64, 719}, {5, "selftest.cu:", 1000, 719},
                             {6, "the byte 4 before", 0, 700}, {7, "dynamic shared memory was overwritten", 100, 719}, {8, "in no allocation", 0, 719}, {9, "stack overflowed", 0, 719},
                             {10, "not in shared memory", 0, 719}, {12, "not a multiple of 16", 0, 719}, {13, "have ended", 0, 719}, {14, "not a multiple of what its type needs at selftest.cu", 0, 719}, {15, "outside of its array at selftest.cu", 64, 719}}) {
        Array<float> z(m.mode == 4 && m.count == 63 ? 63 : 64);
        if (z.count == 63) {
            // The last thread's store is past the end as well.
            int code = run("mistake", {0, 0, z.at, m.count, m.mode}, 1, 63, 100);
            check(code == m.code && error_text(code).find(m.found) != std::string::npos, "mistake 4 behind the last element");
            continue;
        }
        int code = run("mistake", {0, 0, z.at, m.count, m.mode}, 1, 64, 100);
        bool good = code == m.code && error_text(code).find(m.found) != std::string::npos;
        check(good, "mistake " + std::to_string(m.mode) + (good ? "" : ": " + std::to_string(code) + " " + error_text(code)));
    }
    Array<float> z(64);
    run("mistake", {0, 0, z.at, 0, 11}, 1, 64, 100);
    check(std::isnan(z.get()[0]), "a missing barrier gives NaN");
    Pointer freed;
    { Array<float> gone(64); freed = gone.at; }
    check(run("add_one", {z.at, 0, freed, 64, 0}, 1, 64) == 700, "an argument that was freed");
    check(run("add_one", {z.at, 0, z.at, 64, 0}, 1, 300) == 701, "more threads than the kernel's bound");
    char host[64];
    check(call(driver, "cuMemcpyDtoHAsync_v2", (void*)host, freed, (size_t)64, (void*)nullptr) == 1, "a copy from freed memory");
    check(call(driver, "cuMemcpyDtoHAsync_v2", (void*)host, z.at, (size_t)300, (void*)nullptr) == 1, "a copy past the end");
    check(call(driver, "cuMemFreeAsync", z.at + 4, (void*)nullptr) == 1, "a free of what was not allocated");
    call(driver, "emulatorInject", "cuMemAllocAsync:2:2");
    Pointer p = 0, q = 0;
    bool good = call(driver, "cuMemAllocAsync", &p, (size_t)16, (void*)nullptr) == 0;
    good &= call(driver, "cuMemAllocAsync", &q, (size_t)16, (void*)nullptr) == 2;
    need(driver, "cuMemFreeAsync", p, (void*)nullptr);
    check(good, "a failure on request");
    call(driver, "emulatorInject", "");
}

static void test_blas() {
    // D (3 x 2, column-major) = A^T B + bias, A 4 x 3, B 4 x 2.
    std::vector<float> a(12), b(8), bias = {1, 2, 3};
    for (int i = 0; i < 12; i++) a[i] = (float)i;
    for (int i = 0; i < 8; i++) b[i] = (float)(i - 3);
    Array<float> da(a), db(b), dd(6), dbias(bias);
    void *handle, *d, *la, *lb, *ld, *preference;
    need(blas, "cublasLtCreate", &handle);
    need(blas, "cublasLtMatmulDescCreate", &d, 68, 0);
    int transposed = 1, epilogue = 4;
    need(blas, "cublasLtMatmulDescSetAttribute", d, 3, (const void*)&transposed, (size_t)4);
    need(blas, "cublasLtMatmulDescSetAttribute", d, 7, (const void*)&epilogue, (size_t)4);
    need(blas, "cublasLtMatmulDescSetAttribute", d, 8, (const void*)&dbias.at, (size_t)8);
    need(blas, "cublasLtMatrixLayoutCreate", &la, 0, (uint64_t)4, (uint64_t)3, (int64_t)4);
    need(blas, "cublasLtMatrixLayoutCreate", &lb, 0, (uint64_t)4, (uint64_t)2, (int64_t)4);
    need(blas, "cublasLtMatrixLayoutCreate", &ld, 0, (uint64_t)3, (uint64_t)2, (int64_t)3);
    need(blas, "cublasLtMatmulPreferenceCreate", &preference);
    struct { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; } results[2];
    int found = 0;
    need(blas, "cublasLtMatmulAlgoGetHeuristic", handle, d, la, lb, ld, ld, preference, 2, (void*)results, &found);
    check(found == 2, "plans of a product");
    float one = 1, zero = 0;
    need(blas, "cublasLtMatmul", handle, d, (const void*)&one, (const void*)da.at, la, (const void*)db.at, lb, (const void*)&zero, (const void*)dd.at, ld, (void*)dd.at, ld,
         (const void*)results, (void*)nullptr, (size_t)0, (void*)nullptr);
    auto v = dd.get();
    bool good = true;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) {
            float sum = bias[i];
            for (int k = 0; k < 4; k++) sum += a[4 * i + k] * b[4 * j + k];
            good &= v[i + 3 * j] == sum;
        }
    check(good, "a product with a bias");
    int out = call(blas, "cublasLtMatmul", handle, d, (const void*)&one, (const void*)(da.at + 4), la, (const void*)db.at, lb, (const void*)&zero, (const void*)dd.at, ld, (void*)dd.at, ld,
                   (const void*)results, (void*)nullptr, (size_t)0, (void*)nullptr);
    check(out == 13, "a product that reads past the end");
}

static void measure() {
    auto time = [](auto&& f) {
        clock_t start = clock();
        f();
        return (double)(clock() - start) / CLOCKS_PER_SEC;
    };
    Array<float> z(1 << 20);
    double s = time([&] { run("many_products", {0, 0, z.at, 0, 2000}, 1, 128); });
    printf("mma          %8.0f MFLOP/s\n", 2000 * 4 * 4096 / s / 1e6);
    s = time([&] { run("add_one", {z.at, 0, z.at, 1 << 20, 0}, 4096, 256); });
    printf("elementwise  %8.1f million threads/s\n", (1 << 20) / s / 1e6);
    s = time([&] { run("sum_blocks", {z.at, 0, z.at, 1 << 18, 0}, 1024, 256); });
    printf("block_sum    %8.1f million threads/s\n", (1 << 18) / s / 1e6);
    s = time([&] { for (int i = 0; i < 10000; i++) run("add_one", {z.at, 0, z.at, 32, 0}, 1, 32); });
    printf("launches     %8.0f a second\n", 10000 / s);
}

static void test_basics(const std::string& kernels, const std::string& source) {
    std::string log;
    check(!compile(kernels, "bad.cu", "#include \"kernel.cuh\"\nKERNEL(x, Missing, 1, 1) {}\n", &log) && log.find("bad.cu:2") != std::string::npos, "a compile error is in the log");
    module = compile(kernels, "selftest.cu", source, &log);
    if (!module) {
        fprintf(stderr, "%s", log.c_str());
        exit(1);
    }
    for (const char* order : {"ascending", "descending", "random:1", "random:2", ""}) {
        printf("--- order %s\n", order);
        setenv("VARLEN_EMULATOR_ORDER", order, 1);
        test_kernels();
    }
    test_blas();
    setenv("VARLEN_EMULATOR_ORDER", "ascending", 1);
    test_mistakes();
    unsetenv("VARLEN_EMULATOR_ORDER");
    measure();
    need(driver, "cuModuleUnload", module);
}

int main(int count, char** words) {
    std::string libraries = words[1], kernels = words[2], here = words[3], parts;
    for (int i = 4; i < count; i++) parts += words[i];
    auto wanted = [&](const char* part) { return parts.empty() || parts.find(part) != std::string::npos; };
    driver = dlopen((libraries + "/libcuda.so.1").c_str(), RTLD_NOW);
    compiler = dlopen((libraries + "/libnvrtc.so.13").c_str(), RTLD_NOW);
    blas = dlopen((libraries + "/libcublasLt.so.13").c_str(), RTLD_NOW);
    if (!driver || !compiler || !blas) {
        fprintf(stderr, "selftest: %s\n", dlerror());
        return 1;
    }
    check(call(driver, "cuCtxSynchronize") == 3, "nothing works before cuInit");
    need(driver, "cuInit", 0u);
    void* context;
    need(driver, "cuDevicePrimaryCtxRetain", &context, 0);
    check(call(driver, "cuCtxSynchronize") == 201, "nothing works without a context");
    need(driver, "cuCtxSetCurrent", context);
    if (wanted("basics")) test_basics(kernels, read(here + "/selftest.cu"));
    if (wanted("hopper")) test_hopper(kernels, read(here + "/selftest_hopper.cu"));
    if (wanted("attention")) test_attention(kernels);
    if (wanted("capture")) test_capture(kernels, read(here + "/selftest.cu"));
    printf(failures ? "%d failures\n" : "all well\n", failures);
    return failures != 0;
}
