// Recording of a stream's work, and graphs of it. What is recorded does nothing until the graph is launched, and then runs node by node in the order of the program.
#include <algorithm>
#include <thread>
#include "driver.h"

namespace emulator {

struct Capture { int mode; std::thread::id thread; bool broken = false; std::vector<Work> nodes; };
struct Graph { Device* device; std::vector<Work> nodes; };

static std::set<Graph*> graphs, executables;
static int capturing;  // streams

static bool is_strict(const Capture& c) { return c.mode == 0 || (c.mode == 1 && c.thread == std::this_thread::get_id()); }

CUresult break_capture(Stream* stream, const std::string& what) {
    stream->capture->broken = true;
    return report(kCaptureUnsupported, what + " while its stream is being captured");
}

CUresult refuse_in_capture(const char* function) {
    if (capturing == 0) return kSuccess;
    for (Stream* s : all_streams())
        if (s->capture && s->device == current && is_strict(*s->capture)) return break_capture(s, function);
    return kSuccess;
}

CUresult enqueue(void* stream, Work work) {
    Capture* c = capture_of(stream);
    if (!c) return work();
    if (c->broken) return kCaptureInvalidated;
    if (c->thread != std::this_thread::get_id() && c->mode != 2) return kCaptureWrongThread;
    c->nodes.push_back(std::move(work));
    return kSuccess;
}

}  // namespace emulator

using namespace emulator;

EXPORT CUresult cuStreamBeginCapture_v2(void* stream, int mode) {
    ENTER_CONTEXT;
    if (mode < 0 || mode > 2) return kInvalidValue;
    Stream* s = find_stream(stream);
    if (!s) return (uint64_t)stream <= 2 ? kCaptureUnsupported : kInvalidHandle;
    if (s->capture) return kInvalidValue;
    s->capture = new Capture{mode, std::this_thread::get_id(), false, {}};
    capturing++;
    return kSuccess;
}
EXPORT CUresult cuStreamEndCapture(void* stream, void** graph) {
    ENTER_CONTEXT;
    Stream* s = find_stream(stream);
    if (!s || !graph) return kInvalidHandle;
    *graph = nullptr;
    if (!s->capture) return kInvalidValue;
    if (s->capture->thread != std::this_thread::get_id() && s->capture->mode != 2) return kCaptureWrongThread;
    Capture ended = std::move(*s->capture);
    delete s->capture;
    s->capture = nullptr;
    capturing--;
    if (ended.broken) return kCaptureInvalidated;
    *graph = *graphs.insert(new Graph{s->device, std::move(ended.nodes)}).first;
    return kSuccess;
}
EXPORT CUresult cuStreamIsCapturing(void* stream, int* status) {
    ENTER_CONTEXT;
    Stream* s = find_stream(stream);
    *status = !s || !s->capture ? 0 : s->capture->broken ? 2 : 1;
    return kSuccess;
}
EXPORT CUresult cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
    ENTER_CONTEXT;
    auto* g = static_cast<Graph*>(graph);
    if (!graphs.count(g) || !count) return kInvalidValue;
    if (nodes) return kNotSupported;
    *count = g->nodes.size();
    return kSuccess;
}
EXPORT CUresult cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    ENTER_CONTEXT;
    if (CUresult code = refuse_in_capture(__func__)) return code;
    auto* g = static_cast<Graph*>(graph);
    if (!executable || !graphs.count(g)) return kInvalidValue;
    if (flags != 0) return kNotSupported;
    *executable = *executables.insert(new Graph(*g)).first;
    return kSuccess;
}
EXPORT CUresult cuGraphLaunch(void* executable, void* stream) {
    ENTER_CONTEXT;
    auto* g = static_cast<Graph*>(executable);
    Device* device;
    if (!executables.count(g)) return kInvalidHandle;
    if (CUresult code = stream_device(stream, &device)) return code;
    if (device != g->device) return kInvalidValue;
    if (capture_of(stream)) return report(kNotSupported, "cuGraphLaunch: the emulator knows no graphs within graphs");
    for (const Work& work : g->nodes)
        if (CUresult code = work()) return code;
    return kSuccess;
}
EXPORT CUresult cuGraphDestroy(void* graph) {
    ENTER_CONTEXT;
    if (!graphs.erase(static_cast<Graph*>(graph))) return kInvalidValue;
    delete static_cast<Graph*>(graph);
    return kSuccess;
}
EXPORT CUresult cuGraphExecDestroy(void* executable) {
    ENTER_CONTEXT;
    if (!executables.erase(static_cast<Graph*>(executable))) return kInvalidValue;
    delete static_cast<Graph*>(executable);
    return kSuccess;
}

// For the fake cuBLASLt: takes over work that belongs into a graph; 0 when the stream is not being captured.
EXPORT int emulatorRecord(void* stream, int (*run)(void*), void* context, void (*drop)(void*)) {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    if (!capture_of(stream)) return 0;
    std::shared_ptr<void> kept(context, drop);
    enqueue(stream, [run, kept] { return (CUresult)run(kept.get()); });
    return 1;
}
EXPORT size_t emulatorGraphs() {
    std::lock_guard<std::recursive_mutex> held(api_lock);
    return graphs.size() + executables.size();
}
