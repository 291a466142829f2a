// Instructions of hopper.cuh, one by one, and mistakes in their use.
#include "selftest.h"

struct Arguments { Pointer x, y, z; int64_t count; int32_t mode; };
struct alignas(64) MapArguments { TensorMap x, y; Pointer z; int32_t rows, end, length, first, mode; };

static void* module;
static float next_eighth() { return (float)(rand() % 64 - 32) / 8; }

static void test_products(bool half) {
    for (int columns : {64, 128})
        for (const char* kind : {"00", "01", "10", "11", "r0", "r1"}) {
            const bool ta = kind[0] == '1', tb = kind[1] == '1';
            Numbers x = numbers(64 * 64, half, next_eighth), y = numbers(64 * columns, half, next_eighth);
            Array<uint16_t> dx(x.bits), dy(y.bits);
            Array<float> z(64 * columns);
            MapArguments a = {};
            a.z = z.at;
            bool good = encode(&a.x, half, dx.at, {64, 64, 1, 1}, {64, 4096, 4096}, {64, 64, 1, 1}) == 0;
            uint64_t wide = tb ? columns : 64, rows = tb ? 64 : columns;
            good &= encode(&a.y, half, dy.at, {wide, rows, 1, 1}, {wide, wide * rows, wide * rows}, {64, (unsigned)rows, 1, 1}) == 0;
            const std::string name = std::string("product_") + kind + "_" + std::to_string(columns);
            for (int adds : {0, 3}) {
                a.mode = adds;
                good &= launch(module, name.c_str(), a, 2, 256, 64 * 128 + columns * 128) == 0;
                auto v = z.get();
                for (int i = 0; i < 64; i++)
                    for (int j = 0; j < columns; j++) {
                        float sum = adds ? 1000 : 0;
                        for (int k = 0; k < 64; k++) sum += (ta ? x.values[64 * k + i] : x.values[64 * i + k]) * (tb ? y.values[wide * k + j] : y.values[64 * j + k]);
                        good &= v[i * columns + j] == sum;
                    }
            }
            check(good, name + (half ? " of f16" : " of bf16"));
        }
}

static void expect(const char* what, int code, const char* found) {
    bool good = code == 719 && error_text(code).find(found) != std::string::npos;
    check(good, std::string(what) + (good ? "" : ": " + std::to_string(code) + " " + error_text(code)));
}

static void test_tiles() {
    // Tokens of two heads; one sequence has 100 of them and begins at token 30.
    const int tokens = 160, token = 128, rows = 512, start = 30, length = 100;
    Numbers x = numbers(tokens * token, false, next_eighth);
    Array<uint16_t> dx(x.bits), z(4096);
    MapArguments a = {};
    a.x = ragged(false, dx.at, 64, 2, token, rows, 64);
    a.z = z.at;
    a.rows = rows;
    a.end = start + length;
    a.length = length;
    auto at = [&](int64_t first, int32_t mode, Pointer y) {
        a.first = (int32_t)first;
        a.mode = mode;
        a.y = ragged(false, y, 64, 2, token, rows, 64);
        return launch(module, "tile_copy", a, 1, 128, 8192);
    };
    for (int first : {0, 64, 99}) {
        std::vector<uint16_t> before(tokens * token, 7);
        Array<uint16_t> y(before);
        bool good = at(first, 0, y.at) == 0;
        auto lies = z.get(), stored = y.get();
        for (int r = 0; r < 64; r++)
            for (int c = 0; c < 64; c++) {
                bool inside = first + r < length;
                size_t source = (size_t)(start + first + r) * token + 64 + c;
                good &= lies[64 * r + ((c / 8 ^ r % 8) * 8) + c % 8] == (inside ? x.bits[source] : 0);
                if (inside) good &= stored[source] == x.bits[source], before[source] = x.bits[source];
            }
        check(good && stored == before, "a tile from row " + std::to_string(first) + " of 100, neighbours untouched");
    }
    Array<uint16_t> y(tokens * token);
    expect("a tile that begins at the end", at(100, 0, y.at), "illegal address: the tile begins at 512 of dimension 1");
    expect("a barrier that was not initialised", at(0, 1, y.at), "was not initialised");
    expect("no fence after barrier_init", at(0, 2, y.at), "no fence_async");
    expect("more bytes announced than come", at(0, 3, y.at), "lacks 0 arrivals and 1 bytes");
    expect("a store without commit", at(0, 4, y.at), "no bulk_commit");
    expect("a source that changes", at(0, 5, y.at), "shared memory was changed");
    Array<uint16_t> small(100 * token);
    expect("a store past the end", at(64, 0, small.at), "illegal address: the copy engine would touch");
    Pointer freed;
    { Array<uint16_t> gone(tokens * token); freed = gone.at; }
    expect("a store to freed memory", at(0, 0, freed), "that was freed");
    a.x = {};
    expect("no map", at(0, 0, y.at), "not a map");
    TensorMap map;
    bool refused = encode(&map, false, dx.at + 8, {64, 64, 1, 1}, {64, 64, 64}, {64, 64, 1, 1}) == 1;
    refused &= encode(&map, false, dx.at, {64, 64, 1, 1}, {60, 64, 64}, {64, 64, 1, 1}) == 1;
    refused &= encode(&map, false, dx.at, {64, 64, 1, 1}, {1ull << 39, 64, 64}, {64, 64, 1, 1}) == 1;
    refused &= encode(&map, false, dx.at, {64, 64, 1, 1}, {64, 64, 64}, {64, 257, 1, 1}) == 1;
    refused &= encode(&map, false, dx.at, {128, 64, 1, 1}, {128, 128, 128}, {128, 64, 1, 1}) == 1;
    check(refused, "maps that the driver refuses");
}

static void test_others() {
    std::vector<float> x(64), z(64);
    for (int i = 0; i < 64; i++) x[i] = (float)i, z[i] = 100;
    Array<float> dx(x), dz(z);
    bool good = launch(module, "bulk", Arguments{dx.at, 0, dz.at, 0, 0}, 3, 64, 256) == 0;
    auto v = dz.get();
    for (int i = 0; i < 64; i++) good &= v[i] == 100 + 3 * (i + 2 * i);
    check(good, "bulk loads and additions");
    expect("memory used again before it was read", launch(module, "bulk", Arguments{dx.at, 0, dz.at, 0, 1}, 1, 64, 256), "shared memory was changed");
    expect("an unaligned bulk load", launch(module, "bulk", Arguments{dx.at + 4, 0, dz.at, 0, 0}, 1, 64, 256), "multiples of 16");
    Array<int32_t> sums(64);
    good = launch(module, "ring", Arguments{0, 0, sums.at, 101, 0}, 2, 96) == 0;
    for (int sum : sums.get()) good &= sum == 5050;
    check(good, "barriers by phase");
    expect("a phase that never ends", launch(module, "ring", Arguments{0, 0, sums.at, 101, 1}, 1, 96), "which lacks 1 arrivals");
    good = launch(module, "turns", Arguments{0, 0, sums.at, 15, 0}, 2, 64) == 0;
    check(good && sums.get()[0] == 0x15555555, "named_arrive");
    expect("turns of two that wait", launch(module, "turns", Arguments{0, 0, sums.at, 15, 1}, 1, 64), "no thread can go on");
    Array<uint16_t> matrices(256);
    good = launch(module, "transpose", Arguments{0, 0, matrices.at, 0, 0}, 1, 32, 512) == 0;
    auto m = matrices.get();
    for (int i = 0; i < 256; i++) good &= m[i] == i / 64 * 64 + i % 8 * 8 + i / 8 % 8;
    check(good, "stmatrix");
}

static void test_mistakes() {
    Numbers x = numbers(64 * 64, false, next_eighth);
    Array<uint16_t> dx(x.bits);
    Array<float> z(64 * 64);
    MapArguments a = {};
    if (encode(&a.x, false, dx.at, {64, 64, 1, 1}, {64, 4096, 4096}, {64, 64, 1, 1}) != 0) exit(1);
    a.y = a.x;
    a.z = z.at;
    auto at = [&](int mode, unsigned shared = 16384, unsigned threads = 256) {
        a.mode = mode;
        return launch(module, "product_00_64", a, 1, threads, shared);
    };
    // Its loads may not have come when the block ends.
    int code = at(1);
    check(code == 0 ? std::isnan(z.get()[0]) || !strcmp(getenv("VARLEN_EMULATOR_ORDER"), "descending") : code == 719, "a product of what has not come");
    expect("no fence before a product", at(2), "without wgmma_fence");
    expect("accumulators written too early", at(4), "was written while a product was under way");
    at(5);
    check(std::isnan(z.get()[0]), "accumulators read too early");
    expect("half a warpgroup", at(0, 16384, 64), "not all threads");
    expect("a tile past the end of shared memory", at(0, 16000), "of dynamic shared memory, which has 16000");
}

void test_hopper(const std::string& kernels, const std::string& source) {
    std::string log;
    for (bool half : {false, true}) {
        module = compile(kernels, "selftest_hopper.cu", source, &log, half ? "-DELEMENT=f16" : "-DELEMENT=bf16");
        if (!module) {
            fprintf(stderr, "%s", log.c_str());
            exit(1);
        }
        for (const char* order : {"ascending", "descending", "random:1"}) {
            setenv("VARLEN_EMULATOR_ORDER", order, 1);
            printf("--- hopper.cuh, order %s\n", order);
            test_products(half);
            if (half) continue;
            test_tiles();
            test_others();
            test_mistakes();
        }
        need(driver, "cuModuleUnload", module);
    }
    unsetenv("VARLEN_EMULATOR_ORDER");
}
