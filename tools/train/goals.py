"""What a model is trained for, measured, as JSON on stdout and a line for each measurement on stderr.

    python goals.py --model runs/afia/checkpoint.pt --data prepared
    python goals.py --model ../../models/afia-5m --data prepared --only far --count 50

text    nats per byte of heldout.txt, under the model's own attention
far     share of facts that are said right 256, 512 and 1000 tokens behind their telling, and of pass keys
        told 1000 tokens before, under each of --modes (recall.py)
world   of continuations of held-out stories of the story world, 150 words long, the share that contradicts
        what was told (story_contradictions.py), at temperature 0 and 0.7
asked   share of questions about held-out stories whose key is said right (story_facts.py)
"""

import argparse
import dataclasses
import json
import pathlib
import random
import sys

import sentencepiece
import torch

import model as afia
from decode import generate
from evaluate import documents, score
from far_keys import NAMES, THINGS
from recall import attention_of
from story_contradictions import contradictions, cut_of

BACK = (256, 512, 1000)
FACTS, SEED = 8, 1_000_033
WORDS, TOKENS = 150, 230  # Of a continuation; words are what counts.
TEMPERATURES = (0, 0.7)


def report(name, value):
    print(f"{name}: {json.dumps(value)}", file=sys.stderr, flush=True)
    return value


def nested(value, digits=4):
    if isinstance(value, dict):
        return {k: nested(v) for k, v in value.items()}
    return round(value, digits) if isinstance(value, float) else value


class FarFacts:
    """Rows whose last tokens answer a question about what was told `back` tokens before."""

    def __init__(self, encode, stories, seed):
        self.encode, self.stories, self.random = encode, stories, random.Random(seed)

    def filler(self, count):
        ids = []
        while len(ids) < count:
            ids += self.random.choice(self.stories)[1:-1]
        return ids[:count]

    def told(self, kind):
        """(statement, question, answer) of each fact."""
        rng = self.random
        if kind == "pass key":
            key = str(rng.randrange(10000, 100000))
            return [(f"The pass key is {key}. Remember it: the pass key is {key}.",
                     "What is the pass key? The pass key is", key)]
        names, things = rng.sample(NAMES, FACTS), rng.sample(THINGS, FACTS)
        return [(f"{n} has a {t}.", f"{n} has a", t) for n, t in zip(names, things)]

    def row(self, kind, back):
        """ids, and how many of them, at the end, are the answer: it begins `back` tokens behind the
        place where it was told."""
        facts = self.told(kind)
        chosen = self.random.randrange(len(facts))
        statements = [self.encode(s) for s, _, _ in facts]
        question, answer = self.encode(facts[chosen][1]), self.encode(facts[chosen][2])
        statement = statements[chosen]
        place = next(i for i in range(len(statement) - len(answer), -1, -1)
                     if statement[i:i + len(answer)] == answer)
        behind = len(statement) - place + sum(map(len, statements[chosen + 1:])) + len(question)
        ids = [1] + sum(statements, []) + self.filler(back - behind) + question + answer
        return ids, len(answer)


@torch.no_grad()
def said_right(model, attention, ids, size):
    logits = model(torch.tensor([ids[:-1]]), attention, fast=True)[0, -size:]
    return logits.argmax(-1).tolist() == ids[-size:]


def far(model, attention, modes, pieces, stories, count):
    result = {}
    for mode in modes:
        how = attention_of(mode, attention)
        for kind, back in [("fact", b) for b in BACK] + [("pass key", BACK[-1])]:
            rows = FarFacts(pieces.encode, stories, SEED)
            right = sum(said_right(model, how, *rows.row(kind, back)) for _ in range(count))
            result.setdefault(mode, {})[f"{kind} {back}"] = report(f"{mode}, {kind} {back}", right / count)
    return result


def world(model, attention, pieces, stories, count):
    result, cut_stories = {}, [(s, at) for s in stories if (at := cut_of(s)) is not None][:count]
    for temperature in TEMPERATURES:
        wrong, kinds, told = 0, {}, []
        for number, (story, at) in enumerate(cut_stories):
            prompt = [1] + pieces.encode(story["story"][:at] + "\n\n")
            ids = generate(model, attention, prompt, TOKENS, temperature, seed=number)
            text = " ".join(pieces.decode(ids[len(prompt):]).split(" ")[:WORDS])
            found = contradictions(story, at, text)
            wrong += bool(found)
            for line in found:
                kinds[line.split(":")[0]] = kinds.get(line.split(":")[0], 0) + 1
            told.append({"prompt": story["story"][:at], "continuation": text, "contradictions": found})
        share = wrong / len(cut_stories)
        result[str(temperature)] = {"contradicting": report(f"contradicting at {temperature}", share),
                                    "by_rule": kinds, "continuations": told}
    return result


@torch.no_grad()
def asked(model, attention, pieces, stories, count):
    right = total = 0
    for story in stories[:count]:
        for fact in story["facts"]:
            key = story["text"][slice(*fact["key_answered"])]
            before = f"{story['story']}\n\n{fact['question']} {fact['answer'].rpartition(key)[0]}"
            ids = [1] + pieces.encode(before + key)
            size = len(ids) - 1 - len(pieces.encode(before.rstrip()))
            if len(ids) <= model.config.max_position_embeddings:
                right += said_right(model, attention, ids, size)
                total += 1
    return report("asked", right / total)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="of prepare.py")
    parser.add_argument("--only", default="text,far,world,asked")
    parser.add_argument("--modes", help="of far; default: exact,tree,newest, or own if it is no ALCCA")
    parser.add_argument("--count", type=int, default=100, help="rows, and stories, of each measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--continuations", action="store_true", help="write them out as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, attention = afia.load(args.model)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(args.data / "tokenizer.model"))
    stories = [json.loads(line) for line in (args.data / "heldout_world.jsonl").open()]
    modes = args.modes or ("exact,tree,newest" if attention.mode == "alcca" else "own")
    result, only = {"model": str(args.model), "attention": attention.mode, "count": args.count}, args.only.split(",")
    if "text" in only:
        own = score(model, attention, documents(args.data / "heldout.txt", pieces.encode), 512)
        result["text"] = report("text", {k: own[k] for k in ("nats_per_byte", "nats_per_token")})
    if "far" in only:
        held = [ids for ids, _ in documents(args.data / "heldout.txt", pieces.encode)]
        result["far"] = far(model, dataclasses.replace(attention, near=[]), modes.split(","), pieces, held, args.count)
    if "world" in only:
        result["world"] = world(model, attention, pieces, stories, args.count)
        if not args.continuations:
            for value in result["world"].values():
                del value["continuations"]
    if "asked" in only:
        result["asked"] = asked(model, attention, pieces, stories, args.count)
    print(json.dumps(nested(result), indent=1))


if __name__ == "__main__":
    main()
