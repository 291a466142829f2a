"""Trains the reference decoder in PyTorch on a GPU and writes what `varlen bench parity` compares with.

The folder gets the initial weights (model/), the batches of real text (batches.safetensors), the loss of every step in single
precision and under bf16 autocast (reference.json), and all parameter gradients of the first step in both (gradients.safetensors).
Needs PyTorch with torch.nn.attention.varlen, and safetensors.
Usage: python3 reference.py FOLDER TEXT [TEXT ...]
"""
import argparse, json, os, random, time
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn

END, VOCABULARY, IGNORE = 256, 257, -100


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, attend):
        q, k, v = (t.unflatten(-1, (self.heads, -1)) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.proj(attend(q, k, v).flatten(-2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self, layers, width, heads, context):
        super().__init__()
        self.embedding, self.positional_embedding = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.output = nn.Linear(width, VOCABULARY)
        for table in (self.embedding, self.positional_embedding): nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens, positions, attend):
        x = self.embedding(tokens) + self.positional_embedding(positions)
        for block in self.blocks: x = block(x, attend)
        return self.output(x)


def documents(paths):
    """Paragraphs, as bytes with an end behind each."""
    for path in paths:
        with open(path, "rb") as file: text = file.read()
        for paragraph in text.replace(b"\r\n", b"\n").split(b"\n\n"):
            if paragraph.strip(): yield list(paragraph) + [END]


def sequences(paths, context):
    """Chunks [a, b) of documents with the targets [a + 1, b + 1)."""
    for document in documents(paths):
        for start in range(0, len(document) - 1, context):
            end = min(start + context, len(document) - 1)
            yield document[start:end], document[start + 1:end + 1]


def batches(paths, context, budget, count, seed):
    """Sequences in a drawn order, as many to a batch as its tokens allow; again from the start when the text ends."""
    everything = list(sequences(paths, context))
    if not everything: raise SystemExit("the files hold no text")
    draw, made, order = random.Random(seed), [], []
    while len(made) < count:
        batch, tokens = [], 0
        while True:
            if not order:
                order = everything[:]
                draw.shuffle(order)
            if tokens + len(order[-1][0]) > budget: break
            batch.append(order.pop())
            tokens += len(batch[-1][0])
        made.append(batch)
    return made


class Batch:
    def __init__(self, sequences, device):
        lengths = [len(tokens) for tokens, _ in sequences]
        put = lambda values, dtype: torch.tensor(values, dtype=dtype, device=device)
        self.tokens = put([id for tokens, _ in sequences for id in tokens], torch.long)
        self.targets = put([id for _, targets in sequences for id in targets], torch.long)
        self.positions = put([i for length in lengths for i in range(length)], torch.long)
        self.lengths, self.longest = lengths, max(lengths)
        self.offsets = put([0] + lengths, torch.int32).cumsum(0, dtype=torch.int32)

    def packed(self, q, k, v):
        return varlen_attn(q, k, v, self.offsets, self.offsets, self.longest, self.longest, window_size=(-1, 0))

    def one_by_one(self, q, k, v):
        parts = []
        with sdpa_kernel(SDPBackend.MATH):
            for a, b, c in zip(*(t.transpose(0, 1).split(self.lengths, 1) for t in (q, k, v))):
                parts.append(F.scaled_dot_product_attention(a[None], b[None], c[None], is_causal=True)[0])
        return torch.cat(parts, 1).transpose(0, 1)


def loss_of(model, batch, autocast):
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        logits = model(batch.tokens, batch.positions, batch.packed if autocast else batch.one_by_one)
    return F.cross_entropy(logits.float(), batch.targets, ignore_index=IGNORE)


def train(model, data, autocast, args):
    if args.optimizer == "sgd": optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    else: optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0)
    losses, first = [], None
    for batch in data:
        loss = loss_of(model, batch, autocast)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if first is None: first = {name: parameter.grad.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.step()
        losses.append(loss.detach())
    return [float(loss) for loss in losses], first


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("text", nargs="+")
    for name, default in (("layers", 6), ("width", 512), ("heads", 8), ("context", 512), ("batch-tokens", 8192), ("steps", 100), ("seed", 1)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument("--lr", type=float, help="by default the first of 0.003, 0.001 and 0.0003 at which the loss falls by more than a nat and never rises by a tenth of one over its average of ten steps")
    parser.add_argument("--momentum", type=float, default=0.9)
    args = parser.parse_args()

    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(args.seed)
    made = batches(args.text, args.context, args.batch_tokens, args.steps, args.seed)
    data = [Batch(batch, "cuda") for batch in made]
    model = Decoder(args.layers, args.width, args.heads, args.context).cuda()
    initial = {name: value.detach().clone() for name, value in model.state_dict().items()}

    os.makedirs(os.path.join(args.folder, "model"), exist_ok=True)
    save_file({name: value.cpu().contiguous() for name, value in initial.items()}, os.path.join(args.folder, "model", "model.safetensors"))
    with open(os.path.join(args.folder, "model", "config.json"), "w") as file:
        json.dump({"model_type": "varlen-decoder", "vocabulary_size": VOCABULARY, "max_length": args.context, "width": args.width, "heads": args.heads,
                   "layers": args.layers, "activation": "gelu"}, file, indent=2)
    flat = [sequence for batch in made for sequence in batch]
    offsets, starts = [0], [0]
    for tokens, _ in flat: offsets.append(offsets[-1] + len(tokens))
    for batch in made: starts.append(starts[-1] + len(batch))
    save_file({"tokens": torch.tensor([id for tokens, _ in flat for id in tokens], dtype=torch.int32), "targets": torch.tensor([id for _, targets in flat for id in targets], dtype=torch.int32),
               "offsets": torch.tensor(offsets, dtype=torch.int64), "batches": torch.tensor(starts, dtype=torch.int64)}, os.path.join(args.folder, "batches.safetensors"))

    if args.lr is None:
        # Near the edge of stability two runs of the same program part, and nothing can be compared.
        for args.lr in (0.003, 0.001, 0.0003):
            model.load_state_dict(initial)
            losses, _ = train(model, data, True, args)
            print(f"learning rate {args.lr}: loss {losses[0]:.4f} to {losses[-1]:.4f}", flush=True)
            averages = [sum(losses[i:i + 10]) / 10 for i in range(len(losses) - 10)]
            if losses[-1] < losses[0] - 1.1 and all(loss < average + 0.1 for loss, average in zip(losses[10:], averages)): break
    reference = {"framework": "PyTorch " + torch.__version__, "device": torch.cuda.get_device_name(), "optimizer": args.optimizer, "lr": args.lr,
                 "momentum": args.momentum if args.optimizer == "sgd" else 0.0}
    gradients = {}
    for name, autocast in (("fp32", False), ("bf16", True)):
        model.load_state_dict(initial)
        start = time.perf_counter()
        reference[name], first = train(model, data, autocast, args)
        gradients.update({name + "." + parameter: value.float().cpu().contiguous() for parameter, value in first.items()})
        print(f"{name}: loss {reference[name][0]:.4f} to {reference[name][-1]:.4f} in {len(data)} steps, {time.perf_counter() - start:.1f} s", flush=True)
    save_file(gradients, os.path.join(args.folder, "gradients.safetensors"))
    with open(os.path.join(args.folder, "reference.json"), "w") as file: json.dump(reference, file)


if __name__ == "__main__":
    main()
