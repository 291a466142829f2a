// Matrix products of warpgroups. Each warp computes its 16 rows for itself, as on a device. Between issue and wait the accumulators hold NaN, and the
// operands are read at issue in ascending order of threads, at the wait in descending order: both must do.
#include <cstring>
#include <memory>
#include <vector>
#include "launch.h"

namespace emulator {

struct Accumulator { float* lanes[32]; unsigned columns, pending; float values[16][128]; };
struct Product {
    GroupShape shape;
    unsigned a[32][4];
    Place place;
    int group;
    bool done;
    Accumulator* into;
};
struct Pipe {
    std::vector<std::unique_ptr<Product>> products;
    std::vector<std::unique_ptr<Accumulator>> accumulators;
    int committed = 0;
    unsigned fenced = 0, issued = 0;
};
struct Issued { GroupShape shape; int line; };

static bool same(const GroupShape& x, const GroupShape& y) {
    return x.columns == y.columns && x.a_in_registers == y.a_in_registers && x.a_transposed == y.a_transposed && x.b_transposed == y.b_transposed && x.half == y.half && x.adds == y.adds && x.a == y.a && x.b == y.b;
}

static Pipe pipes[32];
static std::vector<Issued> issued[8];  // by each warpgroup: its warps must issue the same
static constexpr unsigned kPoison = 0xFFFFFFFF;

static float to_float(unsigned short x, bool half) {
    if (half) {
        _Float16 h;
        memcpy(&h, &x, 2);
        return (float)h;
    }
    unsigned bits = (unsigned)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

// Eight elements of a row, at an address before the exchange of chunks.
static void read_chunk(float* to, uint64_t address, bool half, const Place& place) {
    const unsigned char* p = arena->dynamic_begin + (address ^ (address >> 3 & 0x70));
    if (p + 16 > arena->dynamic_end) arena->fail(place, "an operand lies past the end of dynamic shared memory, at byte %lu", (unsigned long)(p - arena->dynamic_begin));
    unsigned short x[8];
    memcpy(x, p, 16);
    for (int i = 0; i < 8; i++) to[i] = to_float(x[i], half);
}

struct Matrix { uint64_t start, panel, eight_rows; };
static Matrix decode(unsigned long long d, bool transposed, const Place& place) {
    Matrix m = {(d & 0x3FFF) << 4, (d >> 16 & 0x3FFF) << 4, (d >> 32 & 0x3FFF) << 4};
    if (d >> 62 != 1 || (d >> 49 & 7) != 0) arena->fail(place, "descriptor %#llx: the emulator knows the 128-byte swizzle without a base offset only", d);
    if ((m.start & 0x380) != 0 || (m.start & 127) > (transposed ? 0 : 96))
        arena->fail(place, "descriptor %#llx begins at byte %lu of eight rows of 128", d, (unsigned long)(m.start & 1023));
    return m;
}

// Rows x 16 of an operand whose depth runs along the panel's columns, or along its rows.
static void read_operand(float* to, unsigned stride_row, unsigned stride_depth, const Matrix& m, unsigned first, unsigned rows, bool transposed, bool half, const Place& place) {
    float chunk[8];
    if (!transposed) {
        for (unsigned r = first; r < first + rows; r++)
            for (unsigned k = 0; k < 16; k += 8) {
                read_chunk(chunk, m.start + r / 8 * m.eight_rows + r % 8 * 128 + 2 * k, half, place);
                for (unsigned i = 0; i < 8; i++) to[(r - first) * stride_row + (k + i) * stride_depth] = chunk[i];
            }
    } else {
        for (unsigned k = 0; k < 16; k++)
            for (unsigned r = first; r < first + rows; r += 8) {
                read_chunk(chunk, m.start + r / 64 * m.panel + k / 8 * m.eight_rows + k % 8 * 128 + 2 * (r % 64), half, place);
                for (unsigned i = 0; i < 8; i++) to[(r - first + i) * stride_row + k * stride_depth] = chunk[i];
            }
    }
}

template <unsigned columns> static void accumulate(float (*c)[128], const float (*a)[16], const float (*b)[128], bool adds) {
    for (int i = 0; i < 16; i++) {
        float sum[columns] = {};
        for (int k = 0; k < 16; k++)
            for (unsigned j = 0; j < columns; j++) sum[j] += a[i][k] * b[k][j];
        for (unsigned j = 0; j < columns; j++) c[i][j] = adds ? c[i][j] + sum[j] : sum[j];
    }
}

static void execute(Product& p, unsigned warp) {
    if (p.done) return;
    static float a[16][16], b[16][128];
    const GroupShape& s = p.shape;
    read_operand(&b[0][0], 1, 128, decode(s.b, s.b_transposed, p.place), 0, s.columns, s.b_transposed, s.half, p.place);
    if (!s.a_in_registers) read_operand(&a[0][0], 16, 1, decode(s.a, s.a_transposed, p.place), 16 * (warp % 4), 16, s.a_transposed, s.half, p.place);
    else
        for (int l = 0; l < 32; l++)
            for (int part = 0; part < 4; part++) {
                float* to = &a[l / 4 + 8 * (part & 1)][2 * (l % 4) + 8 * (part >> 1)];
                to[0] = to_float((unsigned short)p.a[l][part], s.half);
                to[1] = to_float((unsigned short)(p.a[l][part] >> 16), s.half);
            }
    if (s.columns == 64) accumulate<64>(p.into->values, a, b, s.adds);
    else accumulate<128>(p.into->values, a, b, s.adds);
    p.done = true;
}

// Where lane l keeps element e: row and column of the warp's rows.
static float& element(Accumulator& c, int l, unsigned e) { return c.values[l / 4 + (e & 2 ? 8 : 0)][8 * (e / 4) + 2 * (l % 4) + (e & 1)]; }

static void multiply(GroupProduct* const* lanes) {
    Block* b = block();
    unsigned warp = thread() / 32;
    Pipe& pipe = pipes[warp];
    const GroupProduct& first = *lanes[0];
    if ((warp / 4 + 1) * 128 > b->threads) b->fail(first.place, "a product of a warpgroup, of which the block has not all threads");
    for (int l = 1; l < 32; l++)
        if (!same(lanes[l]->shape, first.shape)) b->fail(first.place, "lanes of a warp bring different products");
    if (pipe.fenced != 0xFFFFFFFF) b->fail(first.place, "a product without wgmma_fence since the last wait");
    std::vector<Issued>& known = issued[warp / 4];
    if (pipe.issued == known.size()) known.push_back({first.shape, first.place.line});
    const Issued& other = known[pipe.issued++];
    if (!same(other.shape, first.shape) || other.line != first.place.line)
        b->fail(first.place, "warps of a warpgroup issue different products: another one's was at line %d", other.line);

    Accumulator* into = nullptr;
    for (auto& c : pipe.accumulators)
        if (c->lanes[0] == first.c) into = c.get();
    if (into && into->columns != first.shape.columns) b->fail(first.place, "products of different shapes are under way into the same registers");
    if (!into) {
        pipe.accumulators.push_back(std::make_unique<Accumulator>());
        into = pipe.accumulators.back().get();
        into->columns = first.shape.columns;
        into->pending = 0;
        for (int l = 0; l < 32; l++) {
            into->lanes[l] = lanes[l]->c;
            for (unsigned e = 0; e < into->columns / 2; e++) element(*into, l, e) = lanes[l]->c[e];
            memset(lanes[l]->c, 0xFF, into->columns / 2 * sizeof(float));
        }
    }
    into->pending++;
    auto made = std::make_unique<Product>();
    made->shape = first.shape;
    for (int l = 0; l < 32; l++) memcpy(made->a[l], lanes[l]->a, sizeof made->a[l]);
    made->place = first.place;
    made->group = pipe.committed;
    made->done = false;
    made->into = into;
    pipe.products.push_back(std::move(made));
    bool now = b->order == Order::ascending || (b->order == Order::random && pick(b, 3) == 0);
    if (now)
        for (auto& p : pipe.products) execute(*p, warp);
}

static void deliver(Accumulator& c, const Place& place) {
    for (int l = 0; l < 32; l++)
        for (unsigned e = 0; e < c.columns / 2; e++) {
            unsigned bits;
            memcpy(&bits, &c.lanes[l][e], 4);
            if (bits != kPoison) arena->fail(place, "element %u of lane %d's accumulators was written while a product was under way", e, l);
            c.lanes[l][e] = element(c, l, e);
        }
}

static void multiply_commit() { pipes[thread() / 32].committed++; }

static void multiply_wait(int groups) {
    unsigned warp = thread() / 32;
    Pipe& pipe = pipes[warp];
    size_t done = 0;
    for (; done < pipe.products.size() && pipe.products[done]->group < pipe.committed - groups; done++) {
        Product& p = *pipe.products[done];
        execute(p, warp);
        if (--p.into->pending > 0) continue;
        deliver(*p.into, p.place);
        for (auto at = pipe.accumulators.begin(); at != pipe.accumulators.end(); ++at)
            if (at->get() == p.into) {
                pipe.accumulators.erase(at);
                break;
            }
    }
    pipe.products.erase(pipe.products.begin(), pipe.products.begin() + done);
    pipe.fenced = 0;
}

static void multiply_fence() { pipes[thread() / 32].fenced |= 1u << (thread() % 32); }

void provide_products(Block* b) {
    b->multiply = multiply;
    b->multiply_commit = multiply_commit;
    b->multiply_wait = multiply_wait;
    b->multiply_fence = multiply_fence;
}

void begin_products() {
    for (Pipe& pipe : pipes) pipe = Pipe();
    for (auto& list : issued) list.clear();
}

void end_products() {
    for (unsigned w = 0; w < 32; w++) {
        if (!pipes[w].products.empty()) {
            const Place& p = pipes[w].products[0]->place;
            failure = who(*arena, 32 * w) + text_of(": ended while a product was under way, from line %d of %s", p.line, p.file);
        } else if (pipes[w].issued != issued[w / 4].size()) {
            failure = who(*arena, 32 * w) + text_of(": its warp issued %u products, another one of its warpgroup %zu", pipes[w].issued, issued[w / 4].size());
        }
    }
}

}  // namespace emulator
