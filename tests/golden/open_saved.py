"""Opens models that Varlen saved with transformers, and compares logits.

    python3 tests/golden/open_saved.py FOLDER ...

Each folder holds what SavePretrained wrote, and logits.safetensors: input_ids and cu_seqlens of sequences one after the other, and Varlen's
fp32 logits of every token. Prints the largest difference for each, relative to the largest logit; exits 1 when one is above 1e-4.
"""
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file


def difference(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = {key: sorted(map(str, report[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs") if report.get(key)}
    assert not wrong, f"{folder}: {wrong}"
    saved = load_file(pathlib.Path(folder) / "logits.safetensors")
    offsets = saved["cu_seqlens"].tolist()
    with torch.no_grad():
        logits = torch.cat([model.eval()(input_ids=saved["input_ids"][start:end].long()[None]).logits[0] for start, end in zip(offsets, offsets[1:])])
    return ((logits - saved["logits"]).abs().max() / logits.abs().max()).item(), type(model).__name__


def main():
    transformers.utils.logging.disable_progress_bar()
    worst = 0.0
    for folder in sys.argv[1:]:
        apart, name = difference(folder)
        worst = max(worst, apart)
        print(f"{pathlib.Path(folder).name}: {name}, logits {apart:.3g} apart")
    return 0 if worst <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
