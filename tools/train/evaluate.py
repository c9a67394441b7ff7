"""Held-out loss of a model under ALCCA and under softmax, as JSON on stdout.

    python evaluate.py --model ../../models/afia-5m
    python evaluate.py --model runs/afia/checkpoint.pt --text prepared/heldout_6063.txt --theta 3

Documents are separated by <|endoftext|>; each is scored from <s> to </s> in windows of --length
tokens. Loss per byte counts the bytes of the text itself.
"""

import argparse
import json
import math
import pathlib

import sentencepiece
import torch
import torch.nn.functional as F

import model as afia
from decode import generate

HERE = pathlib.Path(__file__).parent


def documents(path, encode):
    for text in path.read_text(encoding="utf8").split("<|endoftext|>"):
        if text.strip():
            yield [1] + encode(text.strip()) + [2], len(text.strip().encode())


@torch.no_grad()
def score(model, attention, docs, length):
    nats = tokens = size = 0
    attention.near.clear()
    for ids, n in docs:
        size += n
        for i in range(0, len(ids) - 1, length):
            x = torch.tensor(ids[i:i + length + 1])
            logits = model(x[None, :-1], attention, fast=True)[0]
            nats += F.cross_entropy(logits, x[1:], reduction="sum").item()
            tokens += len(x) - 1
    result = {"nats_per_token": nats / tokens, "nats_per_byte": nats / size,
              "bits_per_byte": nats / size / math.log(2), "tokens": tokens, "bytes": size}
    if attention.near:
        result["near_share"] = sum(attention.near) / len(attention.near)
    return result


@torch.no_grad()
def distances(model, docs, length):
    """Quantiles, over layers and heads, of what ALCCA looks at: the nearest and the k-th key, c."""
    nearest, kth, centre = [], [], []
    reference = afia.alcca_attention

    def watch(q, k, v, a):
        T = q.shape[-2]
        d = torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist")
        d = d.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), math.inf)
        best = d.topk(a.k, largest=False).values[..., a.k:, :]
        nearest.append(best[..., 0].flatten())
        kth.append(best[..., -1].flatten())
        c = k.cumsum(-2) / torch.arange(1, T + 1)[:, None]
        centre.append((q - c).norm(dim=-1).flatten())
        return reference(q, k, v, a)

    afia.alcca_attention = watch
    for ids, _ in docs:
        model(torch.tensor([ids[:length]]), afia.Attention("alcca"))
    afia.alcca_attention = reference
    q = torch.tensor([0.01, 0.05, 0.1, 0.25, 0.5, 0.75])
    return {"quantiles": [round(x, 2) for x in q.tolist()],
            **{name: [round(x, 3) for x in torch.cat(rows)[::7].quantile(q).tolist()]
               for name, rows in (("nearest", nearest), ("kth", kth), ("centre", centre))}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=HERE / "../../models/afia-5m")
    parser.add_argument("--tokenizer", type=pathlib.Path,
                        default=HERE / "../../models/afia-5m/tokenizer.model")
    parser.add_argument("--text", type=pathlib.Path,
                        default=HERE / "../../models/afia-5m/heldout.txt")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--limit", type=int, help="only the first so many documents")
    parser.add_argument("--k", type=int)
    parser.add_argument("--theta", type=float)
    parser.add_argument("--distances", action="store_true")
    parser.add_argument("--sample", help="also continue this prompt, greedily and at 0.8")
    args = parser.parse_args()
    model, attention = afia.load(args.model)
    attention.mode = "alcca"  # Whatever it was trained with: both are scored.
    if args.k is not None:
        attention.k = args.k
    if args.theta is not None:
        attention.theta = args.theta
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.tokenizer))
    docs = list(documents(args.text, tokenizer.encode))[:args.limit]
    result = {"k": attention.k, "theta": attention.theta, "epsilon": attention.epsilon,
              "alcca": score(model, attention, docs, args.length),
              "dense": score(model, afia.Attention("dense"), docs, args.length)}
    if args.distances:
        result["distances"] = distances(model, docs[:20], args.length)
    if args.sample:
        ids = [1] + tokenizer.encode(args.sample)
        result["samples"] = [tokenizer.decode(generate(model, attention, ids, 200, t))
                             for t in (0, 0.8)]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
