"""Trains, or fine-tunes, on what prepare.py wrote. The schedule is in tokens, so that two runs
with the same --tokens, --seed and --init see the same text in the same steps.

    python train.py --data prepared --out runs/afia --tokens 20e6
    python train.py --data prepared --out runs/twin --tokens 20e6 --attention dense
    python train.py --data prepared --out runs/mine --tokens 2e6 --init ../../models/afia-5m --lr 0.3
    python train.py --data prepared --out runs/afia --tokens 20e6 --resume
    python train.py --data prepared --out runs/afia --tokens 100e6 --device cuda --batch-tokens 16384

Attention is ALCCA from the first step: 32 keys, then 16, then k. Writes checkpoint.pt (every three
minutes and at the end), log.csv and loss.png.
"""

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import random
import time

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F

import model as afia
from far_keys import KINDS, FarKeys

EOS, INST, END_INST = 2, 3, 4
BATCH_TOKENS = 4096
LONG_FROM, LONG, SHORT = 0.5, 1024, 512  # Sequence length, by share of the tokens.
FLAT_UNTIL = 0.35                        # Then the learning rate falls linearly to FLOOR.
FLOOR = 0.02
MUON_LR, ADAM_LR, WARMUP = 0.02, 4e-3, 50
# Documents of one epoch: every story, chat pair and simple book, and a share of all the others.
SHELF_SHARE = 0.25
FAR_SHARE = 0.2  # Of the rows.


def read_documents(path):
    flat = np.fromfile(path, dtype=np.uint16)
    ends = np.flatnonzero(flat == EOS) + 1
    return [d.astype(np.int64) for d in np.split(flat, ends) if len(d)]


def documents(bins, rng, shelf_share):
    while True:
        shelf = bins["shelf"]
        epoch = (bins["stories"] + bins["chat"] + bins["books"]
                 + rng.sample(shelf, int(len(shelf) * shelf_share)))
        rng.shuffle(epoch)
        yield from epoch


def asked(document):
    """True where the token belongs to what a user says: to be read, not to be learnt."""
    inside = np.cumsum(document == INST) > np.cumsum(document == END_INST)
    return inside | (document == END_INST)


class Batches:
    """Documents one after another, cut into rows, which begin anywhere, as <s> marks the starts;
    and among them rows of far_keys.py."""

    def __init__(self, folder, seed, far_share, far_kinds, shelf_share, batch_tokens):
        bins = {n: read_documents(folder / f"{n}.bin") for n in ("stories", "chat", "books", "shelf")}
        self.rng, self.far_share, self.batch_tokens = random.Random(seed), far_share, batch_tokens
        self.stream = documents(bins, random.Random(seed), shelf_share)
        self.buffer = np.zeros((2, 0), np.int64)  # Ids, and whether they are asked.
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self.far = FarKeys(pieces.encode, pieces.decode, bins["stories"][:800], seed, far_kinds)

    def text(self, need):
        parts, have = [self.buffer], self.buffer.shape[1]
        while have < need:
            document = next(self.stream)
            parts.append(np.stack([document, asked(document)]))
            have += len(document)
        flat = np.concatenate(parts, axis=1)
        self.buffer = flat[:, need:]
        return flat[:, :need]

    def next(self, length):
        """ids [rows, length + 1], weights [rows, length] of the predictions, is_text [rows]."""
        ids, weights, is_text = [], [], []
        for _ in range(self.batch_tokens // length):
            is_text.append(self.rng.random() >= self.far_share)
            if is_text[-1]:
                text, questions = torch.from_numpy(self.text(length + 1).copy())
                ids.append(text)
                weights.append(1.0 - questions[1:])
            else:
                row, weight = self.far.row(length)
                ids.append(torch.tensor(row))
                weights.append(torch.tensor(weight))
        return torch.stack(ids), torch.stack(weights), torch.tensor(is_text)


def draw(log, out):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    rows = list(csv.DictReader(open(log)))
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, label in (("loss", "text"), ("far", "answers that lie far back")):
        points = [(int(r["tokens"]) / 1e6, float(r[name])) for r in rows if r[name] != "nan"]
        axes.plot(*zip(*points), label=label)
    axes.set(xlabel="tokens seen (million)", ylabel="training loss (nats per token)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100, bbox_inches="tight")


def history(init):
    """What is known of the training that `init` had: its alcca.json's, or the checkpoint's own."""
    if init is None:
        return None
    if init.is_dir():
        return json.loads((init / "alcca.json").read_text()).get("_trained_with")
    c = torch.load(init, map_location="cpu")
    return {**c["attention"], "steps": c["step"], "tokens": c["tokens"], "after": c.get("after")}


def integers(text):
    return tuple(map(int, text.split(",")))


def shares(text):
    return {kind: float(share) for kind, share in (part.split("=") for part in text.split(","))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=float, required=True, help="to train on in all")
    parser.add_argument("--init", type=pathlib.Path, help="fine-tune this folder or checkpoint")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lr", type=float, default=1.0, help="factor on both learning rates")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--search", choices=("exact", "tree"), default="exact", help="of alcca")
    parser.add_argument("--tree-recent", type=int, default=6,
                        help="newest keys among the 11 that a query of the tree compares")
    parser.add_argument("--attention", choices=("alcca", "dense", "window"), default="alcca")
    parser.add_argument("--window", type=int, default=8, help="keys that --attention window sees")
    parser.add_argument("--far-share", type=float, default=FAR_SHARE, help="rows of far_keys.py")
    parser.add_argument("--far-kinds", type=shares, default=KINDS,
                        help="of those: KIND=SHARE,... of facts, twice, echo, pairs")
    parser.add_argument("--shelf-share", type=float, default=SHELF_SHARE,
                        help="of the documents of shelf.bin, in each epoch")
    parser.add_argument("--lengths", type=integers, default=(SHORT, LONG),
                        help="tokens of a row, in the first and in the second half")
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, help="of a step")
    parser.add_argument("--shape", type=integers, default=(6, 256),
                        help="LAYERS,HIDDEN of another model than afia-5m")
    parser.add_argument("--head-dim", type=int, default=32, help="of a model from nothing")
    parser.add_argument("--bf16", action="store_true", help="faster where the CPU has AMX only")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"),
                        help="cpu, or cuda: all but --search tree")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    attention = afia.Attention(args.attention, args.k, 0.0, args.epsilon, args.search,
                               tree_recent=args.tree_recent, window=args.window)
    attention.check(args.device)
    if args.init:
        model, given = afia.load(args.init)
        model.train()
        if args.attention == "alcca":
            attention.theta = given.theta
    else:
        model = afia.Mistral(afia.Config.of(*args.shape, args.head_dim))
    model.to(args.device)
    # Muon for the matrices, AdamW for the embedding and the norms.
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, momentum=0.95, weight_decay=0.01,
                            adjust_lr_fn="original")
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)

    after = history(args.init)
    checkpoint, log = args.out / "checkpoint.pt", args.out / "log.csv"
    step = tokens = 0
    seconds = 0.0  # Spent by earlier runs.
    if args.resume:
        c = torch.load(checkpoint, map_location=args.device)
        model.load_state_dict(c["model"])
        muon.load_state_dict(c["muon"])
        adam.load_state_dict(c["adam"])
        step, tokens, seconds, after = c["step"], c["tokens"], c["seconds"], c.get("after", after)
    else:
        log.write_text("step,tokens,seconds,loss,far\n")

    def save():
        part = checkpoint.with_suffix(".part")
        torch.save(dict(model=model.state_dict(), muon=muon.state_dict(), adam=adam.state_dict(),
                        config=dataclasses.asdict(model.config), step=step, tokens=tokens,
                        attention=dict(mode=attention.mode, k=args.k, theta=attention.theta,
                                       epsilon=args.epsilon, search=args.search,
                                       tree_recent=args.tree_recent, window=args.window),
                        after=after, seconds=spent()), part)
        os.replace(part, checkpoint)

    started = saved = time.monotonic()
    def spent():
        return seconds + time.monotonic() - started

    batches = Batches(args.data, args.seed + step, args.far_share, args.far_kinds, args.shelf_share,
                      args.batch_tokens)
    means = {"text": float("nan"), "far": float("nan")}

    def average(name, losses):
        if losses.numel():
            old, new = means[name], losses.mean().item()
            means[name] = new if old != old else 0.95 * old + 0.05 * new

    while (share := tokens / args.tokens) < 1:
        warm = args.init or args.attention != "alcca"  # No warm start from more keys.
        attention.k = args.k if warm or step >= 150 else max(args.k, 32 if step < 60 else 16)
        fall = 1 if share < FLAT_UNTIL else max(FLOOR, (1 - share) / (1 - FLAT_UNTIL))
        scale = args.lr * min(1, (step + 1) / WARMUP) * fall
        for optimizer, lr in ((muon, MUON_LR), (adam, ADAM_LR)):
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
        x, weight, is_text = (t.to(args.device) for t in batches.next(args.lengths[share > LONG_FROM]))
        with torch.autocast(args.device.type, dtype=torch.bfloat16, enabled=args.bf16):
            logits = model(x[:, :-1], attention, fast=True)  # Distances are float32 always.
        losses = F.cross_entropy(logits.float().flatten(0, 1), x[:, 1:].flatten(),
                                 reduction="none").view(weight.shape)
        ((losses * weight).sum() / weight.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        tokens += weight.numel()
        average("text", losses.detach()[is_text[:, None] & (weight > 0)])
        average("far", losses.detach()[weight > 1])
        if step % 10 == 0:
            with log.open("a") as f:
                f.write(f"{step},{tokens},{spent():.0f},{means['text']:.4f},{means['far']:.4f}\n")
            print(f"step {step}  {tokens:,} tokens  {spent():.0f} s  loss {means['text']:.3f}"
                  f"  far answers {means['far']:.3f}", flush=True)
        if time.monotonic() - saved > 180:
            save()
            saved = time.monotonic()
    attention.k = args.k
    save()
    draw(log, args.out / "loss.png")


if __name__ == "__main__":
    main()
