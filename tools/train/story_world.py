"""The story world: small stories for small children, without end, in which who has what, who is where,
and what was hidden or promised is simulated while it is told, so that it can be asked exactly.

    python story_world.py --seed 1 --count 3 --kind questions
    python story_world.py --seed 1 --count 1000 --held-out --kind chat --json

Kinds are a plain story, a story with questions and answers behind it, and a chat of such turns. A
held-out story has templates, and a hero with a thing, that no other story ever has. --json writes a
line a story, with its events and its facts: question, answer, and for each the offsets in the text of
what told it, of the key in there, and of the key in the answer.
"""

import argparse
import json
import random

import story_facts
import story_plots
import story_words as words
from story_teller import Person, Place, Teller, Thing, held_out, with_article

KINDS = ("plain", "questions", "chat")


class World:
    """What is true. Every event that is told changes it."""

    def __init__(self):
        self.holder, self.spot, self.place, self.events = {}, {}, {}, []

    def apply(self, kind, span, **event):
        self.events.append({"kind": kind, "start": span[0], "end": span[1], **event})
        if kind in ("has", "find"):
            self.holder[event["thing"]] = event["to"] if kind == "has" else event["who"]
            self.spot.pop(event["thing"], None)
        elif kind == "put":
            self.spot[event["thing"]] = event["spot"]
            self.holder.pop(event["thing"], None)
        elif kind == "at":
            self.place[event["who"]] = event["place"]

    def last(self, thing):
        return next(e for e in reversed(self.events) if e.get("thing") == thing)

    def last_at(self, who):
        return next(e for e in reversed(self.events) if e["kind"] == "at" and e["who"] is who)


class Story:
    """A cast, a setting, and the verbs that story_plots.py tells stories with."""

    def __init__(self, rng, held_out):
        self.rng, self.held_out = rng, held_out
        self.world, self.teller = World(), Teller(rng, held_out)
        self.where = rng.choice(list(words.SETTINGS))
        animals, places = words.SETTINGS[self.where]
        self.spots = {Place(p): rng.sample(s, len(s)) for p, s in places.items()}
        self.places = rng.sample(list(self.spots), len(self.spots))
        self.weather = rng.choice(list(story_plots.WEATHER))
        self.pace = rng.choice((0, 1, 1, 2, 2, 3, 4))  # Small scenes in a pause.
        kinds = rng.sample(animals, 4)
        self.cast = [self.person(None if rng.random() < 0.55 else kinds[0])]
        other = "he" if self.cast[0].he == "she" else "she"
        self.cast.append(self.person(kinds[1] if rng.random() < 0.6 else None,
                                     other if rng.random() < 0.8 else self.cast[0].he))
        self.cast += [self.person(kinds[2]), self.person(kinds[3])]
        self.hero, self.friend = self.cast[:2]
        self.grown_ups = [Person(*g, grown=True) for g in rng.sample(words.GROWN_UPS, 3)]
        self.nouns = self.allowed_nouns()

    def person(self, animal, he=None):
        he = he or self.rng.choice(("he", "she"))
        taken = [p.name for p in getattr(self, "cast", [])]
        if animal:
            names = words.ANIMAL_NAMES_HE if he == "he" else words.ANIMAL_NAMES_SHE
            trait = self.rng.choice(words.ANIMAL_TRAITS)
        else:
            names, trait = (words.BOYS if he == "he" else words.GIRLS), self.rng.choice(words.CHILD_TRAITS)
        name = self.rng.choice([n for n in names if n not in taken])
        return Person(name, animal or ("boy" if he == "he" else "girl"), he, trait, animal=bool(animal))

    def allowed_nouns(self):
        """In this story; the first is the hero's own, and with the hero's name held out or not."""
        nouns = self.rng.sample(list(words.THINGS), len(words.THINGS))
        of_hero = [n for n in nouns if held_out(f"{self.hero.name} {n}")]
        open_to_all = [n for n in nouns if not any(held_out(f"{p.name} {n}") for p in self.cast)]
        return (of_hero[:1] if self.held_out else []) + open_to_all

    def thing(self, among=None):
        """A new one; now and then of a noun that another thing has, and another color."""
        taken = {t["thing"] for t in self.world.events if "thing" in t}
        old = sorted({noun for t in taken if (noun := t.split(" ")[-1]) in words.THINGS})
        if old and among is None and self.rng.random() < 0.2:
            noun = self.rng.choice(old)
        else:
            noun = next((n for n in self.nouns if n not in old and (among is None or n in among)),
                        self.nouns[-1])
        said = words.COLORS + (words.THINGS[noun] if self.rng.random() < 0.6 else [])
        return Thing(noun, next(k for w in self.rng.sample(said, len(said))
                                if (k := f"{w} {noun}") not in taken))

    def take_spot(self, place):
        """Each spot of a place once, so that none holds two things."""
        spots = self.spots[place]
        return spots.pop() if len(spots) > 1 else spots[0]

    def say(self, kind, **slots):
        return self.teller.say(kind, **slots)

    def fact(self, told, kind, slots, **event):
        """Tells by template `told`, without pronouns, and makes it true."""
        self.world.apply(kind, self.say(told, named=True, **slots), **event)

    def here(self, a):
        return self.world.place.get(a)

    def has(self, a, t, told="has", giver=None, **slots):
        self.fact(told, "has", dict(a=a, t=t, **slots), who=giver, to=a, thing=t.key)

    def give(self, a, b, t, told="give", **slots):
        self.fact(told, "has", dict(a=a, b=b, t=t, **slots), who=a, to=b, thing=t.key)

    def put(self, a, t, spot, place, hidden):
        self.fact("hide" if hidden else "drop", "put", dict(a=a, t=t, s=spot, p=place), who=a, thing=t.key,
                  spot=spot, hidden=hidden)

    def find(self, a, t, spot):
        self.fact("find", "find", dict(a=a, t=t, s=spot), who=a, thing=t.key, spot=spot)

    def go(self, a, place, mate=None):
        """A new paragraph; a mate goes along."""
        if self.here(a) == place:
            return
        self.teller.paragraph()
        lead = self.rng.choice(story_plots.LATER) if self.rng.random() < 0.3 and self.here(a) else ""
        span = self.say("go_two" if mate else "go", a=a, b=mate, p=place, lead=lead, named=True)
        for who in filter(None, (a, mate)):
            self.world.apply("at", span, who=who, place=place.key)
            self.world.place[who] = place

    def meet(self, a, b):
        """b is where a is."""
        place = self.here(a)
        span = self.say("meet", a=a, b=b, p=place)
        self.world.apply("at", span, who=b, place=place.key)
        self.world.place[b] = place
        self.introduce(b)

    def introduce(self, b, told="who"):
        known = any(e["kind"] == "kind" and e["who"] is b for e in self.world.events)
        if not known and not b.grown:
            self.world.apply("kind", self.say(told, a=self.hero, b=b), who=b)

    def pause(self, a, b=None):
        """Small scenes that change nothing."""
        for _ in range(self.pace):
            r = self.rng.random()
            indoors = self.here(a).key in words.INDOORS
            weather = "indoors" if indoors else f"{self.weather} scene"
            kind = ("together" if b and r < 0.5 else "anywhere" if r < 0.7 else weather if r < 0.8
                    else "indoors" if indoors else "outdoors")
            self.say(kind, a=a, b=b)
            if self.rng.random() < 0.3:
                self.teller.paragraph()


def tell(rng, held_out_story):
    story = Story(rng, held_out_story)
    story_plots.begin(story)
    plots = rng.sample(story_plots.PLOTS, 2 if story.pace < 3 and rng.random() < 0.4 else 1)
    for day, plot in enumerate(plots):
        if day:
            story_plots.next_day(story)
        plot(story)
        story_plots.end(story)
    return story


def located(question, text, at):
    """The question as it stands in `text` from `at` on, and where it all is."""
    start, end = question["event"]["start"], question["event"]["end"]
    key = start + text[start:end].lower().index(question["key"].lower())
    answer = text.index(question["answer"], at)
    said = answer + question["answer"].lower().rindex(question["key"].lower())
    size = len(question["key"])
    return {"question": question["question"], "answer": question["answer"], "fact": [start, end],
            "key_told": [key, key + size], "key_answered": [said, said + size]}


def prompt(rng, hero):
    asked = rng.choice(story_plots.PROMPTS)
    return asked.format(name=hero.key, kind=hero.kind, a_kind=with_article(hero.kind))


def make(seed, number, kind, held_out_story=False):
    """One story as a dictionary: the same seed, number and kind make the same story everywhere."""
    rng = random.Random(f"{seed} {number} {kind} {'held out' if held_out_story else ''}")
    story = tell(rng, held_out_story)
    told = story.teller.text
    possible = story_facts.questions(story.world, told)
    asked = {q["question"]: q for q in rng.sample(possible, len(possible))}  # Each question once.
    chosen = list(asked.values())[:rng.randrange(2, 7)] if kind != "plain" else []
    text, facts = told, []
    for number, q in enumerate(chosen):
        text += ("\n\n" if number == 0 else "\n") + q["question"] + " "
        at = len(text)
        text += q["answer"]
        facts.append(located(q, text, at))
    events = [{k: getattr(v, "name", v) for k, v in e.items()} for e in story.world.events]
    result = {"kind": kind, "text": text, "story": told, "facts": facts, "events": events}
    if kind == "chat":
        result["turns"] = [[prompt(rng, story.hero), told], *([q["question"], q["answer"]] for q in chosen)]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, default="plain")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for number in range(args.count):
        story = make(args.seed, number, args.kind, args.held_out)
        if args.json:
            print(json.dumps(story))
        else:
            print(story["text"], end="\n\n<|endoftext|>\n\n")


if __name__ == "__main__":
    main()
