"""Fills the templates of the story world: who is a name and who is a pronoun, what is capital."""

import dataclasses
import functools
import re
import zlib

import story_scenes
from story_scenes import ANY
from story_templates import TEMPLATES

POOLS = {**TEMPLATES, **{f"{kind} weather": pool for kind, pool in story_scenes.WEATHER.items()},
         **{f"{kind} scene": pool for kind, pool in story_scenes.WEATHER_SCENES.items()},
         **{name.lower(): getattr(story_scenes, name)
            for name in ("OPEN", "FRIEND", "LIKES", "CLOSE", "ANYWHERE", "INDOORS", "OUTDOORS", "TOGETHER",
                         "EVENING", "NEXT_DAY")}}
HELD_SHARE = 8  # One template in so many, and one pair of a name and a noun, is never trained on.
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
CHOICE = re.compile(r"\[([^][]*)\]")
# Before a slot that begins a sentence; after a closing quote only a name does ('"Oh!" Mia said').
BEGINS = re.compile(r'(^|[.!?] |(^|[ ])")$')
AFTER_QUOTE = re.compile(r'[.!?]" $')


@functools.cache
def held_out(text):
    return zlib.crc32(text.encode()) % HELD_SHARE == 0


def with_article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


@dataclasses.dataclass(frozen=True)
class Person:
    name: str
    kind: str
    he: str
    trait: str = ""
    animal: bool = False
    grown: bool = False

    @property
    def key(self):
        return self.name.removeprefix("the ")

    def form(self, form):
        she = self.he == "she"
        body = {"hand": "paw", "hands": "paws", "finger": "paw", "fingers": "claws"}
        intro_kind = with_article(f"{self.trait} {self.kind}".strip())
        return {
            "": self.name, "s": self.name + "'s", "call": self.key,
            "he": self.he, "him": "her" if she else "him", "his": "her" if she else "his",
            "He": self.he.title(), "His": "Her" if she else "His", "own": "hers" if she else "his",
            "intro_kind": intro_kind,
            "intro": self.name if self.grown else f"{intro_kind} named {self.name}",
            **{word: paw if self.animal else word for word, paw in body.items()}}[form or ""]


@dataclasses.dataclass(frozen=True)
class Thing:
    noun: str
    key: str  # "red kite"

    def form(self, form):
        return {"": f"the {self.key}", "a": with_article(self.key), "my": self.key,
                "noun": self.noun}[form or ""]


@dataclasses.dataclass(frozen=True)
class Part:
    """Of what is made: "some flour", "an egg"."""
    text: str

    @property
    def key(self):
        return self.text.split(" ", 1)[1]

    def form(self, form):
        return {"": self.text, "bare": self.key}[form or ""]


@dataclasses.dataclass(frozen=True)
class Place:
    key: str  # "in the barn"

    def form(self, form):
        name = self.key.split(" ", 1)[1]
        return {"": self.key, "to": f"to {name}", "To": f"to {name}", "name": name}[form or ""]


def form_of(value, form):
    if isinstance(value, str):
        return value.rstrip(".") + "," if form == "comma" else value
    return value.form(form)


class Teller:
    """A story's text as it grows."""

    def __init__(self, rng, held_out):
        self.rng, self.held_out = rng, held_out
        self.text, self.used, self.lately = "", set(), []  # lately: people of the sentence before.

    def template(self, kind, fits=lambda template: True):
        """One that this story has not told yet, if there is one; held-out ones in held-out stories alone."""
        pool = [t for t in POOLS[kind] if fits(t)]
        fresh = [t for t in pool if t not in self.used and (self.held_out or not held_out(t))]
        fresh = fresh or [t for t in pool if not held_out(t)]
        unseen = [t for t in fresh if held_out(t)]
        chosen = self.rng.choice(unseen if unseen and self.rng.random() < 0.5 else fresh)
        self.used.add(chosen)
        return chosen

    def paragraph(self):
        if self.text and not self.text.endswith("\n\n"):
            self.text += "\n\n"
        self.lately = []

    def say(self, kind, *, lead="", named=False, fits=lambda template: True, **slots):
        """Appends a sentence or a few; returns where they begin and end. named: no pronoun for {A}."""
        template = self.template(kind, fits)
        if lead and re.match(r"\{[aA]\}", template):
            template = f"{lead} {template}"
        template = CHOICE.sub(lambda m: self.rng.choice(m.group(1).split("|")), template)
        template = re.sub(" (?=[ .])", "", template)  # About an empty choice.
        told = self.fill(template, slots, named)
        if self.text and not self.text.endswith("\n\n"):
            self.text += " "
        start = len(self.text)
        self.text += told
        values = [slots.get(name.lower()) for name, _ in SLOT.findall(template)]
        self.lately = list(dict.fromkeys(v for v in values if isinstance(v, Person)))
        return start, len(self.text)

    def fill(self, template, slots, named):
        out, end = "", 0
        for slot in SLOT.finditer(template):
            out += template[end:slot.start()]
            end = slot.end()
            name, form = slot.groups()
            if name == "A":
                form = "he" if not named and self.may_be_pronoun(slots["a"]) else None
            elif name == "p" and form is None and out.endswith(("went ", "came ")):
                form = "to"
            value = slots[name.lower()] if name.lower() in slots else self.rng.choice(ANY[name])
            value = form_of(value, form)
            after_quote = AFTER_QUOTE.search(out) and form not in ("he", "his", "him")
            if BEGINS.search(out) or after_quote:
                value = value[0].upper() + value[1:]
            out += value
        return out + template[end:]

    def may_be_pronoun(self, person):
        """Only where the sentence before was about nobody else who is a he or she like this one."""
        if not self.lately or self.lately[0] != person or self.rng.random() < 0.3:
            return False
        return all(p == person or p.he != person.he for p in self.lately)
