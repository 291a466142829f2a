"""What the peers share when `varlen bench` drives them: reading the workload, and one step for each line of the standard input."""
import json, os, struct, sys, time
import torch

TYPES = dict(float64=torch.float64, float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)
HALF = (torch.bfloat16, torch.float16)


class Workload:
    """workload.json of the exchange folder: sizes, device, and the token ids of every batch."""
    def __init__(self, folder):
        with open(os.path.join(folder, "workload.json")) as file: values = json.load(file)
        for name in ("device", "threads", "context", "layers", "width", "heads", "vocabulary", "reference", "lr", "batches"): setattr(self, name, values[name])
        self.folder, self.type, self.update = folder, TYPES[values["dtype"]], values["optimizer"]
        torch.set_num_threads(self.threads)

    def weights(self):
        """Tensors of model.safetensors by name."""
        with open(os.path.join(self.folder, "model.safetensors"), "rb") as file: data = bytearray(file.read())
        size = struct.unpack("<Q", data[:8])[0]
        tensors = {}
        for name, entry in json.loads(data[8:8 + size]).items():
            if name == "__metadata__": continue
            begin, end = entry["data_offsets"]
            kind = dict(F32=torch.float32, F64=torch.float64)[entry["dtype"]]
            tensors[name] = torch.frombuffer(data[8 + size + begin:8 + size + end], dtype=kind).view(entry["shape"]).clone()
        return tensors

    def prepare(self, model, mode):
        """Weights are in single precision at least; half precision is left to autocast."""
        return model.to(self.device, torch.float64 if self.type == torch.float64 else torch.float32).train(mode == "train")

    def autocast(self):
        return torch.autocast(self.device, self.type if self.type in HALF else torch.bfloat16, enabled=self.type in HALF)

    def optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=self.lr) if self.update == "sgd" else torch.optim.AdamW(model.parameters(), lr=self.lr)

    def stepper(self, model, mode, batches, loss_of):
        """A function that takes one step on the next batch: the loss alone, or loss, gradients and an update."""
        optimizer = self.optimizer(model) if mode == "train" else None
        turn = iter(range(1 << 62))

        def step():
            batch = batches[next(turn) % len(batches)]
            with torch.set_grad_enabled(optimizer is not None), self.autocast(): loss = loss_of(batch)
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True); loss.backward(); optimizer.step()
            return loss.detach()
        return step

    def variants(self, compiled=True):
        """torch.compile is timed on GPUs; on a CPU it needs a C++ compiler, and minutes."""
        return ["eager", "compile"] if self.device == "cuda" and compiled else ["eager"]


def serve(workload, variants, make):
    """Answers each line MODE:STRATEGY:VARIANT by taking a step of it; make(mode, strategy, variant) gives the function that does."""
    print(json.dumps(dict(framework=f"PyTorch {torch.__version__.split('+')[0]}", variants=variants)), flush=True)
    cases, held = {}, {}
    on_gpu = workload.device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    for line in sys.stdin:
        name = line.strip()
        try:
            before = torch.cuda.memory_allocated() if on_gpu else 0
            if name not in cases: cases[name], held[name] = make(*name.split(":")), 0
            if on_gpu: torch.cuda.reset_peak_memory_stats()
            wait(); start = time.perf_counter()
            loss = cases[name]()
            wait(); answer = dict(ms=(time.perf_counter() - start) * 1e3, loss=float(loss))
            # What the other cases hold is no part of this one's peak.
            if on_gpu:
                answer["peak_bytes"] = torch.cuda.max_memory_allocated() - before + held[name]
                held[name] += torch.cuda.memory_allocated() - before
        except Exception as error:
            text = str(error).strip().splitlines()
            answer = dict(error=f"{type(error).__name__}: {text[0][:200] if text else 'no message'}")
        print(json.dumps(answer), flush=True)
