"""What ladder.py and train.py share: a model with its two optimizers, its checkpoint and its log."""

import dataclasses
import json
import os
import signal
import time

import torch
import torch.nn.functional as F

import kernels
import model as afia

ADAM_LR, WARMUP = 3e-3, 100
SAVE_SECONDS = 300


def add_options(parser):
    parser.add_argument("--attention", choices=("alcca", "dense", "window"), default="alcca")
    parser.add_argument("--resume", action="store_true", help="go on from OUT's checkpoint, if it has one")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="of a step")
    parser.add_argument("--bf16", action="store_true", help="products in bf16: for GPUs, and CPUs with AMX")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


class Run:
    """Steps of one model. What must outlive an interruption is in checkpoint.pt: the weights, the
    optimizers, and the caller's own `state`."""

    def __init__(self, out, model, attention, muon_lr, bf16=False, device=torch.device("cpu")):
        self.out, self.model, self.attention = out, model.to(device), attention
        self.bf16, self.device, self.muon_lr = bf16, device, muon_lr
        self.step = self.tokens = 0
        self.seconds, self.state, self.after = 0.0, {}, None
        # Muon for the matrices, AdamW for the embedding and the norms.
        matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
        self.muon = torch.optim.Muon(matrices, lr=muon_lr, momentum=0.95, weight_decay=0.01,
                                     adjust_lr_fn="original")
        self.adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)
        self.checkpoint, self.log_path = out / "checkpoint.pt", out / "log.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        self.started = self.saved = time.monotonic()
        self.stopping = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        """The step that is being computed is the last; learn() saves it."""
        self.stopping = True

    def resume(self):
        """True if there was something to go on from."""
        if not self.checkpoint.exists():
            return False
        c = torch.load(self.checkpoint, map_location=self.device)
        self.model.load_state_dict(c["model"])
        self.muon.load_state_dict(c["muon"])
        self.adam.load_state_dict(c["adam"])
        self.step, self.tokens, self.after, self.state = c["step"], c["tokens"], c["after"], c["state"]
        self.seconds = c["seconds"]
        return True

    def spent(self):
        return self.seconds + time.monotonic() - self.started

    def predict(self, ids, at=None):
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return self.model(ids, self.attention, True, at).float()  # Distances are float32 always.

    def losses(self, ids, target):
        """Of each prediction, [rows, length]. On a CPU the logits do not outlive the gradient."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits = self.model(ids, self.attention, True).flatten(0, 1)
        if self.device.type == "cpu":
            losses = kernels.CrossEntropy.apply(logits, target.flatten())
        else:
            losses = F.cross_entropy(logits.float(), target.flatten(), reduction="none")
        return losses.view(target.shape)

    def learn(self, loss, tokens, rate=1.0):
        """One step down `loss`; rate: of both learning rates, after the warm-up's share."""
        rate *= min(1, (self.step + 1) / WARMUP)
        for optimizer, lr in ((self.muon, self.muon_lr), (self.adam, ADAM_LR)):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += tokens
        if self.stopping or time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()
        if self.stopping:
            raise SystemExit(128 + signal.SIGTERM)

    def save(self):
        attention = {k: v for k, v in dataclasses.asdict(self.attention).items() if k != "near"}
        part = self.checkpoint.with_suffix(".part")
        torch.save(dict(model=self.model.state_dict(), muon=self.muon.state_dict(),
                        adam=self.adam.state_dict(), config=dataclasses.asdict(self.model.config),
                        attention=attention, step=self.step, tokens=self.tokens, after=self.after,
                        state=self.state, seconds=self.spent()), part)
        os.replace(part, self.checkpoint)
        self.saved = time.monotonic()

    def log(self, **values):
        line = json.dumps({"step": self.step, "tokens": self.tokens, "seconds": round(self.spent()),
                           **rounded(values)})
        with self.log_path.open("a") as f:
            f.write(line + "\n")
        print(line, flush=True)


class Mean:
    """A running mean of what was added, the newest weighing most."""

    def __init__(self):
        self.count, self.value = 0, 0.0

    def add(self, values):
        if values.numel():
            self.count += 1
            self.value += (values.float().mean().item() - self.value) * max(0.05, 1 / self.count)


def parse_and_seed(parser):
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args
