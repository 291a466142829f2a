// Capture of a stream into a graph and its replays; then what may not be done while a stream is captured.
#include "selftest.h"

struct Arguments { Pointer x, y, z; int64_t count; int32_t mode; };

static int launch_on(void* stream, void* module, const char* name, Arguments a, unsigned blocks, unsigned threads) {
    void* function;
    need(driver, "cuModuleGetFunction", &function, module, name);
    void* parameters[] = {&a};
    return call(driver, "cuLaunchKernel", function, blocks, 1u, 1u, threads, 1u, 1u, 0u, stream, parameters, (void**)nullptr);
}

static int status_of(void* stream) {
    int status = -1;
    need(driver, "cuStreamIsCapturing", stream, &status);
    return status;
}

static void test_replay(void* module, void* stream) {
    std::vector<float> ones(64, 1.f), twos(64, 2.f);
    Array<float> x(ones), y(twos), z(64), w(64);
    need(driver, "cuStreamBeginCapture_v2", stream, 1);
    bool good = status_of(stream) == 1;
    need(driver, "cuMemsetD8Async", w.at, (unsigned char)0, (size_t)256, stream);
    good &= launch_on(stream, module, "add_one", {x.at, 0, z.at, 64, 0}, 1, 64) == 0;
    need(driver, "cuMemcpyDtoDAsync_v2", w.at, z.at, (size_t)128, stream);
    void *graph, *executable;
    need(driver, "cuStreamEndCapture", stream, &graph);
    size_t count = 0;
    need(driver, "cuGraphGetNodes", graph, (void**)nullptr, &count);
    check(good && count == 3 && status_of(stream) == 0, "three calls make three nodes");
    check(std::isnan(z.get()[0]) && std::isnan(w.get()[0]), "what is captured does nothing yet");
    need(driver, "cuGraphInstantiateWithFlags", &executable, graph, 0ull);
    need(driver, "cuGraphDestroy", graph);
    for (float value : {1.f, 5.f, -3.f}) {
        std::vector<float> now(64, value);
        need(driver, "cuMemcpyHtoDAsync_v2", x.at, (const void*)now.data(), (size_t)256, stream);
        need(driver, "cuGraphLaunch", executable, stream);
        auto a = z.get(), b = w.get();
        check(a[0] == value + 1 && a[63] == value + 1 && b[31] == value + 1 && b[32] == 0, "a replay reads what is there now");
    }
    need(driver, "cuGraphExecDestroy", executable);
    check(call(driver, "cuGraphLaunch", executable, stream) == 400, "a destroyed graph is not launched");
}

static void test_product(void* stream) {
    std::vector<float> a = {1, 2, 3, 4}, b = {1, 0, 0, 1};
    Array<float> da(a), db(b), dd(4);
    void *handle, *d, *l;
    need(blas, "cublasLtCreate", &handle);
    need(blas, "cublasLtMatmulDescCreate", &d, 68, 0);
    need(blas, "cublasLtMatrixLayoutCreate", &l, 0, (uint64_t)2, (uint64_t)2, (int64_t)2);
    float alpha = 2, zero = 0;
    auto multiply = [&] {
        need(blas, "cublasLtMatmul", handle, d, (const void*)&alpha, (const void*)da.at, l, (const void*)db.at, l, (const void*)&zero, (const void*)dd.at, l, (void*)dd.at, l, (const void*)nullptr, (void*)nullptr, (size_t)0, stream);
    };
    need(driver, "cuStreamBeginCapture_v2", stream, 0);
    multiply();
    void *graph, *executable;
    need(driver, "cuStreamEndCapture", stream, &graph);
    bool good = std::isnan(dd.get()[0]);
    // What the call was given is part of the graph; later changes are not.
    alpha = 100;
    need(blas, "cublasLtMatrixLayoutDestroy", l);
    need(blas, "cublasLtMatmulDescDestroy", d);
    need(driver, "cuGraphInstantiateWithFlags", &executable, graph, 0ull);
    need(driver, "cuGraphLaunch", executable, stream);
    auto v = dd.get();
    for (int i = 0; i < 4; i++) good &= v[i] == 2 * a[i];
    check(good, "a product in a graph keeps its factor and layouts");
    need(driver, "cuGraphExecDestroy", executable);
    need(driver, "cuGraphDestroy", graph);
}

static void test_refusals(void* module, void* stream) {
    std::vector<float> host(64);
    Array<float> x(64);
    void* event;
    need(driver, "cuEventCreate", &event, 2u);
    need(driver, "cuEventRecord", event, stream);
    Pointer p = 0;
    void *pinned = nullptr, *graph = (void*)1;
    struct Refusal { const char* what; int code; std::function<int()> act; };
    for (const Refusal& r : {
             Refusal{"waiting for the stream", 900, [&] { return call(driver, "cuStreamSynchronize", stream); }},
             {"waiting for the device", 900, [&] { return call(driver, "cuCtxSynchronize"); }},
             {"asking an event", 900, [&] { return call(driver, "cuEventQuery", event); }},
             {"waiting for an event", 900, [&] { return call(driver, "cuEventSynchronize", event); }},
             {"memory of the stream", 900, [&] { return call(driver, "cuMemAllocAsync", &p, (size_t)16, stream); }},
             {"giving memory back", 900, [&] { return call(driver, "cuMemFreeAsync", x.at, stream); }},
             {"other memory", 900, [&] { return call(driver, "cuMemAlloc_v2", &p, (size_t)16); }},
             {"pinned memory", 900, [&] { return call(driver, "cuMemHostAlloc", &pinned, (size_t)16, 0u); }},
             {"the default stream", 906, [&] { return call(driver, "cuMemcpyHtoDAsync_v2", x.at, (const void*)host.data(), (size_t)256, (void*)nullptr); }}}) {
        need(driver, "cuStreamBeginCapture_v2", stream, 1);
        bool good = r.act() == r.code && status_of(stream) == 2;
        good &= launch_on(stream, module, "add_one", {x.at, 0, x.at, 64, 0}, 1, 64) == 901;
        good &= call(driver, "cuStreamEndCapture", stream, &graph) == 901 && graph == nullptr && status_of(stream) == 0;
        check(good, std::string(r.what) + " spoils a capture");
    }
    need(driver, "cuStreamBeginCapture_v2", stream, 1);
    need(driver, "cuEventRecord", event, stream);
    need(driver, "cuStreamEndCapture", stream, &graph);
    check(call(driver, "cuEventQuery", event) == 907, "an event of a graph is not asked");
    need(driver, "cuGraphDestroy", graph);
    check(call(driver, "cuStreamEndCapture", stream, &graph) == 1, "no capture ends that did not begin");
    check(call(driver, "cuStreamBeginCapture_v2", (void*)nullptr, 1) == 900, "the default stream is not captured");
    need(driver, "cuEventDestroy_v2", event);
}

static void test_stale(void* module, void* stream) {
    void *graph, *executable;
    {
        Array<float> x(64);
        need(driver, "cuStreamBeginCapture_v2", stream, 1);
        launch_on(stream, module, "add_one", {x.at, 0, x.at, 64, 0}, 1, 64);
        need(driver, "cuStreamEndCapture", stream, &graph);
    }
    need(driver, "cuGraphInstantiateWithFlags", &executable, graph, 0ull);
    check(call(driver, "cuGraphLaunch", executable, stream) == 700, "a replay on memory that was freed");
    need(driver, "cuGraphExecDestroy", executable);
    need(driver, "cuGraphDestroy", graph);
    auto living = reinterpret_cast<size_t (*)()>(dlsym(driver, "emulatorGraphs"));
    check(living() == 0, "no graph is left");
}

void test_capture(const std::string& kernels, const std::string& source) {
    std::string log;
    void *module = compile(kernels, "selftest.cu", source, &log), *stream;
    need(driver, "cuStreamCreate", &stream, 1u);
    test_replay(module, stream);
    test_product(stream);
    test_refusals(module, stream);
    test_stale(module, stream);
    need(driver, "cuStreamDestroy_v2", stream);
    need(driver, "cuModuleUnload", module);
}
