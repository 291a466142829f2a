"""Peer timings of whole evaluation and training steps on variable-length batches in PyTorch.

By hand, on a GPU, the reference decoder (24 blocks, width 1024, 16 heads, vocabulary and context 1024, SGD, bf16 autocast) on the
batches of lengths/decoder_batches.txt; VARIANT is eager or compile, STRATEGY padded, padded-longest, packed, jagged or dense-mask:
    python3 steps.py eval:padded:eager train:packed:compile ...
Driven by `varlen bench step --peer`, with the sizes, weights and batches of that run:
    python3 steps.py --serve FOLDER
"""
import json, os, statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F
from serving import Workload, serve

IGNORE = -100


class Block(nn.Module):
    def __init__(self, width, heads, bias):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if not bias: self.norm1.bias = self.norm2.bias = None
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, attend, meta):
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.proj(attend(q, k, v, meta).flatten(-2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Decoder(nn.Module):
    """Tensors are named as Varlen's. The reference has norms without bias, no final norm, and an output layer with bias."""
    def __init__(self, layers, width, heads, vocabulary, context, reference, attend):
        super().__init__()
        self.embedding, self.positional_embedding = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, not reference) for _ in range(layers))
        self.norm = None if reference else nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary, bias=reference)
        self.attend = attend

    def forward(self, ids, positions, meta):
        x = self.embedding(ids) + self.positional_embedding(positions)
        for block in self.blocks: x = block(x, self.attend, meta)
        return self.output(x if self.norm is None else self.norm(x))


def collate(sequences, strategy, context):
    """Ids, targets, positions, and what attention needs, of one batch: each sequence has one id more than inputs."""
    pairs = [(torch.tensor(ids[:-1], dtype=torch.long), torch.tensor(ids[1:], dtype=torch.long)) for ids in sequences]
    lengths = [len(inputs) for inputs, _ in pairs]
    if strategy in ("padded", "padded-longest"):
        columns = context if strategy == "padded" else max(lengths)
        ids, targets = torch.zeros(len(pairs), columns, dtype=torch.long), torch.full((len(pairs), columns), IGNORE)
        for row, (inputs, following) in enumerate(pairs): ids[row, :lengths[row]], targets[row, :lengths[row]] = inputs, following
        real = torch.arange(columns)[None, :] < torch.tensor(lengths)[:, None]
        return ids, targets, torch.arange(columns).expand_as(ids), dict(mask=real[:, None, None, :])
    ids, targets = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    meta = dict(offsets=torch.tensor([0] + lengths).cumsum(0), longest=max(lengths), lengths=lengths)
    if strategy == "dense-mask":
        document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        meta["visible"] = document[:, None] == document[None, :]
    return ids, targets, torch.cat([torch.arange(length) for length in lengths]), meta


def dense(q, k, v, **how):
    """Scaled dot-product attention of [..., tokens, heads, dim]."""
    return F.scaled_dot_product_attention(q.transpose(-3, -2), k.transpose(-3, -2), v.transpose(-3, -2), **how).transpose(-3, -2)


def attention(strategy, causal, device):
    # Padding stands on the right, where no causal query looks: without a mask, PyTorch takes its fastest kernel.
    if strategy in ("padded", "padded-longest"): return lambda q, k, v, meta: dense(q, k, v, is_causal=True) if causal else dense(q, k, v, attn_mask=meta["mask"])
    if strategy == "dense-mask":
        def masked(q, k, v, meta):
            return dense(q[None], k[None], v[None], attn_mask=meta["visible"])[0]
        return masked
    if strategy == "jagged":
        def nested(q, k, v, meta):
            q, k, v = (torch.nested.nested_tensor_from_jagged(t, meta["offsets"], max_seqlen=meta["longest"], min_seqlen=1).transpose(1, 2) for t in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).values()
        return nested
    if device != "cuda":
        # There is no varlen_attn on a CPU: one call for each sequence.
        return lambda q, k, v, meta: torch.cat([dense(*part, is_causal=causal) for part in zip(*(t.split(meta["lengths"]) for t in (q, k, v)))])
    from torch.nn.attention.varlen import varlen_attn
    def packed(q, k, v, meta):
        offsets = meta["offsets32"]
        return varlen_attn(q, k, v, offsets, offsets, meta["longest"], meta["longest"], window_size=(-1, 0) if causal else (-1, -1))
    return packed


def maker(workload, weights=None):
    def make(mode, strategy, variant):
        causal = mode == "train"
        model = Decoder(workload.layers, workload.width, workload.heads, workload.vocabulary, workload.context, workload.reference, attention(strategy, causal, workload.device))
        if weights is not None: model.load_state_dict(weights)
        model = workload.prepare(model, mode)
        run = torch.compile(model, dynamic=None if strategy == "padded" else True) if variant == "compile" else model
        batches = []
        for sequences in workload.batches:
            ids, targets, positions, meta = collate(sequences, strategy, workload.context)
            if causal and "visible" in meta: meta["visible"] = meta["visible"].tril()
            meta = {name: value.to(workload.device) if isinstance(value, torch.Tensor) else value for name, value in meta.items()}
            if "offsets" in meta: meta["offsets32"] = meta["offsets"].int()
            # What changes from batch to batch and is no tensor would compile the model anew.
            if variant == "compile" and "longest" in meta: meta["longest"] = workload.context; del meta["lengths"]
            batches.append((ids.to(workload.device), targets.to(workload.device), positions.to(workload.device), meta))

        def loss_of(batch):
            ids, targets, positions, meta = batch
            return F.cross_entropy(run(ids, positions, meta).flatten(0, -2), targets.flatten(), ignore_index=IGNORE)
        return workload.stepper(model, mode, batches, loss_of)
    return make


class Reference(Workload):
    """The blog post's toy decoder on its kind of batches."""
    def __init__(self):
        self.device, self.type, self.update, self.lr, self.reference = "cuda", torch.bfloat16, "sgd", 1e-3, True
        self.layers, self.width, self.heads, self.vocabulary, self.context = 24, 1024, 16, 1024, 1024
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lengths", "decoder_batches.txt")) as file: rows = [[int(word) for word in line.split()] for line in file]
        generator = torch.Generator().manual_seed(0)
        self.batches = [[torch.randint(1, self.vocabulary, (length + 1,), generator=generator).tolist() for length in row] for row in rows]


def by_hand(names, steps=60, skip=15):
    workload = Reference()
    real = sum(len(ids) - 1 for batch in workload.batches for ids in batch) / len(workload.batches)
    for name in names:
        try:
            torch.manual_seed(0); torch.set_float32_matmul_precision("high")
            step = maker(workload)(*name.split(":"))
            torch.cuda.reset_peak_memory_stats()
            times, losses = [], []
            for index in range(steps):
                torch.cuda.synchronize(); start = time.perf_counter()
                loss = step()
                torch.cuda.synchronize()
                if index >= skip: times.append((time.perf_counter() - start) * 1e3)
                losses.append(loss.item())
            print(json.dumps(dict(mode=name, ms=round(statistics.median(times), 2), mean_ms=round(statistics.mean(times), 2), real_tokens=int(real), tok_per_s=int(real / statistics.mean(times) * 1e3),
                                  peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2), loss=round(losses[0], 4), last_loss=round(losses[-1], 4))), flush=True)
        except Exception as error: print(json.dumps(dict(mode=name, error=str(error)[:300])), flush=True)
        torch.compiler.reset(); torch.cuda.empty_cache()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        given = Workload(sys.argv[2])
        torch.set_float32_matmul_precision("highest")
        ways = {name: given.variants() for name in ("padded", "padded-longest", "packed", "jagged")}
        # Compiling a mask of this size gains nothing and takes long.
        ways["dense-mask"] = given.variants(compiled=False)
        serve(given, ways, maker(given, given.weights()))
    else: by_hand(sys.argv[1:])
