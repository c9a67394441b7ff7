"""Rows whose answer lies far back, so that training text does not reward a short window alone.

`prepare.py`'s stories are local: the last dozen tokens predict nearly as much as all. Here each row
is story sentences (training ones) with facts among them and questions about the facts behind them:
pass keys of five digits, and "NAME has a THING." of many pairs, asked again in another order. The
questions are worded as in `alcca tasks`; names, things and the sentences between are not its.

Few of such a row's tokens are answers, and a head that looks for what followed the same token before
(an induction head, Olsson et al. 2022) is slow to form on them. So some rows tell a story twice, where
every token of the second telling is an answer; and `pairs` keeps up what ladder.py taught: keys and
values that mean nothing, with a story between the telling and the asking.
"""

import random
import re

NAMES = """Peter Molly Henry Rosa Oscar Nina Felix Clara Hugo Ruth Edgar Dora Walter Ida Martin Nora
Simon Elsa Victor Paul Greta Arthur Hazel Ralph Flora Bruno Agnes Conrad Edith Gilbert Olive""".split()
THINGS = """apple candle feather basket ladder mirror needle pillow saddle whistle bucket blanket
button carpet hammer kettle lantern marble nut pipe purse ribbon rope sack shell shovel sponge stick
stool sword ticket towel trumpet umbrella vase violin wagon wallet""".split()


KINDS = {"facts": 0.4, "twice": 0.3, "pairs": 0.3}  # Shares of the rows.
FIRST_PIECE, NAMES_OF_PAIRS = 266, 1900  # Of prepare.py's tokenizer: keys are even pieces, values odd.
PAIRS, ASKED = 24, 8
PAIR_WEIGHT = 16.0  # Of few answers among many tokens, or what ladder.py taught is forgotten.


class FarKeys:
    """Rows of exactly `length` tokens. encode: text -> ids; stories: ids of training documents."""

    def __init__(self, encode, decode, stories, seed):
        self.encode, self.random = encode, random.Random(seed)
        # Whole stories, sentence by sentence: shuffled sentences would teach to lose the thread.
        self.stories = []
        for story in stories:
            sentences = re.findall(r"[A-Z\"][^.!?\n]+[.!?]\"?", decode(story.tolist()))
            if len(sentences) > 3:
                self.stories.append(sentences)

    def pairs(self, length):
        """As many as ladder.py's last rungs have, somewhere in a story, and some of them asked behind it."""
        rng = self.random
        keys = [FIRST_PIECE + 2 * n for n in rng.sample(range(NAMES_OF_PAIRS), PAIRS)]
        told = [(key, FIRST_PIECE + 1 + 2 * rng.randrange(NAMES_OF_PAIRS)) for key in keys]
        asked = rng.sample(told, ASKED)
        room = length - 2 * (PAIRS + ASKED)
        filler, lead = sum(self.sentences(room), []), rng.randrange(room + 1)
        ids = [1] + filler[:lead] + sum(map(list, told), []) + filler[lead:] + sum(map(list, asked), [])
        weights = [1.0] * lead + [0.0] * 2 * PAIRS + [1.0] * (room - lead) + [0.0, PAIR_WEIGHT] * ASKED
        return ids, weights  # A key cannot be known.

    def twice(self, length):
        """A passage, something between, and the passage again."""
        rng = self.random
        told = rng.randrange(length // 8, length * 2 // 5)
        passage = sum(self.sentences(told), [])
        cue = self.encode("Tell it again:")
        room = length - len(cue) - 2 * told
        filler, lead = sum(self.sentences(room), []), rng.randrange(room + 1)
        ids = [1] + filler[:lead] + passage + filler[lead:] + cue + passage
        weights = [1.0] * length
        weights[-told + 2:] = [2.0] * (told - 2)  # By then the place is known.
        return ids, weights

    def sentences(self, room):
        """Stories sentence by sentence, as ids, `room` of them in all."""
        parts = []
        while room > 0:
            for sentence in self.random.choice(self.stories):
                parts.append(self.encode(sentence)[:room])
                room -= len(parts[-1])
                if room <= 0:
                    break
        return parts

    def some_facts(self, count):
        """[(statement, question, answer)], one kind a row."""
        rng = self.random
        if rng.random() < 0.4:
            if rng.random() < 0.6:
                key = str(rng.randrange(10000, 100000))
                return [(f"The pass key is {key}. Remember it: the pass key is {key}.",
                         "What is the pass key? The pass key is", f"{key}.")]
            names = rng.sample(NAMES, min(count, 6))
            keys = [str(rng.randrange(10000, 100000)) for _ in names]
            return [(f"The pass key of {n} is {k}.", f"The pass key of {n} is", f"{k}.")
                    for n, k in zip(names, keys)]
        names, things = rng.sample(NAMES, count), rng.sample(THINGS, count)
        return [(f"{n} has a {t}.", f"{n} has a", f"{t}.") for n, t in zip(names, things)]

    def row(self, length):
        """ids [length + 1], and weights [length] of the predictions: answers count more."""
        kind = self.random.choices(list(KINDS), list(KINDS.values()))[0]
        return getattr(self, kind)(length)

    def facts(self, length):
        rng = self.random
        facts = self.some_facts(rng.randrange(4, 25))
        begin = "There is a pass key in this text. Remember it. " if "pass key" in facts[0][0] else ""
        ask = [(q, a) for _, q, a in facts]
        rng.shuffle(ask)
        ask = ask[:rng.randrange(1, len(ask) + 1)]
        tail, answers = [], []
        for question, answer in ask:
            tail += self.encode(question)
            ids = self.encode(answer)
            answers += [(len(tail), len(ids) - 1)]  # Its full stop is no answer.
            tail += ids
        head = [1] + self.encode(begin)
        told = [self.encode(s) for s, _, _ in facts]
        room = length + 1 - len(head) - len(tail) - sum(map(len, told))
        rng.shuffle(told)
        filler = self.sentences(room)
        for fact in told:
            filler.insert(rng.randrange(len(filler) + 1), fact)
        ids = head + [t for part in filler for t in part] + tail
        begin_tail = len(ids) - len(tail)
        weights = [1.0] * (len(ids) - 1)
        for at, size in answers:
            for i in range(begin_tail + at, begin_tail + at + size):
                weights[i - 1] = 4.0
        return ids[:length + 1], weights[:length]
