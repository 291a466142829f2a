"""Makes the golden models: small ones with random weights, and what transformers computes with them.

    python3 tests/golden/models.py            # writes tests/golden/models/NAME/
    python3 tests/golden/models.py --check    # compares with what is there, and writes nothing
    python3 tests/golden/models.py --random 20 --seed 1 --out DIR    # models of other sizes and choices, for a run of
    VARLEN_GOLDEN_MODELS=DIR ./test -class '*GoldenModelTests'

Each folder holds config.json and the weights as transformers saves them, and reference.safetensors:

    input_ids, cu_seqlens           the sequences, one after the other
    logits, logits_bf16             of every token, computed in fp32 and in bf16
    loss                            mean cross entropy of each token's successor
    grad.NAME                       gradient of the loss by each weight

The numbers come from the flattened batch of DataCollatorWithFlattening. That the same sequences give the same, padded with an attention
mask, and padded and unpadded around attention, is checked here before anything is written.
"""
import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import DataCollatorWithFlattening
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HERE = pathlib.Path(__file__).resolve().parent / "models"
LENGTHS = [7, 1, 12, 4]
VOCABULARY = 48

LLAMA = dict(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=32, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
GPT2 = dict(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=47, eos_token_id=47)


def llama(**changes):
    return transformers.LlamaConfig(**{**LLAMA, **changes})


def models():
    """Name, configuration, and the size of shards."""
    yield "gpt2", transformers.GPT2Config(**GPT2), None
    yield "gpt2-choices", transformers.GPT2Config(**{**GPT2, "n_head": 4}, n_inner=24, activation_function="gelu", scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True,
                                                  reorder_and_upcast_attn=True, layer_norm_epsilon=1e-3, tie_word_embeddings=False), None
    yield "llama-tied", llama(tie_word_embeddings=True, num_key_value_heads=4), None
    yield "llama-gqa", llama(head_dim=6, attention_bias=True, mlp_bias=True, eos_token_id=[2, 3], pad_token_id=5), "9KB"
    yield "llama-linear", llama(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}), None
    yield "llama-llama3", llama(head_dim=12, rope_parameters={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                              "original_max_position_embeddings": 16, "rope_theta": 50.0}), None
    yield "llama-yarn", llama(head_dim=12, rope_parameters={"rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.5,
                                                            "original_max_position_embeddings": 8, "rope_theta": 50.0}), None
    yield "qwen2", transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}), None
    yield "qwen2-window", transformers.Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1), None
    yield "mistral", transformers.MistralConfig(**{**LLAMA, "num_key_value_heads": 1}, head_dim=8, sliding_window=3), None


def random_models(count, seed):
    """As models(), with sequences of random lengths."""
    draw = random.Random(seed)
    for i in range(count):
        kind = draw.choice(["gpt2", "llama", "qwen2", "mistral"])
        heads, head_dim, layers = draw.choice([1, 2, 3, 4, 6, 8]), 2 * draw.randint(1, 20), draw.randint(1, 4)
        lengths = [draw.randint(2, 90), *(draw.choice([1, 2, 3, draw.randint(1, 90)]) for _ in range(draw.randint(0, 6)))]
        shard = draw.choice([None, "20KB", "100KB"])
        flag = lambda: draw.random() < 0.5
        if kind == "gpt2":
            yield f"random-{i}-{kind}", transformers.GPT2Config(
                **{**GPT2, "vocab_size": draw.randint(48, 300), "n_positions": draw.randint(90, 128), "n_embd": heads * head_dim, "n_head": heads, "n_layer": layers, "layer_norm_epsilon": 10.0 ** -draw.randint(2, 7)},
                n_inner=draw.choice([None, draw.randint(1, 100)]), activation_function=draw.choice(["gelu_new", "gelu", "relu", "gelu_pytorch_tanh", "gelu_fast"]),
                scale_attn_weights=flag(), scale_attn_by_inverse_layer_idx=flag(), reorder_and_upcast_attn=flag(), tie_word_embeddings=flag()), shard, lengths
            continue
        shared = draw.choice([n for n in range(1, heads + 1) if heads % n == 0])
        own_dim = flag()
        width = heads * (draw.randint(4, 24) if own_dim else head_dim)
        theta = draw.choice([100.0, 10000.0, 1e6])
        rope = draw.choice([
            {"rope_type": "default", "rope_theta": theta},
            {"rope_type": "linear", "factor": draw.uniform(1, 8), "rope_theta": theta},
            {"rope_type": "dynamic", "factor": 4.0, "rope_theta": theta},
            {"rope_type": "llama3", "factor": draw.uniform(1, 16), "low_freq_factor": 1.0, "high_freq_factor": draw.uniform(2, 6), "original_max_position_embeddings": draw.choice([8, 32, 64]), "rope_theta": theta},
            {"rope_type": "yarn", "factor": draw.uniform(1, 8), "original_max_position_embeddings": draw.choice([8, 32, 64]), "rope_theta": theta, "beta_fast": draw.uniform(8, 40), "truncate": flag()},
        ])
        common = {**LLAMA, "vocab_size": draw.randint(48, 300), "hidden_size": width, "intermediate_size": draw.randint(1, 90), "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": shared,
                  "max_position_embeddings": draw.randint(90, 256), "rms_norm_eps": 10.0 ** -draw.randint(3, 7), "tie_word_embeddings": flag(), "rope_parameters": rope, "pad_token_id": draw.choice([None, 5]),
                  **({"head_dim": head_dim} if own_dim else {})}
        window = draw.choice([1, 2, 5, 40])
        if kind == "llama":
            config = transformers.LlamaConfig(**common, attention_bias=flag(), mlp_bias=flag())
        elif kind == "qwen2":
            config = transformers.Qwen2Config(**common, use_sliding_window=flag(), sliding_window=window, max_window_layers=draw.randint(0, layers))
        else:
            config = transformers.MistralConfig(**common, sliding_window=draw.choice([None, window]))
        yield f"random-{i}-{kind}", config, shard, lengths


def unpadded_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, sliding_window=None, **_):
    """The way of flash_attention_2 with a padding mask, with plain attention in the place of the kernel."""
    lengths = [query.shape[2]] * query.shape[0] if attention_mask is None else attention_mask.sum(1).tolist()
    groups = query.shape[1] // key.shape[1]
    rows = []
    for i, length in enumerate(lengths):
        q, k, v = query[i, :, :length], key[i, :, :length].repeat_interleave(groups, 0), value[i, :, :length].repeat_interleave(groups, 0)
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (distance < 0) | (distance >= (sliding_window or length + 1))
        weights = (q @ k.transpose(-1, -2) * (scaling or q.shape[-1] ** -0.5)).masked_fill(hidden, -torch.inf).softmax(-1)
        rows.append(torch.nn.functional.pad((weights @ v).transpose(0, 1), (0, 0, 0, 0, 0, query.shape[2] - length)))
    return torch.stack(rows), None


ALL_ATTENTION_FUNCTIONS.register("unpadded", unpadded_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("unpadded", flash_attention_mask)


def randomize(model, seed):
    """Weights that make every part count: gains away from one, biases away from zero. Wider models get smaller ones, or rounding would grow."""
    spread = min(0.3, 1.2 * model.config.hidden_size ** -0.5)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (spread if parameter.dim() > 1 else 0.2))
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.add_(1)


def run(model, implementation, batch, pick):
    model.config._attn_implementation = implementation
    model.zero_grad()
    out = model(**batch, use_cache=False)
    out.loss.backward()
    return pick(out.logits).detach(), out.loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def compute(config, seed, lengths):
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().train()
    randomize(model, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    samples = [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]
    samples[0][-1] = samples[-1][0] = 5  # one model's padding id, whose row takes no gradient

    flat = DataCollatorWithFlattening()([{"input_ids": sample.tolist()} for sample in samples])
    flat = {key: flat[key] for key in ("input_ids", "labels", "position_ids")}
    longest = max(lengths)
    padded = {
        "input_ids": torch.stack([torch.nn.functional.pad(sample, (0, longest - len(sample)), value=9) for sample in samples]),
        "labels": torch.stack([torch.nn.functional.pad(sample, (0, longest - len(sample)), value=-100) for sample in samples]),
        "attention_mask": torch.stack([(torch.arange(longest) < len(sample)).long() for sample in samples]),
    }
    real = padded["attention_mask"].bool()
    logits, loss, grads = run(model, "eager", flat, lambda x: x[0])
    for name, implementation in (("padded with a mask", "eager"), ("padded and unpadded around attention", "unpadded")):
        other = run(model, implementation, padded, lambda x: x[real])
        pairs = [(logits, other[0]), (loss, other[1]), *((grads[key], other[2][key]) for key in grads)]
        worst = max(((a - b).abs().max() / max(1.0, a.abs().max())).item() for a, b in pairs)
        assert worst < 2e-5, f"{config.model_type}, {name}: {worst}"
    reference = {"input_ids": flat["input_ids"][0].to(torch.int32), "cu_seqlens": torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32),
                 "logits": logits, "loss": loss, **{f"grad.{name}": grad for name, grad in grads.items()}}
    half = transformers.AutoModelForCausalLM.from_config(config).eval()
    half.load_state_dict(model.state_dict())
    half.config._attn_implementation = "eager"
    with torch.no_grad():
        reference["logits_bf16"] = half.bfloat16()(**{key: flat[key] for key in ("input_ids", "position_ids")}).logits[0]
    return model, {key: value.contiguous() for key, value in reference.items()}


def write(folder, model, reference, shard):
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved, **({"max_shard_size": shard} if shard else {}))
        folder.mkdir(parents=True)
        for file in sorted(pathlib.Path(saved).iterdir()):
            if file.name != "generation_config.json":
                shutil.copyfile(file, folder / file.name)
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    save_file(reference, folder / "reference.safetensors")
    print(f"{folder.name}: loss {reference['loss'].item():.6f}, {sum(file.stat().st_size for file in folder.iterdir()) / 1024:.0f} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    parser.add_argument("--random", type=int, metavar="N", help="so many models of random sizes and choices")
    parser.add_argument("--seed", type=int, default=0, help="of the random ones")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="where to write them")
    options = parser.parse_args()
    if options.random and options.out == HERE:
        parser.error("--random needs --out")
    transformers.utils.logging.disable_progress_bar()
    chosen = random_models(options.random, options.seed) if options.random else ((*model, LENGTHS) for model in models())
    worst = 0.0
    for number, (name, config, shard, lengths) in enumerate(chosen):
        model, reference = compute(config, options.seed + number, lengths)
        if options.check:
            stored = load_file(HERE / name / "reference.safetensors")
            assert stored.keys() == reference.keys(), name
            worst = max(worst, *((stored[key].float() - reference[key].float()).abs().max().item() for key in reference))
        else:
            write(options.out / name, model, reference, shard)
    if options.check:
        print(f"largest difference {worst:g}")
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
