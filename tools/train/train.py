"""Trains, or fine-tunes, on what prepare.py wrote. The schedule is in wall-clock time.

    python train.py --data prepared --out runs/afia --minutes 66
    python train.py --data prepared --out runs/mine --minutes 20 --init ../../models/afia-5m --lr 0.2
    python train.py --data prepared --out runs/afia --minutes 66 --resume

Attention is ALCCA from the first step: 32 keys, then 16, then k. Writes checkpoint.pt (every three
minutes and at the end), log.csv and loss.png.
"""

import argparse
import csv
import dataclasses
import os
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

import model as afia

EOS = 2
BATCH_TOKENS = 4096
LONG_FROM, LONG, SHORT = 0.75, 512, 256  # Sequence length, by share of the time spent.
FLAT_UNTIL = 0.35                        # Then the learning rate falls linearly to FLOOR.
FLOOR = 0.02
MUON_LR, ADAM_LR, WARMUP = 0.02, 4e-3, 50


def read_documents(path):
    flat = np.fromfile(path, dtype=np.uint16)
    ends = np.flatnonzero(flat == EOS) + 1
    return [d.astype(np.int64) for d in np.split(flat, ends) if len(d)]


def documents(folder, rng):
    """Endless: an epoch is the stories twice, the chat pairs once, and half of the books."""
    stories, books, chat = (read_documents(folder / f"{n}.bin") for n in ("stories", "books", "chat"))
    while True:
        epoch = stories + stories + chat + rng.sample(books, len(books) // 2)
        rng.shuffle(epoch)
        yield from epoch


class Batches:
    """Documents one after another, cut into rows; rows begin anywhere, as <s> marks the starts."""

    def __init__(self, folder, seed):
        self.stream, self.buffer = documents(folder, random.Random(seed)), np.zeros(0, np.int64)

    def next(self, length):
        rows = BATCH_TOKENS // length
        need = rows * (length + 1)
        parts, have = [self.buffer], len(self.buffer)
        while have < need:
            parts.append(next(self.stream))
            have += len(parts[-1])
        flat = np.concatenate(parts)
        self.buffer = flat[need:]
        return torch.from_numpy(flat[:need].copy()).view(rows, length + 1)


def draw(log, out):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    rows = list(csv.DictReader(open(log)))
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot([int(r["tokens"]) / 1e6 for r in rows], [float(r["loss"]) for r in rows])
    axes.set(xlabel="tokens seen (million)", ylabel="training loss (nats per token)")
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--init", type=pathlib.Path, help="fine-tune this folder or checkpoint")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lr", type=float, default=1.0, help="factor on both learning rates")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--dense", action="store_true", help="softmax instead, for comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    attention = afia.Attention("dense" if args.dense else "alcca", args.k, 0.0, args.epsilon)
    model = afia.load(args.init)[0].train() if args.init else afia.Mistral()
    # Muon for the matrices, AdamW for the embedding and the norms.
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, momentum=0.95, weight_decay=0.01,
                            adjust_lr_fn="original")
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)

    checkpoint, log = args.out / "checkpoint.pt", args.out / "log.csv"
    step = tokens = 0
    seconds = 0.0  # Spent by earlier runs.
    if args.resume:
        c = torch.load(checkpoint)
        model.load_state_dict(c["model"])
        muon.load_state_dict(c["muon"])
        adam.load_state_dict(c["adam"])
        step, tokens, seconds = c["step"], c["tokens"], c["seconds"]
    else:
        log.write_text("step,tokens,seconds,loss\n")

    def save():
        part = checkpoint.with_suffix(".part")
        torch.save(dict(model=model.state_dict(), muon=muon.state_dict(), adam=adam.state_dict(),
                        config=dataclasses.asdict(model.config), step=step, tokens=tokens,
                        attention=dict(mode=attention.mode, k=args.k, theta=0.0,
                                       epsilon=args.epsilon), seconds=spent()), part)
        os.replace(part, checkpoint)

    started = saved = time.monotonic()
    def spent():
        return seconds + time.monotonic() - started

    batches, mean = Batches(args.data, args.seed + step), None
    while (share := spent() / (60 * args.minutes)) < 1:
        warm = args.init or args.dense  # No warm start from more keys.
        attention.k = args.k if warm or step >= 150 else max(args.k, 32 if step < 60 else 16)
        fall = 1 if share < FLAT_UNTIL else max(FLOOR, (1 - share) / (1 - FLAT_UNTIL))
        scale = args.lr * min(1, (step + 1) / WARMUP) * fall
        for optimizer, lr in ((muon, MUON_LR), (adam, ADAM_LR)):
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
        x = batches.next(LONG if share > LONG_FROM else SHORT)
        with torch.autocast("cpu", dtype=torch.bfloat16):  # Distances stay float32.
            logits = model(x[:, :-1], attention, fast=True)
        loss = F.cross_entropy(logits.float().flatten(0, 1), x[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        tokens += x.numel()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if step % 10 == 0:
            with log.open("a") as f:
                f.write(f"{step},{tokens},{spent():.0f},{mean:.4f}\n")
            print(f"step {step}  {tokens:,} tokens  {spent():.0f} s  loss {mean:.3f}", flush=True)
        if time.monotonic() - saved > 180:
            save()
            saved = time.monotonic()
    attention.k = args.k
    save()
    draw(log, args.out / "loss.png")


if __name__ == "__main__":
    main()
