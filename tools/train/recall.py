"""How well a model fetches far keys: rows of far_keys.py with another seed, and of their answers the
share that the model says first, by the distance back to the same question's last answer.

    python recall.py --model runs/afia/checkpoint.pt --data prepared --kind pairs --length 512

Each --modes is scored on the same weights: `own` is the attention that the model was trained with,
`newest` ALCCA's kernel over the tree's budget of newest keys alone.
"""

import argparse
import collections
import dataclasses
import pathlib

import sentencepiece
import torch

import model as afia
from far_keys import KINDS, FarKeys
from train import RECALL_SEED, read_documents

EDGES = (64, 128, 256, 512, 1024)


def attention_of(name, own):
    if name == "own":
        return own
    if name in ("dense", "window"):
        return dataclasses.replace(own, mode=name)
    changes = {"exact": dict(search="exact"), "tree": dict(search="tree"),
               "newest": dict(search="tree", tree_recent=own.tree_distances)}[name]
    return dataclasses.replace(own, mode="alcca", **changes)


def last_answers(ids):
    """For each position, how far back the token at it was last followed by its successor; 0: never."""
    last, back = {}, [0] * (len(ids) - 1)
    for i in range(len(ids) - 1):
        pair = (ids[i], ids[i + 1])
        back[i] = i - last[pair] if pair in last else 0
        last[pair] = i
    return back


@torch.no_grad()
def score(model, attention, rows):
    """{upper edge of the distance: [right, asked]}"""
    counts = collections.defaultdict(lambda: [0, 0])
    for ids, weights in rows:
        said = model(torch.tensor([ids[:-1]]), attention, fast=True)[0].argmax(-1).tolist()
        for i, back in enumerate(last_answers(ids)):
            if weights[i] > 1 and back:
                bucket = counts[next((e for e in EDGES if back <= e), EDGES[-1])]
                bucket[0] += said[i] == ids[i + 1]
                bucket[1] += 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="of prepare.py")
    parser.add_argument("--kind", default="pairs", choices=KINDS)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--modes", default="own")
    args = parser.parse_args()
    model, own = afia.load(args.model)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(args.data / "tokenizer.model"))
    far = FarKeys(pieces.encode, pieces.decode, read_documents(args.data / "stories.bin")[:800], RECALL_SEED)
    rows = [getattr(far, args.kind)(args.length) for _ in range(args.rows)]
    for name in args.modes.split(","):
        counts = score(model, attention_of(name, own), rows)
        right, asked = (sum(c[i] for c in counts.values()) for i in (0, 1))
        print(f"{name}: {100 * right / asked:.1f} % of {asked} answers; by distance "
              + ", ".join(f"to {e}: {100 * counts[e][0] / counts[e][1]:.0f} %"
                          for e in EDGES if counts[e][1]), flush=True)


if __name__ == "__main__":
    main()
