// The attention kernels of compute capability 9.0a on the emulator, against attention as it is defined.
#include "selftest.h"

struct Tile { int32_t key_end, keys, query_end, queries, first, shift, padded, begin, end, group_first, group_count, padding; };
struct Sequence { int32_t start, queries, padded, padding; };
struct Rows { Pointer data; int64_t token, head; int32_t type, accumulate; };
struct Forward { TensorMap query, key, value, output; Pointer tiles, lse; int64_t lse_stride; int32_t heads, group, left, right, query_rows, key_rows; float scale, padding; };
struct Prepare { Pointer output, gradient, lse, lse_gradient, row_lse, row_delta, workspace, sequences, block_sequence; int64_t strides[7]; Pointer ticket; int32_t heads, padding; };
struct Backward { TensorMap query, key, value, gradient; Pointer tiles, ticket, row_lse, row_delta, workspace; Rows dk, dv; int64_t padded; int32_t key_heads, group, left, right, query_rows, key_rows, works; float scale; };
struct Finish { Pointer workspace; Rows dq; Pointer sequences, block_sequence; int64_t padded; int32_t heads; float scale; };

struct Problem {
    std::vector<int> queries, keys;
    int left, right, heads, key_heads, dim;
    bool half, lse_gradient;
    int tokens, key_tokens;
    Numbers q, k, v, g;
    std::vector<float> dlse;
    std::vector<double> o, lse, dq, dk, dv;
};

static float normal() {
    float sum = 0;
    for (int i = 0; i < 6; i++) sum += (float)(rand() % 2001 - 1000) / 1000;
    return sum * 0.7f;
}

static void solve(Problem& p) {
    const int d = p.dim, group = p.heads / p.key_heads;
    const double scale = 1 / std::sqrt((double)d);
    p.o.assign((size_t)p.tokens * p.heads * d, 0);
    p.dq = p.o;
    p.dk.assign((size_t)p.key_tokens * p.key_heads * d, 0);
    p.dv = p.dk;
    p.lse.assign((size_t)p.heads * p.tokens, -INFINITY);
    for (size_t s = 0, t0 = 0, k0 = 0; s < p.queries.size(); t0 += p.queries[s], k0 += p.keys[s], s++)
        for (int h = 0; h < p.heads; h++)
            for (int i = 0; i < p.queries[s]; i++) {
                const int seen = i + p.keys[s] - p.queries[s];
                const int low = p.left < 0 ? 0 : std::max(0, seen - p.left), high = p.right < 0 ? p.keys[s] : std::min(p.keys[s], seen + p.right + 1);
                if (high <= low) continue;
                auto query_at = [&](size_t c) { return ((t0 + i) * p.heads + h) * d + c; };
                auto key_at = [&](int j, size_t c) { return ((k0 + j) * p.key_heads + h / group) * d + c; };
                std::vector<double> w(high), dw(high);
                double most = -INFINITY, sum = 0, delta = 0;
                for (int j = low; j < high; j++) {
                    float x = 0;
                    for (int c = 0; c < d; c++) x += p.q.values[query_at(c)] * p.k.values[key_at(j, c)];
                    most = std::max(most, w[j] = x * scale);
                }
                for (int j = low; j < high; j++) sum += w[j] = std::exp(w[j] - most);
                p.lse[(size_t)h * p.tokens + t0 + i] = most + std::log(sum);
                for (int j = low; j < high; j++) {
                    w[j] /= sum;
                    float x = 0;
                    for (int c = 0; c < d; c++) {
                        p.o[query_at(c)] += w[j] * p.v.values[key_at(j, c)];
                        x += p.g.values[query_at(c)] * p.v.values[key_at(j, c)];
                    }
                    delta += w[j] * (dw[j] = x);
                }
                if (p.lse_gradient) delta -= p.dlse[(size_t)h * p.tokens + t0 + i];
                for (int j = low; j < high; j++) {
                    const double ds = w[j] * (dw[j] - delta) * scale;
                    for (int c = 0; c < d; c++) {
                        p.dq[query_at(c)] += ds * p.k.values[key_at(j, c)];
                        p.dk[key_at(j, c)] += ds * p.q.values[query_at(c)];
                        p.dv[key_at(j, c)] += w[j] * p.g.values[query_at(c)];
                    }
                }
            }
}

static double difference(const std::vector<uint16_t>& got, const std::vector<double>& want, bool half) {
    double error = 0, norm = 1e-30;
    for (size_t i = 0; i < want.size(); i++) {
        double e = to_float(got[i], half) - want[i];
        error += e * e;
        norm += want[i] * want[i];
    }
    return std::sqrt(error / norm);
}

static int rows_of(const std::vector<int>& lengths) {
    int rows = 512;
    while (rows < *std::max_element(lengths.begin(), lengths.end())) rows *= 2;
    return rows;
}
static void see(int low, int high, int block, int32_t& begin, int32_t& end) {
    begin = low / block;
    end = (high + block - 1) / block;
    if (end <= begin) begin = end = 0;
}

static void forward(const std::string& kernels, Problem& p, int groups, Array<uint16_t>& o, Array<float>& lse, const Array<uint16_t>& q, const Array<uint16_t>& k, const Array<uint16_t>& v) {
    std::string log, element = p.half ? "f16" : "bf16";
    void* module = compile(kernels, "hopper_forward.cu", read(kernels + "/hopper_forward.cu"), &log, "-DELEMENT=" + element + " -DHEAD_DIM=" + std::to_string(p.dim) + " -DGROUPS=" + std::to_string(groups));
    if (!module) {
        fprintf(stderr, "%s", log.c_str());
        exit(1);
    }
    const int block = 128, stages = p.dim == 64 && groups > 1 ? 4 : 2;
    std::vector<Tile> tiles(1);  // in front, how many there are
    for (size_t s = 0, qe = 0, ke = 0; s < p.queries.size(); s++) {
        const int l = p.queries[s], n = p.keys[s], shift = n - l, start = (int)tiles.size() - 1;
        qe += l;
        ke += n;
        for (int f = 0; f < l; f += 64 * groups) {
            Tile t = {(int32_t)ke, n, (int32_t)qe, l, f, shift, 0, 0, 0, start, (l + 64 * groups - 1) / (64 * groups), 0};
            see(p.left < 0 ? 0 : std::max(0, f + shift - p.left), p.right < 0 ? n : std::min(n, std::max(0, std::min(f + 64 * groups, l) + shift + p.right)), block, t.begin, t.end);
            tiles.push_back(t);
        }
    }
    const int units = ((int)tiles.size() - 1) * p.heads;
    tiles[0].key_end = (int)tiles.size() - 1;
    Array<Tile> dt(tiles);
    const int rq = rows_of(p.queries), rk = rows_of(p.keys);
    auto map = [&](Pointer x, int heads, int rows, unsigned box) { return ragged(p.half, x, p.dim, heads, (uint64_t)heads * p.dim, rows, box); };
    Forward a = {map(q.at, p.heads, rq, 64), map(k.at, p.key_heads, rk, block), map(v.at, p.key_heads, rk, block), map(o.at, p.heads, rq, 64), dt.at, lse.at, p.tokens,
                 p.heads, p.heads / p.key_heads, p.left, p.right, rq, rk, 1 / std::sqrt((float)p.dim), (float)(1.44269504088896341 / std::sqrt((double)p.dim))};
    int code = launch(module, "hopper_forward", a, groups > 1 ? std::min(units, 3) : units, 128 * (groups + (groups > 1)), (groups > 1 ? 2 : 1) * groups * 64 * p.dim * 2 + 2 * stages * block * p.dim * 2);
    double e = difference(o.get(), p.o, p.half), worst = 0;
    auto got = lse.get();
    for (size_t i = 0; i < got.size(); i++)
        if (!(got[i] == -INFINITY && p.lse[i] == -INFINITY)) worst = std::isnan(got[i]) ? INFINITY : std::max(worst, std::abs(got[i] - p.lse[i]));
    char text[160];
    snprintf(text, sizeof text, "forward  %s dim %d groups %d window %d %d heads %d/%d: output %.1e, lse %.1e%s", element.c_str(), p.dim, groups, p.left, p.right, p.heads, p.key_heads, e, worst, code ? " FAILED LAUNCH" : "");
    check(code == 0 && e < 4e-3 && worst < 1e-3, text);
    need(driver, "cuModuleUnload", module);
}

static void backward(const std::string& kernels, Problem& p, const Array<uint16_t>& o, const Array<float>& lse, const Array<uint16_t>& q, const Array<uint16_t>& k, const Array<uint16_t>& v) {
    std::string log, element = p.half ? "f16" : "bf16";
    void* module = compile(kernels, "hopper_backward.cu", read(kernels + "/hopper_backward.cu"), &log, "-DELEMENT=" + element + " -DHEAD_DIM=" + std::to_string(p.dim));
    if (!module) {
        fprintf(stderr, "%s", log.c_str());
        exit(1);
    }
    const int block = p.dim == 64 ? 128 : 64;
    std::vector<Tile> tiles;
    std::vector<Sequence> sequences;
    std::vector<int32_t> blocks;
    int padded = 0;
    for (size_t s = 0, q0 = 0, k0 = 0; s < p.queries.size(); q0 += p.queries[s], k0 += p.keys[s], s++) {
        const int l = p.queries[s], n = p.keys[s], shift = n - l, start = (int)tiles.size();
        sequences.push_back({(int32_t)q0, l, padded, 0});
        for (int f = 0; f < n; f += 128) {
            Tile t = {(int32_t)k0 + n, n, (int32_t)q0 + l, l, f, shift, padded, 0, 0, start, (n + 127) / 128, 0};
            see(p.right < 0 ? 0 : std::max(0, f - shift - p.right), p.left < 0 ? l : std::min(l, std::max(0, std::min(f + 128, n) - shift + p.left)), block, t.begin, t.end);
            tiles.push_back(t);
        }
        for (int f = 0; f < l; f += block, padded += block) blocks.push_back((int32_t)s);
    }
    Array<Tile> dt(tiles);
    Array<Sequence> ds(sequences);
    Array<int32_t> db(blocks);
    Array<uint16_t> g(p.g.bits), dq(p.q.bits.size()), dk(p.k.bits.size()), dv(p.k.bits.size());
    Array<uint32_t> ticket(1);
    Array<float> row_lse((size_t)p.heads * padded), row_delta((size_t)p.heads * padded), workspace((size_t)p.heads * padded * p.dim), dlse(p.dlse);
    const int rq = rows_of(p.queries), rk = rows_of(p.keys), type = p.half ? 3 : 2;
    const int64_t token = p.heads * p.dim, key_token = p.key_heads * p.dim;
    const float scale = 1 / std::sqrt((float)p.dim);
    auto map = [&](Pointer x, int heads, int rows, unsigned box) { return ragged(p.half, x, p.dim, heads, (uint64_t)heads * p.dim, rows, box); };
    Prepare prepare = {o.at, g.at, lse.at, p.lse_gradient ? dlse.at : 0, row_lse.at, row_delta.at, workspace.at, ds.at, db.at, {token, p.dim, token, p.dim, p.tokens, p.tokens, padded}, ticket.at, p.heads, 0};
    Backward a = {map(q.at, p.heads, rq, block), map(k.at, p.key_heads, rk, 128), map(v.at, p.key_heads, rk, 128), map(g.at, p.heads, rq, block), dt.at, ticket.at, row_lse.at, row_delta.at, workspace.at,
                  {dk.at, key_token, p.dim, type, 0}, {dv.at, key_token, p.dim, type, 0}, padded, p.key_heads, p.heads / p.key_heads, p.left, p.right, rq, rk, (int)tiles.size() * p.key_heads, scale};
    Finish finish = {workspace.at, {dq.at, token, p.dim, type, 0}, ds.at, db.at, padded, p.heads, scale};
    const unsigned shared = 3 * 128 * p.dim * 2 + 4 * block * p.dim * 2 + 2 * block * 128 * 2 + 2 * 16384 + 4 * block * 4;
    int code = launch(module, "hopper_backward_prepare", prepare, (unsigned)blocks.size() * p.heads, 256);
    if (!code) code = launch(module, "hopper_backward", a, std::min(3u, (unsigned)tiles.size() * p.key_heads), 384, shared);
    if (!code) code = launch(module, "hopper_backward_finish", finish, (unsigned)blocks.size() * p.heads, 256);
    double eq = difference(dq.get(), p.dq, p.half), ek = difference(dk.get(), p.dk, p.half), ev = difference(dv.get(), p.dv, p.half);
    char text[200];
    snprintf(text, sizeof text, "backward %s dim %d window %d %d heads %d/%d: queries %.1e, keys %.1e, values %.1e%s", element.c_str(), p.dim, p.left, p.right, p.heads, p.key_heads, eq, ek, ev, code ? " FAILED LAUNCH" : "");
    check(code == 0 && eq < 8e-3 && ek < 8e-3 && ev < 8e-3, text);
    need(driver, "cuModuleUnload", module);
}

void test_attention(const std::string& kernels) {
    printf("--- attention\n");
    const std::vector<int> many = {1, 63, 64, 65, 0, 127, 128, 129, 300}, few = {100, 3, 0, 200, 5, 70}, others = {300, 90, 20, 129, 0, 260}, two = {300, 129};
    struct Case { const std::vector<int>&q, &k; int left, right, heads, key_heads; bool half, lse_gradient; };
    for (int dim : {64, 128})
        for (const Case& c : {Case{many, many, -1, -1, 2, 2, false, false}, {many, many, -1, 0, 2, 1, false, true}, {two, two, 70, 5, 1, 1, false, true}, {few, others, -1, 0, 2, 1, true, false}, {few, others, -1, -1, 1, 1, false, true}}) {
            Problem p = {c.q, c.k, c.left, c.right, c.heads, c.key_heads, dim, c.half, c.lse_gradient, 0, 0, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
            for (int l : c.q) p.tokens += l;
            for (int l : c.k) p.key_tokens += l;
            const size_t n = (size_t)p.tokens * c.heads * dim, m = (size_t)p.key_tokens * c.key_heads * dim;
            p.q = numbers(n, c.half, normal);
            p.g = numbers(n, c.half, normal);
            p.k = numbers(m, c.half, normal);
            p.v = numbers(m, c.half, normal);
            for (int i = 0; i < c.heads * p.tokens; i++) p.dlse.push_back(normal());
            solve(p);
            Array<uint16_t> q(p.q.bits), k(p.k.bits), v(p.v.bits), o(n);
            Array<float> lse(p.lse.size());
            for (int groups : dim == 64 ? std::vector<int>{3, 1} : std::vector<int>{2}) forward(kernels, p, groups, o, lse, q, k, v);
            backward(kernels, p, o, lse, q, k, v);
        }
}
