"""Peer timings of whole evaluation and training steps on variable-length batches, PyTorch on one GPU.

The model is the blog post's toy decoder (24 blocks, width 1024, 16 heads, vocabulary 1024, at most 1024 positions,
batches of 32 sequences with lengths uniform in 1..1023, bf16 autocast, SGD), written anew for this comparison.
Usage: python3 steps.py MODE [MODE ...]   e.g. eval:padded:eager  train:varlen:compile
"""
import os, sys, time, statistics, json, torch, torch.nn as nn, torch.nn.functional as F

B, H, HD, DEPTH, VOCAB, MAXLEN, PAD = 32, 16, 64, 24, 1024, 1024, 0
D = H * HD

class Block(nn.Module):
    def __init__(s, attend, packed):
        super().__init__()
        s.attend, s.packed = attend, packed
        s.n1, s.n2 = nn.LayerNorm(D, bias=False), nn.LayerNorm(D, bias=False)
        s.qkv, s.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        s.fc1, s.fc2 = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
    def forward(s, x, meta):
        q, k, v = s.qkv(s.n1(x)).chunk(3, -1)
        heads = lambda t: t.unflatten(-1, (H, HD))
        y = s.attend(heads(q), heads(k), heads(v), meta)
        x = x + s.proj(y.flatten(-2))
        return x + s.fc2(F.gelu(s.fc1(s.n2(x))))

class Decoder(nn.Module):
    def __init__(s, attend, packed, pad=None):
        super().__init__()
        s.tok, s.pos = nn.Embedding(VOCAB, D, padding_idx=pad), nn.Embedding(MAXLEN, D)
        s.blocks = nn.ModuleList(Block(attend, packed) for _ in range(DEPTH))
        s.out = nn.Linear(D, VOCAB)
    def forward(s, ids, pos, meta):
        x = s.tok(ids) + s.pos(pos)
        for b in s.blocks: x = b(x, meta)
        return s.out(x)

def batches(seed, n):
    """n batches of random tokens whose lengths are the lines of lengths/decoder_batches.txt (20 batches of 32)."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lengths", "decoder_batches.txt")) as f: rows = [[int(x) for x in l.split()] for l in f]
    g = torch.Generator().manual_seed(seed)
    return [[torch.randint(1, VOCAB, (l + 1,), generator=g) for l in rows[(seed + i) % len(rows)]] for i in range(n)]

def collate(seqs, how):
    ls = [len(s) - 1 for s in seqs]
    if how in ("padded", "longest"):
        m = MAXLEN if how == "padded" else max(ls)
        x = torch.zeros(B, m, dtype=torch.long); y = torch.zeros(B, m, dtype=torch.long)
        for i, s in enumerate(seqs): x[i, :ls[i]], y[i, :ls[i]] = s[:-1], s[1:]
        pos = torch.arange(m).expand(B, m)
        return x, y, pos, dict(mask=(x != PAD).view(B, 1, 1, m))
    x = torch.cat([s[:-1] for s in seqs]); y = torch.cat([s[1:] for s in seqs]); pos = torch.cat([torch.arange(l) for l in ls])
    cu = torch.tensor([0] + ls).cumsum(0).int()
    if how == "nested":
        return x, y, pos, dict(offsets=cu.long(), mx=max(ls))
    return x, y, pos, dict(cu=cu, mx=max(ls))

def attend_sdpa(causal):
    def f(q, k, v, meta):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True) if causal else F.scaled_dot_product_attention(q, k, v, attn_mask=meta["mask"])
        return o.transpose(1, 2)
    return f

def attend_varlen(causal):
    from torch.nn.attention.varlen import varlen_attn
    def f(q, k, v, meta):
        return varlen_attn(q, k, v, meta["cu"], meta["cu"], MAXLEN, MAXLEN, window_size=(-1, 0) if causal else (-1, -1))
    return f

def attend_nested(causal):
    def f(q, k, v, meta):
        nt = lambda t: torch.nested.nested_tensor_from_jagged(t, meta["offsets"], max_seqlen=MAXLEN, min_seqlen=1).transpose(1, 2)
        o = F.scaled_dot_product_attention(nt(q), nt(k), nt(v), is_causal=causal)
        return o.transpose(1, 2).values()
    return f

def run(mode, steps=60, skip=15, pure_bf16=False):
    what, how, comp = mode.split(":")[:3]
    opts = mode.split(":")[3:]
    train = what == "train"
    torch.manual_seed(0); torch.set_float32_matmul_precision("high")
    attend = dict(padded=attend_sdpa, longest=attend_sdpa, varlen=attend_varlen, nested=attend_nested)[how](train)
    model = Decoder(attend, how not in ("padded", "longest"), PAD if how in ("padded", "longest") else None).cuda()
    if "bf16" in opts: model = model.bfloat16()
    model.train(train)
    fwd = torch.compile(model, dynamic=True if how != "padded" else None) if comp == "compile" else model
    opt = torch.optim.SGD(model.parameters(), lr=1e-3, fused="fused" in opts or None)
    data = [collate(s, how) for s in batches(0, 20)]
    put = lambda t: t.cuda(non_blocking=True) if isinstance(t, torch.Tensor) else t
    data = [tuple({k: put(v) for k, v in z.items()} if isinstance(z, dict) else put(z) for z in d) for d in data]
    ts = []; losses = []
    torch.cuda.reset_peak_memory_stats()
    for i in range(steps):
        x, y, pos, meta = data[i % len(data)]
        torch.cuda.synchronize(); t0 = time.perf_counter()
        if train:
            with torch.autocast("cuda", torch.bfloat16, enabled="bf16" not in opts):
                loss = F.cross_entropy(fwd(x, pos, meta).view(-1, VOCAB).float() if "bf16" in opts else fwd(x, pos, meta).view(-1, VOCAB), y.flatten(), ignore_index=PAD)
            opt.zero_grad(set_to_none=True); loss.backward(); opt.step()
        else:
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled="bf16" not in opts):
                loss = F.cross_entropy(fwd(x, pos, meta).view(-1, VOCAB), y.flatten(), ignore_index=PAD)
        torch.cuda.synchronize(); dt = time.perf_counter() - t0
        if i >= skip: ts.append(dt * 1e3)
        losses.append(loss.item())
    real = sum(int((d[1] != PAD).sum()) for d in data) / len(data)
    print(json.dumps(dict(mode=mode, ms=round(statistics.median(ts), 2), mean_ms=round(statistics.mean(ts), 2), real_tokens=int(real), tok_per_s=int(real / statistics.mean(ts) * 1e3),
                          peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2), loss=round(losses[0], 4), last_loss=round(losses[-1], 4))), flush=True)

if __name__ == "__main__":
    for m in sys.argv[1:]:
        try: run(m)
        except Exception as e: print(json.dumps(dict(mode=m, error=str(e)[:300])), flush=True)
        torch.compiler.reset(); torch.cuda.empty_cache()
