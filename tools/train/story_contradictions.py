"""What a continuation of a told story says against what was told, by rules that leave the doubtful alone.

    python story_contradictions.py < stories.jsonl    # lines with story, events, cut, continuation

- kind: somebody is another animal than before, or a boy is a girl ("Dot the cat", "a cat named Dot").
- holder: who did not have a thing has it, and nothing was said about it in between.
- spot: a thing lies somewhere else, and nothing was said about it in between.
- thing: "the" thing has a color that no such thing had.
- stranger: a name that was not told acts, and is not introduced soon.
- self: somebody acts on himself as on another ("The rabbit hopped on the rabbit").
"""

import json
import re
import sys

import story_words as words

ANIMALS = sorted({a for animals, _ in words.SETTINGS.values() for a in animals}, key=len, reverse=True)
KINDS = ["boy", "girl", *ANIMALS, "bunny", "puppy", "lion", "elephant", "monkey", "fish", "bee", "horse"]
SPOTS = sorted({s for _, places in words.SETTINGS.values() for spots in places.values() for s in spots},
               key=len, reverse=True)
NAMES = {*words.GIRLS, *words.BOYS, *words.ANIMAL_NAMES_SHE, *words.ANIMAL_NAMES_HE}
SAID_OF_THINGS = {*words.COLORS, *(said for things in words.THINGS.values() for said in things)}
KIND = "|".join(KINDS)
SOON = 250  # Characters in which who is new is introduced.
SENTENCE = re.compile(r"[^.!?\n]+[.!?]*\"?")


def state(story, cut):
    """What is true at `cut`, an offset into the story: kinds of names, holders and spots of things."""
    kinds, holder, spot, things = {}, {}, {}, set()
    for e in story["events"]:
        if e["end"] > cut:
            break
        told = story["story"][e["start"]:e["end"]]
        if e["kind"] == "kind":
            said = set(re.findall(rf"\b({KIND})\b", told))
            if len(said) == 1:
                kinds[e["who"]] = said.pop()
        elif e["kind"] in ("has", "find"):
            holder[e["thing"]] = e["to"] if e["kind"] == "has" else e["who"]
            spot.pop(e["thing"], None)
        elif e["kind"] == "put":
            spot[e["thing"]] = e["spot"]
            holder.pop(e["thing"], None)
        things |= {e["thing"]} if "thing" in e else set()
    return kinds, holder, spot, things


def of_kinds(sentence, kinds):
    for name, kind in kinds.items():
        said = re.search(rf"\b({KIND})\b,? (?:named|called) {name}\b", sentence) \
            or re.search(rf"\b{name},? (?:(?:is|was) an?|the) (?:\w+ ){{0,2}}?({KIND})\b", sentence)
        if said and said[1] != kind:
            yield f"kind: {name} is a {kind}, not a {said[1]}"


def of_things(sentence, holder, spot, mentioned):
    for thing, name in holder.items():
        if thing not in mentioned and "Now " not in sentence:  # Which begins the end of a trade.
            said = re.search(rf"\b([A-Z]\w+) (?:still )?(?:has|had|held|owned) (?:the|his|her) {thing}\b", sentence)
            if said and said[1] in NAMES and said[1] != name:
                yield f"holder: {name} has the {thing}, not {said[1]}"
    for thing, place in spot.items():
        if thing not in mentioned:
            said = re.search(rf"\b{thing} (?:is|was|lay|sat) (?:still )?({'|'.join(SPOTS)})\b", sentence)
            if said and said[1] != place:
                yield f"spot: the {thing} is {place}, not {said[1]}"


def of_colors(sentence, things, known):
    """known: all that was said before, in which another of the same noun may have come."""
    nouns = {t.split()[-1] for t in things if t.split()[-1] in words.THINGS}
    for said in re.finditer(rf"\bthe (\w+) ({'|'.join(sorted(nouns)) or '$'})\b", sentence):
        if said[1] in SAID_OF_THINGS and f"{said[1]} {said[2]}" not in known:
            yield f"thing: nobody told of a {said[1]} {said[2]}"


def strangers(text, told):
    for name in sorted(NAMES):
        first = re.search(rf"\b{name}\b", text)
        if not first or re.search(rf"\b{name}\b", told) or first.start() > len(text) - SOON:
            continue
        if not re.search(rf"(?:named|called|name was|it was|of) {name}\b|\b{name} (?:is|was) an? ", text):
            yield f"stranger: nobody told who {name} is"


def on_itself(sentence, kinds):
    who = "|".join([*kinds, *(f"[Tt]he {k}" for k in KINDS)])
    said = re.search(rf"\b({who})\b(?:(?! and| or| but|[,;:\"]) \w+){{1,3}} ({who})\b(?!'s)", sentence)
    if said and said[1].lower() == said[2].lower():
        yield f"self: {said[0]}"


def contradictions(story, cut, continuation):
    """One line for each, in order."""
    kinds, holder, spot, things = state(story, cut)
    told = story["story"][:cut]
    found, known, mentioned = [], told, set()
    for sentence in SENTENCE.findall(continuation):
        found += of_kinds(sentence, kinds)
        found += of_things(sentence, holder, spot, mentioned)
        found += of_colors(sentence, things, known)
        found += on_itself(sentence, kinds)
        mentioned |= {t for t in things if t.split()[-1] in sentence}
        known += sentence
    return found + list(strangers(continuation, told))


def cut_of(story, low=0.35):
    """Where a paragraph ends behind a good part of the story; None if all is told by then."""
    ends = [m.start() for m in re.finditer("\n\n", story["story"])]
    return next((at for at in ends if at > low * len(story["story"])), None)


def main():
    for line in sys.stdin:
        story = json.loads(line)
        for found in contradictions(story, story["cut"], story["continuation"]):
            print(found)


if __name__ == "__main__":
    main()
