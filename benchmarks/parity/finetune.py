"""Fine-tunes small models in transformers on prompts with completions and writes what `varlen bench parity` compares with.

FOLDER gets a folder for each family, with the initial weights (model/), the batches (batches.safetensors), the losses of all steps in
single precision (reference.json) and the gradients of the first one (gradients.safetensors), and records.jsonl with the same examples.
Rows are padded and masked here, and targets of prompts and padding are -100, as data collators do it.
Needs PyTorch, transformers and safetensors; runs on a CPU.
Usage: python3 finetune.py FOLDER [--steps N] [--lr X]
"""
import argparse, json, os, random
import torch
import transformers
from safetensors.torch import save_file

END, VOCABULARY, IGNORE, CONTEXT = 256, 257, -100, 96
FAMILIES = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=48, n_layer=3, n_head=4, resid_pdrop=0, embd_pdrop=0,
                                                                         attn_pdrop=0, bos_token_id=END, eos_token_id=END)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, hidden_size=48, intermediate_size=96, num_hidden_layers=3,
                                                                            num_attention_heads=6, num_key_value_heads=2, bos_token_id=END, eos_token_id=END, pad_token_id=None)),
}


def examples(count, draw):
    """Small sums in words of unequal length: something that can be learned."""
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for _ in range(count):
        a, b = draw.randrange(9), draw.randrange(9)
        yield {"prompt": "add " + " and ".join([names[a]] * draw.randrange(1, 5)) + " to " + names[b] + ": ", "completion": str(a + b + 2) * draw.randrange(1, 4)}


def sequence(record):
    """Tokens and targets: prompt and completion apart, an end, and only what follows the prompt is a target."""
    prompt, completion = list(record["prompt"].encode()), list(record["completion"].encode()) + [END]
    ids = prompt + completion
    return ids[:-1], [id if i >= len(prompt) else IGNORE for i, id in enumerate(ids)][1:]


def loss_of(model, batch):
    longest = max(len(tokens) for tokens, _ in batch)
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in batch])
    mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens, _ in batch])
    targets = torch.tensor([targets + [IGNORE] * (longest - len(targets)) for _, targets in batch])
    logits = model(input_ids=ids, attention_mask=mask).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def join(gradients):
    """Matrices that Varlen keeps as one, the rows of one below those of the other."""
    joined = dict(gradients)
    for parts, whole in ((("q_proj", "k_proj", "v_proj"), "qkv_proj"), (("gate_proj", "up_proj"), "gate_up_proj")):
        for name in [name for name in gradients if parts[0] in name]:
            joined[name.replace(parts[0], whole)] = torch.cat([joined.pop(name.replace(parts[0], part)) for part in parts])
    return joined


def train(model, batches, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0)
    losses, first = [], None
    for batch in batches:
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        if first is None: first = {name: parameter.grad.clone().contiguous() for name, parameter in model.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    return losses, first


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    draw = random.Random(args.seed)
    records = list(examples(400, draw))
    os.makedirs(args.folder, exist_ok=True)
    with open(os.path.join(args.folder, "records.jsonl"), "w") as file:
        for record in records: file.write(json.dumps(record) + "\n")
    batches = [[sequence(draw.choice(records)) for _ in range(draw.randrange(4, 12))] for _ in range(args.steps)]
    for family, make in FAMILIES.items():
        folder = os.path.join(args.folder, family)
        torch.manual_seed(args.seed)
        model = make().float().train()
        model.save_pretrained(os.path.join(folder, "model"))
        every, whole = [sequence(record) for record in records], 0.0
        with torch.no_grad():
            for each in every: whole += float(loss_of(model, [each])) * sum(id != IGNORE for id in each[1])
        losses, first = train(model, batches, args.lr)
        flat = [each for batch in batches for each in batch]
        offsets, starts = [0], [0]
        for tokens, _ in flat: offsets.append(offsets[-1] + len(tokens))
        for batch in batches: starts.append(starts[-1] + len(batch))
        save_file({"tokens": torch.tensor([id for tokens, _ in flat for id in tokens], dtype=torch.int32), "targets": torch.tensor([id for _, targets in flat for id in targets], dtype=torch.int32),
                   "offsets": torch.tensor(offsets), "batches": torch.tensor(starts)}, os.path.join(folder, "batches.safetensors"))
        joined = join(first)
        save_file({f"{precision}.{name}": value.clone() for name, value in joined.items() for precision in ("fp32", "bf16")}, os.path.join(folder, "gradients.safetensors"))
        evaluated = whole / sum(id != IGNORE for _, targets in every for id in targets)
        with open(os.path.join(folder, "reference.json"), "w") as file:
            json.dump({"framework": f"transformers {transformers.__version__}", "device": "CPU", "optimizer": "adamw", "lr": args.lr, "momentum": 0.0, "fp32": losses, "records_loss": evaluated}, file)
        print(f"{family}: loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps; of all records before the first {evaluated:.6f}", flush=True)


if __name__ == "__main__":
    main()
