// A fake cuBLASLt: one plan for every product, sums in double precision in order of k, one rounding at the end.
#include <dlfcn.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include "inject.h"

enum cublasStatus_t { kSuccess = 0, kNotInitialized = 1, kAllocFailed = 3, kInvalidValue = 7, kArchMismatch = 8, kExecutionFailed = 13, kNotSupported = 15 };
enum Type { kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 14 };
enum Epilogue { kRelu = 2, kBias = 4, kGelu = 32, kAux = 128, kBiasGradientA = 256, kBiasGradientB = 512 };

namespace {

struct Bytes { const void* data; size_t size; };

// Attributes by number, as the structs' own fields: offset and size of each.
struct Descriptor {
    int compute = 68, scale = 0, pointer_mode = 0, trans_a = 0, trans_b = 0, trans_c = 0, fill = 3, epilogue = 1;
    void* bias = nullptr;
    int64_t bias_stride = 0;
    void* aux = nullptr;
    int64_t aux_ld = 0, aux_stride = 0, alpha_stride = 0;
    int sm_target = 0;
    void *a_scale = nullptr, *b_scale = nullptr, *c_scale = nullptr, *d_scale = nullptr, *d_amax = nullptr, *aux_scale = nullptr, *aux_amax = nullptr;
    int8_t fast_accumulation = 0;
    int bias_type = -1, aux_type = -1;

    void* field(int attribute, size_t* size) {
        switch (attribute) {
#define FIELD(number, name) case number: *size = sizeof name; return &name;
            FIELD(0, compute) FIELD(1, scale) FIELD(2, pointer_mode) FIELD(3, trans_a) FIELD(4, trans_b) FIELD(5, trans_c) FIELD(6, fill) FIELD(7, epilogue)
            FIELD(8, bias) FIELD(10, bias_stride) FIELD(11, aux) FIELD(12, aux_ld) FIELD(13, aux_stride) FIELD(14, alpha_stride) FIELD(15, sm_target)
            FIELD(17, a_scale) FIELD(18, b_scale) FIELD(19, c_scale) FIELD(20, d_scale) FIELD(21, d_amax) FIELD(22, aux_type) FIELD(23, aux_scale) FIELD(24, aux_amax)
            FIELD(25, fast_accumulation) FIELD(26, bias_type)
        }
        return nullptr;
    }
};

struct Layout {
    int type = 0, order = 0;
    uint64_t rows = 0, cols = 0;
    int64_t ld = 0;
    int batch = 1;
    int64_t batch_stride = 0, plane = 0;

    void* field(int attribute, size_t* size) {
        switch (attribute) {
            FIELD(0, type) FIELD(1, order) FIELD(2, rows) FIELD(3, cols) FIELD(4, ld) FIELD(5, batch) FIELD(6, batch_stride) FIELD(7, plane)
        }
        return nullptr;
    }
    int64_t row_step() const { return order == 0 ? 1 : ld; }
    int64_t col_step() const { return order == 0 ? ld : 1; }
    uint64_t extent() const {  // elements of all batches, from the first to the last one
        uint64_t inner = order == 0 ? rows : cols, outer = order == 0 ? cols : rows;
        return inner && outer ? (outer - 1) * ld + inner + (batch - 1) * batch_stride : 0;
    }
    bool valid() const { return (order == 0 || order == 1) && batch >= 1 && ld >= (int64_t)(order == 0 ? rows : cols); }
};

struct Preference {
    int search_mode = 0;
    uint64_t workspace = 0;
    uint32_t reduction = 0xFFFFFFFF, align_a = 256, align_b = 256, align_c = 256, align_d = 256;
    float waves = 0;
    uint64_t implementations = ~0ull;

    void* field(int attribute, size_t* size) {
        switch (attribute) {
            FIELD(0, search_mode) FIELD(1, workspace) FIELD(3, reduction) FIELD(5, align_a) FIELD(6, align_b) FIELD(7, align_c) FIELD(8, align_d) FIELD(9, waves) FIELD(12, implementations)
        }
        return nullptr;
    }
};
#undef FIELD

struct Algorithm { uint64_t data[8]; };
struct Candidate { Algorithm algorithm; size_t workspace; cublasStatus_t state; float waves; int reserved[4]; };
static_assert(sizeof(Candidate) == 96);
constexpr uint64_t kAlgorithmMark = 0x56415249454E4C54;
constexpr int kCandidates = 3;

template <class T> cublasStatus_t set(T* object, int attribute, const void* value, size_t bytes) {
    size_t size = 0;
    void* field = object ? object->field(attribute, &size) : nullptr;
    if (!field || !value || bytes != size) return kInvalidValue;
    memcpy(field, value, size);
    return kSuccess;
}
template <class T> cublasStatus_t get(T* object, int attribute, void* value, size_t bytes, size_t* written) {
    size_t size = 0;
    void* field = object ? object->field(attribute, &size) : nullptr;
    if (written) *written = size;
    if (bytes == 0 && written && field) return kSuccess;
    if (!field || !value || bytes < size) return kInvalidValue;
    memcpy(value, field, size);
    return kSuccess;
}

size_t size_of(int type) { return type == kFloat ? 4 : type == kDouble ? 8 : type == kHalf || type == kBFloat16 ? 2 : 0; }

double read(const void* data, int type, int64_t i) {
    switch (type) {
        case kFloat: return static_cast<const float*>(data)[i];
        case kDouble: return static_cast<const double*>(data)[i];
        case kHalf: return (float)static_cast<const _Float16*>(data)[i];
        default: {
            uint32_t bits = (uint32_t)static_cast<const uint16_t*>(data)[i] << 16;
            float x;
            memcpy(&x, &bits, 4);
            return x;
        }
    }
}
void write(void* data, int type, int64_t i, double value) {
    switch (type) {
        case kFloat: static_cast<float*>(data)[i] = (float)value; break;
        case kDouble: static_cast<double*>(data)[i] = value; break;
        case kHalf: static_cast<_Float16*>(data)[i] = (_Float16)value; break;
        default: {
            // From double at once: first to float would round twice.
            float x = (float)value;
            uint32_t bits;
            memcpy(&bits, &x, 4);
            if (x != x) bits = 0x7FFF0000;
            else {
                uint32_t low = bits & 0xFFFF;
                bool above = (double)std::fabs(x) < std::fabs(value), below = (double)std::fabs(x) > std::fabs(value);
                bool up = low > 0x8000 || (low == 0x8000 && (above || (!below && (bits >> 16 & 1))));
                bits = (bits & 0xFFFF0000) + (up ? 0x10000 : 0);
            }
            static_cast<uint16_t*>(data)[i] = (uint16_t)(bits >> 16);
        }
    }
}

// A function of the fake driver in this folder; null when that is not loaded.
void* of_driver(const char* name) {
    Dl_info self;
    dladdr(reinterpret_cast<void*>(&write), &self);
    std::string path = self.dli_fname;
    void* driver = dlopen((path.substr(0, path.rfind('/')) + "/libcuda.so.1").c_str(), RTLD_LAZY | RTLD_NOLOAD);
    return driver ? dlsym(driver, name) : nullptr;
}

// Whether a range lies in device memory, as the driver knows.
bool holds(const void* data, size_t bytes) {
    typedef int (*Holds)(uint64_t, size_t);
    static const Holds ask = reinterpret_cast<Holds>(of_driver("emulatorHolds"));
    return !ask || ask((uint64_t)data, bytes);
}

bool holds(const void* data, const Layout& l, const char* name) {
    if (holds(data, l.extent() * size_of(l.type))) return true;
    fprintf(stderr, "Varlen emulator: cublasLtMatmul: %s at %p, %lu x %lu with leading dimension %ld, is not within device memory\n", name, data, l.rows, l.cols, l.ld);
    return false;
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); }

// op(m) as rows of doubles.
std::vector<double> unpack(const void* data, const Layout& l, bool transposed, int64_t offset) {
    int64_t rows = transposed ? l.cols : l.rows, cols = transposed ? l.rows : l.cols;
    int64_t rs = transposed ? l.col_step() : l.row_step(), cs = transposed ? l.row_step() : l.col_step();
    std::vector<double> result(rows * cols);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) result[i * cols + j] = read(data, l.type, offset + i * rs + j * cs);
    return result;
}

void round_to_tf32(std::vector<double>& values) {
    for (double& v : values) {
        float x = (float)v;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        if (x == x) bits = (bits + 0x1000) & 0xFFFFE000;
        memcpy(&x, &bits, 4);
        v = x;
    }
}

}  // namespace

#define ENTER \
    if (int code = emulator::injected(__func__)) return (cublasStatus_t)code

EXPORT cublasStatus_t cublasLtCreate(void** handle) { ENTER; *handle = new int(1); return kSuccess; }
EXPORT cublasStatus_t cublasLtDestroy(void* handle) { ENTER; delete static_cast<int*>(handle); return kSuccess; }
EXPORT size_t cublasLtGetVersion() { return 130000; }
EXPORT size_t cublasLtGetCudartVersion() { return 13000; }
EXPORT const char* cublasLtGetStatusName(int status) { return status == 0 ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_ERROR"; }
EXPORT const char* cublasLtGetStatusString(int status) { return cublasLtGetStatusName(status); }

EXPORT cublasStatus_t cublasLtMatmulDescCreate(void** object, int compute, int scale) {
    ENTER;
    auto* d = new Descriptor;
    d->compute = compute;
    d->scale = scale;
    *object = d;
    return kSuccess;
}
EXPORT cublasStatus_t cublasLtMatmulDescDestroy(void* object) { ENTER; delete static_cast<Descriptor*>(object); return kSuccess; }
EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(void* o, int attribute, const void* value, size_t bytes) { ENTER; return set(static_cast<Descriptor*>(o), attribute, value, bytes); }
EXPORT cublasStatus_t cublasLtMatmulDescGetAttribute(void* o, int attribute, void* value, size_t bytes, size_t* written) {
    ENTER;
    return get(static_cast<Descriptor*>(o), attribute, value, bytes, written);
}
EXPORT cublasStatus_t cublasLtMatrixLayoutCreate(void** object, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    ENTER;
    auto* l = new Layout;
    l->type = type;
    l->rows = rows;
    l->cols = cols;
    l->ld = ld;
    *object = l;
    return kSuccess;
}
EXPORT cublasStatus_t cublasLtMatrixLayoutDestroy(void* object) { ENTER; delete static_cast<Layout*>(object); return kSuccess; }
EXPORT cublasStatus_t cublasLtMatrixLayoutSetAttribute(void* o, int attribute, const void* value, size_t bytes) { ENTER; return set(static_cast<Layout*>(o), attribute, value, bytes); }
EXPORT cublasStatus_t cublasLtMatrixLayoutGetAttribute(void* o, int attribute, void* value, size_t bytes, size_t* written) {
    ENTER;
    return get(static_cast<Layout*>(o), attribute, value, bytes, written);
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceCreate(void** object) { ENTER; *object = new Preference; return kSuccess; }
EXPORT cublasStatus_t cublasLtMatmulPreferenceDestroy(void* object) { ENTER; delete static_cast<Preference*>(object); return kSuccess; }
EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(void* o, int attribute, const void* value, size_t bytes) { ENTER; return set(static_cast<Preference*>(o), attribute, value, bytes); }

// What the real library refuses, as far as it is documented.
static cublasStatus_t check(const Descriptor* d, const Layout* a, const Layout* b, const Layout* c, const Layout* r) {
    if (!d || !a || !b || !c || !r || !a->valid() || !b->valid() || !c->valid() || !r->valid()) return kInvalidValue;
    uint64_t m = d->trans_a ? a->cols : a->rows, k = d->trans_a ? a->rows : a->cols, n = d->trans_b ? b->rows : b->cols, inner = d->trans_b ? b->cols : b->rows;
    if (k != inner || r->rows != m || r->cols != n || c->rows != m || c->cols != n) return kInvalidValue;
    if (!m || !n || !k) return kInvalidValue;
    if (a->batch != r->batch || b->batch != r->batch || c->batch != r->batch) return kInvalidValue;
    for (const Layout* l : {a, b, c, r})
        if (!size_of(l->type)) return kNotSupported;
    if (a->type != b->type || c->type != r->type) return kNotSupported;
    bool doubles = d->compute == 70;
    if (d->compute != 68 && d->compute != 69 && d->compute != 77 && !doubles) return kNotSupported;
    if (doubles != (a->type == kDouble) || d->scale != (doubles ? kDouble : kFloat)) return kNotSupported;
    if (r->type != a->type && r->type != kFloat) return kNotSupported;
    if (d->compute == 77 && a->type != kFloat) return kNotSupported;
    int known = 1 | kRelu | kBias | kGelu;
    if (d->epilogue & ~known & ~kAux) return kNotSupported;
    if ((d->epilogue & ~1) && r->order != 0) return kNotSupported;
    return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(void* handle, void* d, void* a, void* b, void* c, void* r, void* preference, int wanted, Candidate* results, int* found) {
    ENTER;
    if (!handle || !preference || wanted < 1 || !results || !found) return kInvalidValue;
    *found = 0;
    if (cublasStatus_t status = check(static_cast<Descriptor*>(d), static_cast<Layout*>(a), static_cast<Layout*>(b), static_cast<Layout*>(c), static_cast<Layout*>(r))) return status;
    *found = std::min(wanted, kCandidates);
    for (int i = 0; i < *found; i++) {
        memset(&results[i], 0, sizeof results[i]);
        results[i].algorithm.data[0] = kAlgorithmMark;
        results[i].algorithm.data[1] = (uint64_t)i;
        results[i].waves = 1;
    }
    return kSuccess;
}
EXPORT cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const Algorithm* algorithm, int attribute, void* value, size_t bytes, size_t* written) {
    ENTER;
    if (!algorithm || algorithm->data[0] != kAlgorithmMark || attribute < 0 || attribute > 10) return kInvalidValue;
    if (written) *written = 4;
    if (bytes == 0 && written) return kSuccess;
    if (!value || bytes < 4) return kInvalidValue;
    // Identifier; tile; split-K number; reduction scheme; swizzling; custom option; stages: one plan without split-K.
    int result = attribute == 0 ? (int)algorithm->data[1] : attribute == 2 ? 1 : 0;
    memset(value, 0, bytes);
    memcpy(value, &result, 4);
    return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulAlgoCheck(void* handle, void* d, void* a, void* b, void* c, void* r, const Algorithm* algorithm, Candidate* result) {
    ENTER;
    if (!handle || !algorithm || algorithm->data[0] != kAlgorithmMark || !result) return kInvalidValue;
    memset(result, 0, sizeof *result);
    result->algorithm = *algorithm;
    result->waves = 1;
    return result->state = check(static_cast<Descriptor*>(d), static_cast<Layout*>(a), static_cast<Layout*>(b), static_cast<Layout*>(c), static_cast<Layout*>(r));
}

namespace {

// One product with everything it needs, as it was when it was asked for.
struct Product {
    Descriptor d;
    Layout a, b, c, r;
    const void *A, *B, *C;
    void* D;
    const void *alpha, *beta;  // null: on the host, and here
    double host_alpha, host_beta;
    void* workspace;
    size_t workspace_bytes;

    cublasStatus_t run() const {
        if (alpha && (!holds(alpha, size_of(d.scale)) || !holds(beta, size_of(d.scale)))) return kExecutionFailed;
        double al = alpha ? read(alpha, d.scale, 0) : host_alpha, be = beta ? read(beta, d.scale, 0) : host_beta;
        if (be != 0 && !C) return kInvalidValue;
        if (!holds(A, a, "A") || !holds(B, b, "B") || !holds(D, r, "D") || (be != 0 && !holds(C, c, "C"))) return kExecutionFailed;
        if (workspace_bytes && !holds(workspace, workspace_bytes)) return kInvalidValue;
        bool has_bias = d.epilogue & kBias;
        int bias_type = d.bias_type < 0 ? r.type : d.bias_type;
        int64_t m = r.rows, n = r.cols, k = d.trans_a ? a.rows : a.cols;
        if (has_bias && (!d.bias || !holds(d.bias, m * size_of(bias_type)))) return kInvalidValue;
        if (workspace) memset(workspace, 0xFF, workspace_bytes);

        for (int batch = 0; batch < r.batch; batch++) {
            // Row i of D is the sum of the rows k of op(B), each times op(A)[i, k].
            std::vector<double> left = unpack(A, a, d.trans_a, batch * a.batch_stride), right = unpack(B, b, d.trans_b, batch * b.batch_stride);
            if (d.compute == 77) round_to_tf32(left), round_to_tf32(right);
            std::vector<double> sums(n);
            for (int64_t i = 0; i < m; i++) {
                std::fill(sums.begin(), sums.end(), 0.0);
                for (int64_t l = 0; l < k; l++) {
                    double x = left[i * k + l];
                    const double* row = &right[l * n];
                    for (int64_t j = 0; j < n; j++) sums[j] += x * row[j];
                }
                for (int64_t j = 0; j < n; j++) {
                    double y = al * sums[j];
                    if (be != 0) y += be * read(C, c.type, batch * c.batch_stride + i * c.row_step() + j * c.col_step());
                    if (has_bias) y += read(d.bias, bias_type, batch * d.bias_stride + i);
                    if ((d.epilogue & kAux) && (d.epilogue & kGelu)) write(d.aux, d.aux_type < 0 ? r.type : d.aux_type, batch * d.aux_stride + i + j * d.aux_ld, y);
                    if (d.epilogue & kRelu) y = y < 0 ? 0 : y;
                    if (d.epilogue & kGelu) y = gelu(y);
                    write(D, r.type, batch * r.batch_stride + i * r.row_step() + j * r.col_step(), y);
                }
            }
        }
        return kSuccess;
    }
};

// Puts a product into the graph that a stream is captured into; false when it is not.
bool record(void* stream, const Product& product) {
    typedef int (*Record)(void*, int (*)(void*), void*, void (*)(void*));
    static const Record ask = reinterpret_cast<Record>(of_driver("emulatorRecord"));
    auto* kept = new Product(product);
    if (ask && ask(stream, [](void* p) { return static_cast<Product*>(p)->run() == kSuccess ? 0 : 719; }, kept, [](void* p) { delete static_cast<Product*>(p); })) return true;
    delete kept;
    return false;
}

}  // namespace

EXPORT cublasStatus_t cublasLtMatmul(void* handle, void* descriptor, const void* alpha, const void* A, void* a_layout, const void* B, void* b_layout, const void* beta, const void* C,
                                     void* c_layout, void* D, void* d_layout, const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
    ENTER;
    auto* d = static_cast<Descriptor*>(descriptor);
    auto *a = static_cast<Layout*>(a_layout), *b = static_cast<Layout*>(b_layout), *c = static_cast<Layout*>(c_layout), *r = static_cast<Layout*>(d_layout);
    if (!handle || !alpha || !beta || !A || !B || !D) return kInvalidValue;
    if (cublasStatus_t status = check(d, a, b, c, r)) return status;
    if (algorithm && algorithm->data[0] != kAlgorithmMark) return kInvalidValue;
    if (d->pointer_mode > 1) return kNotSupported;
    bool on_device = d->pointer_mode == 1;
    Product product = {*d, *a, *b, *c, *r, A, B, C, D, on_device ? alpha : nullptr, on_device ? beta : nullptr, on_device ? 0 : read(alpha, d->scale, 0), on_device ? 0 : read(beta, d->scale, 0), workspace, workspace_bytes};
    return record(stream, product) ? kSuccess : product.run();
}
EXPORT void emulatorInject(const char* text) { emulator::inject(text); }
