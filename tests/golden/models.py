"""Makes the golden models: small ones with random weights, and what transformers computes with them.

    python3 tests/golden/models.py            # writes tests/golden/models/NAME/
    python3 tests/golden/models.py --check    # compares with what is there, and writes nothing

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
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import DataCollatorWithFlattening
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HERE = pathlib.Path(__file__).parent / "models"
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
    """Weights that make every part count: gains away from one, biases away from zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.dim() > 1 else 0.2))
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.add_(1)


def run(model, implementation, batch, pick):
    model.config._attn_implementation = implementation
    model.zero_grad()
    out = model(**batch, use_cache=False)
    out.loss.backward()
    return pick(out.logits).detach(), out.loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def compute(config, seed):
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().train()
    randomize(model, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    samples = [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in LENGTHS]
    samples[0][1] = samples[2][3] = 5  # one model's padding id, whose row takes no gradient

    flat = DataCollatorWithFlattening()([{"input_ids": sample.tolist()} for sample in samples])
    flat = {key: flat[key] for key in ("input_ids", "labels", "position_ids")}
    longest = max(LENGTHS)
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
    reference = {"input_ids": flat["input_ids"][0].to(torch.int32), "cu_seqlens": torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32),
                 "logits": logits, "loss": loss, **{f"grad.{name}": grad for name, grad in grads.items()}}
    half = transformers.AutoModelForCausalLM.from_config(config).eval()
    half.load_state_dict(model.state_dict())
    half.config._attn_implementation = "eager"
    with torch.no_grad():
        reference["logits_bf16"] = half.bfloat16()(**{key: flat[key] for key in ("input_ids", "position_ids")}).logits[0]
    return model, {key: value.contiguous() for key, value in reference.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    worst = 0.0
    for seed, (name, config, shard) in enumerate(models()):
        model, reference = compute(config, seed)
        if options.check:
            stored = load_file(HERE / name / "reference.safetensors")
            assert stored.keys() == reference.keys(), name
            worst = max(worst, *((stored[key].float() - reference[key].float()).abs().max().item() for key in reference))
            continue
        shutil.rmtree(HERE / name, ignore_errors=True)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
            (HERE / name).mkdir(parents=True)
            for file in sorted(pathlib.Path(folder).iterdir()):
                if file.name != "generation_config.json":
                    shutil.copyfile(file, HERE / name / file.name)
        text = json.loads((HERE / name / "config.json").read_text())
        (HERE / name / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
        save_file(reference, HERE / name / "reference.safetensors")
        print(f"{name}: loss {reference['loss'].item():.6f}, {sum(file.stat().st_size for file in (HERE / name).iterdir()) / 1024:.0f} KiB")
    if options.check:
        print(f"largest difference {worst:g}")
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
