"""Teaches a model from nothing to fetch far keys, before it sees language: train.py --init goes on.

    python ladder.py --out runs/ladder
    python ladder.py --out runs/ladder-dense --attention dense

Rows are pairs of a key and a value, filler, and questions: a key again, whose value is to be said.
The formula learns nothing from rows that are hard at once; it learns them by a ladder, each rung left
at 90 % of answers right, and beginning as softmax, which ALCCA replaces by degrees on the same queries
and keys. The last rungs mix distances: a model that sees the longest alone forgets the shorter.
"""

import argparse
import dataclasses
import pathlib

import torch
import torch.nn.functional as F

import model as afia
import training
from far_keys import ASKED, FIRST_PIECE, NAMES_OF_PAIRS, PAIRS

FILLER = range(10, 60)  # Single bytes, which text seldom has.
# Of the model that climbs: heads as afia-5m's, and a key head for each query head. The final norm's
# weight begins small, so that logits do.
SHAPE = afia.Config(hidden_size=128, intermediate_size=352, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=4)
FINAL_NORM = 0.35
BATCH_TOKENS, MUON_LR = 2048, 0.005
LEAVE, LEAVE_STEPS = 0.9, 20  # Share of right answers, as a running mean, after so many steps.


@dataclasses.dataclass(frozen=True)
class Rung:
    pairs: int
    names: int      # That keys are drawn from, and as many values.
    filler: tuple   # Fewest and most tokens between the pairs and the questions.
    asked: int
    softmax: float  # Its share, the rest is ALCCA.

    def rows(self, batch_tokens, generator):
        """ids [rows, n], and where a value is what comes next."""
        low, high = self.filler
        filler = int(low + (high - low) * torch.rand(1, generator=generator).item() ** 2)
        count = max(1, batch_tokens // (2 * self.pairs + filler + 2 * self.asked))
        keys = torch.rand(count, self.names, generator=generator).argsort(1)[:, :self.pairs]
        keys = FIRST_PIECE + 2 * keys
        values = torch.randint(self.names, (count, self.pairs), generator=generator)
        values = FIRST_PIECE + 1 + 2 * values
        between = torch.randint(FILLER.start, FILLER.stop, (count, filler), generator=generator)
        # One may be asked again: if none is, those left over can be guessed without looking back.
        order = torch.randint(self.pairs, (count, self.asked), generator=generator)
        told = torch.stack([keys, values], 2).flatten(1)
        asked = torch.stack([keys.gather(1, order), values.gather(1, order)], 2).flatten(1)
        ids = torch.cat([told, between, asked], 1)
        at = torch.zeros_like(ids, dtype=torch.bool)
        at[:, -2 * self.asked::2] = True
        return ids, at


LADDER = [
    Rung(4, 32, (0, 0), 12, 1.0),
    Rung(6, 128, (0, 0), 12, 0.7),
    Rung(8, 512, (8, 8), 12, 0.4),
    Rung(16, NAMES_OF_PAIRS, (16, 16), ASKED, 0.2),
    Rung(PAIRS, NAMES_OF_PAIRS, (64, 64), ASKED, 0.0),
    Rung(PAIRS, NAMES_OF_PAIRS, (0, 256), ASKED, 0.0),
    Rung(PAIRS, NAMES_OF_PAIRS, (0, 960), ASKED, 0.0),
]


def answer(run, ids, at):
    """Logits where values are asked for, and the values."""
    return run.predict(ids, at), ids[at.roll(1, 1)]


@torch.no_grad()
def recall(run, generator, fillers=(64, 256, 512, 960)):
    """Share of right answers behind each filler."""
    right = {}
    for filler in fillers:
        rung = dataclasses.replace(LADDER[-1], filler=(filler, filler))
        logits, values = answer(run, *rung.rows(8192, generator))
        right[filler] = (logits.argmax(-1) == values).float().mean().item()
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    training.add_options(parser)
    parser.set_defaults(batch_tokens=BATCH_TOKENS)
    args = training.parse_and_seed(parser)
    model = afia.Mistral(SHAPE)
    torch.nn.init.constant_(model.model.norm.weight, FINAL_NORM)
    run = training.Run(args.out, model, afia.Attention(args.attention), MUON_LR, args.bf16)
    run.state = {"rung": 0}
    if args.resume:
        run.resume()
    generator = torch.Generator().manual_seed(args.seed + 1 + run.step)
    right = training.Mean()
    while run.state["rung"] < len(LADDER):
        rung = LADDER[run.state["rung"]]
        run.attention.softmax = rung.softmax
        ids, at = rung.rows(args.batch_tokens, generator)
        logits, values = answer(run, ids, at)
        right.add(logits.argmax(-1) == values)
        loss = F.cross_entropy(logits, values)
        run.learn(loss, ids.numel())
        if run.step % 25 == 0:
            run.log(phase="ladder", rung=run.state["rung"], loss=loss.item(), recall=right.value)
        if right.value > LEAVE and right.count > LEAVE_STEPS:
            run.log(phase="ladder", rung=run.state["rung"], left_at=right.value)
            run.state["rung"] += 1
            run.save()
            right = training.Mean()
    run.attention.softmax = 0.0
    run.save()
    run.log(phase="ladder", recall=recall(run, generator))


if __name__ == "__main__":
    main()
