"""Trains, or fine-tunes, on what prepare.py wrote. The schedule is in tokens, so that two runs with
the same --tokens and --seed see the same text in the same steps, however often they are interrupted.

    python train.py --data prepared --out runs/afia --init runs/ladder/checkpoint.pt --tokens 100e6
    python train.py --data prepared --out runs/mine --init ../../models/afia-5m --tokens 2e6 --lr 0.3
    python train.py --data prepared --out runs/tree --init runs/afia/checkpoint.pt --tokens 3e6 \
        --search tree --lr 0.1
    python train.py --data prepared --out runs/afia --tokens 100e6 --resume

Rows of far keys come first and are never left out: four of five rows at the start, and fewer by degrees.
Writes checkpoint.pt (every five minutes and at the end), log.jsonl and loss.png.
"""

import argparse
import json
import pathlib
import random
import time

import numpy as np
import sentencepiece
import torch

import grow
import model as afia
import training
from far_keys import KINDS, FarKeys

BOS, INST, END_INST = 1, 3, 4
# Of the tokens of text, by prepare.py's files.
SHARES = {"stories": 0.35, "chat": 0.12, "books": 0.08, "world": 0.45}
FAR_FIRST, FAR_LAST, FAR_TOKENS = 0.8, 0.1, 5e6  # Shares of the rows, and tokens from one to the other.
LONG_FROM, LONG, SHORT, LONG_EVERY = 0.5, 1024, 512, 4  # Row lengths; from that share on, long alone.
FLAT_UNTIL, FLOOR = 0.35, 0.02           # The learning rate: flat, then falling linearly to its floor.
MUON_LR = 0.01
LOG_STEPS, RECALL_STEPS, RECALL_ROWS = 25, 250, 8
AHEAD = 2e6  # Tokens that a run may be ahead of the one --beside it.
RECALL_SEED = 1_000_003  # Not one that trains.


def read_documents(path):
    flat = np.fromfile(path, dtype=np.uint16)
    starts = np.flatnonzero(flat == BOS)
    return [d.astype(np.int64) for d in np.split(flat, starts) if len(d)]


def endless(documents, rng):
    while True:
        yield from rng.sample(documents, len(documents))


def asked(document):
    """True where the token belongs to what a user says: to be read, not to be learnt."""
    inside = np.cumsum(document == INST) > np.cumsum(document == END_INST)
    return inside | (document == END_INST)


def far_share(tokens):
    return max(FAR_LAST, FAR_FIRST - (FAR_FIRST - FAR_LAST) * tokens / FAR_TOKENS)


def row_length(step, share):
    return LONG if share > LONG_FROM or step % LONG_EVERY == LONG_EVERY - 1 else SHORT


class Batches:
    """Documents one after another, cut into rows, which begin anywhere, as <s> marks the starts;
    and among them rows of far_keys.py. A step's rows depend on the seed and the step alone."""

    def __init__(self, folder, seed, total, batch_tokens):
        bins = {name: read_documents(folder / f"{name}.bin") for name in SHARES}
        self.seed, self.total, self.batch_tokens = seed, total, batch_tokens
        self.step = self.tokens = 0
        self.rng = random.Random(seed)
        self.streams = [endless(documents, self.rng) for documents in bins.values()]
        self.odds = [share / np.mean([len(d) for d in bins[name]]) for name, share in SHARES.items()]
        self.buffer = np.zeros((2, 0), np.int64)  # Ids, and whether they are asked.
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self.far = FarKeys(pieces.encode, pieces.decode, bins["stories"][:800], seed)

    def text(self, need):
        parts, have = [self.buffer], self.buffer.shape[1]
        while have < need:
            document = next(self.rng.choices(self.streams, self.odds)[0])
            parts.append(np.stack([document, asked(document)]))
            have += len(document)
        flat = np.concatenate(parts, axis=1)
        self.buffer = flat[:, need:]
        return flat[:, :need]

    def next_shape(self):
        """Tokens of a row, and for each row of the step whether it is text."""
        length = row_length(self.step, self.tokens / self.total)
        rng = random.Random(f"{self.seed} {self.step}")
        self.far.random = rng
        is_text = [rng.random() >= far_share(self.tokens) for _ in range(self.batch_tokens // length)]
        self.step += 1
        self.tokens += length * len(is_text)
        return length, is_text

    def skip(self, steps):
        """What an earlier run has seen."""
        for _ in range(steps):
            length, is_text = self.next_shape()
            self.text((length + 1) * sum(is_text))

    def next(self):
        """ids [rows, length + 1], weights [rows, length] of the predictions, is_text [rows]."""
        length, is_text = self.next_shape()
        ids, weights = [], []
        for text in is_text:
            if text:
                row, questions = torch.from_numpy(self.text(length + 1).copy())
                weight = 1.0 - questions[1:]
            else:
                row, weight = map(torch.tensor, self.far.row(length))
            ids.append(row)
            weights.append(weight)
        return torch.stack(ids), torch.stack(weights), torch.tensor(is_text)


@torch.no_grad()
def recall(run, far, length=LONG):
    """Of rows that did not train: the share of far answers that are said right, by kind."""
    far.random, right = random.Random(RECALL_SEED), {}
    for kind in KINDS:
        rows = [getattr(far, kind)(length) for _ in range(RECALL_ROWS)]
        ids = torch.tensor([r for r, _ in rows], device=run.device)
        far_answers = torch.tensor([w for _, w in rows], device=run.device) > 1
        said = run.predict(ids[:, :-1], far_answers).argmax(-1)
        right[kind] = (said == ids[:, 1:][far_answers]).float().mean().item()
    return right


def draw(log, out):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    rows = [r for line in log.open() if "loss" in (r := json.loads(line))]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, label in (("loss", "text"), ("far", "answers that lie far back")):
        axes.plot([r["tokens"] / 1e6 for r in rows], [r[name] for r in rows], label=label)
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


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=float, required=True, help="to train on in all")
    parser.add_argument("--init", type=pathlib.Path, help="go on from this folder or checkpoint")
    parser.add_argument("--lr", type=float, default=1.0, help="factor on both learning rates")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--search", choices=("exact", "tree"), default="exact", help="of alcca")
    parser.add_argument("--tree-recent", type=int, default=6,
                        help="newest keys among the 11 that a query of the tree compares")
    parser.add_argument("--window", type=int, default=8, help="keys that --attention window sees")
    parser.add_argument("--shape", type=integers, default=(6, 256),
                        help="LAYERS,HIDDEN of another model than afia-5m; what --init gives grows to it")
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--beside", type=pathlib.Path,
                        help="OUT of another run: wait for it, so that both advance together")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"),
                        help="cpu, or cuda: all but --search tree")
    training.add_options(parser)
    return training.parse_and_seed(parser)


def start(args):
    """The run, as it was left or from its beginning."""
    attention = afia.Attention(args.attention, args.k, 0.0, args.epsilon, args.search,
                               tree_recent=args.tree_recent, window=args.window)
    attention.check(args.device)
    if args.init:
        model, given = afia.load(args.init)
        wanted = afia.Config.of(*args.shape, args.head_dim)
        model = (model if model.config == wanted else grow.grow(model, wanted)).train()
        if args.attention == "alcca":
            attention.theta = given.theta
    else:
        model = afia.Mistral(afia.Config.of(*args.shape, args.head_dim))
    run = training.Run(args.out, model, attention, MUON_LR, args.bf16, args.device)
    run.after = history(args.init)
    if args.resume:
        run.resume()
    return run


def wait_for(other, tokens, total):
    """Until the run in `other` is near enough, or has all of its tokens."""
    while True:
        log = other / "log.jsonl"
        seen = json.loads(log.read_text().splitlines()[-1])["tokens"] if log.exists() else 0
        if min(tokens - AHEAD, total) <= seen:
            return
        time.sleep(10)


def main():
    args = options()
    run = start(args)
    batches = Batches(args.data, args.seed, args.tokens, args.batch_tokens)
    batches.skip(run.step)
    text, far = training.Mean(), training.Mean()
    while (share := run.tokens / args.tokens) < 1:
        x, weight, is_text = (t.to(run.device) for t in batches.next())
        losses = run.losses(x[:, :-1], x[:, 1:])
        fall = 1 if share < FLAT_UNTIL else max(FLOOR, (1 - share) / (1 - FLAT_UNTIL))
        run.learn((losses * weight).sum() / weight.sum(), weight.numel(), args.lr * fall)
        text.add(losses.detach()[is_text[:, None] & (weight > 0)])
        far.add(losses.detach()[weight > 1])
        if run.step % LOG_STEPS == 0:
            run.log(phase="language", loss=text.value, far=far.value)
        if run.step % RECALL_STEPS == 0:
            run.log(phase="language", recall=recall(run, batches.far))
        if args.beside and run.step % LOG_STEPS == 0:
            wait_for(args.beside, run.tokens, args.tokens)
    run.save()
    draw(run.log_path, args.out / "loss.png")


if __name__ == "__main__":
    main()
