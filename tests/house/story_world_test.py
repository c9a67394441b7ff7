"""Stories of tools/train/story_world.py: story_world_test.py SOURCE_DIR. The told events are read again
here, by other code than told them, and the answers held against what is then true."""

import pathlib
import re
import subprocess
import sys

TRAIN = pathlib.Path(sys.argv[1]) / "tools/train"
sys.path.insert(0, str(TRAIN))
import story_teller  # noqa: E402
import story_words  # noqa: E402
import story_world  # noqa: E402

VOCABULARY, LONGEST_WORD = 1600, 12


def stories(count, held_out=False):
    return [story_world.make(7, i, story_world.KINDS[i % 3], held_out) for i in range(count)]


def retold(events):
    """{(relation, subject): value} after all events; giver: {(receiver, thing): [givers]}."""
    now, givers = {}, {}
    for e in events:
        if e["kind"] == "has":
            now["holder", e["thing"]] = e["to"]
            now.pop(("spot", e["thing"]), None)
            if e["who"]:
                givers.setdefault((e["to"], e["thing"]), []).append(e["who"])
        elif e["kind"] == "find":
            now["holder", e["thing"]] = e["who"]
        elif e["kind"] == "put":
            now["spot", e["thing"]] = e["spot"]
            now.pop(("holder", e["thing"]), None)
        elif e["kind"] == "at":
            now["place", e["who"]] = e["place"]
    return now, givers


def check_answer(story, fact):
    now, givers = retold(story["events"])
    key = story["text"][slice(*fact["key_answered"])].lower()
    question = fact["question"]

    def bare(name):
        return name.removeprefix("the ").lower()

    if m := re.fullmatch(r"Who has the (.+) now\?", question):
        assert bare(now["holder", m[1]]) == key, fact
    elif m := re.fullmatch(r"Where is the (.+) now\?", question):
        assert now["spot", m[1]] == key and ("holder", m[1]) not in now, fact
    elif m := re.fullmatch(r"Where is (.+) at the end\?", question):
        assert now["place", next(e["who"] for e in story["events"] if e.get("who", "") and
                                 e["who"].lower() == m[1].lower())] == key, fact
    elif m := re.fullmatch(r"Who gave (.+) the ([^ ]+ [^ ]+|[^ ]+)\?", question):
        to = next(to for to, thing in givers if to.lower() == m[1].lower() and thing == m[2])
        assert [bare(g) for g in givers[to, m[2]]] == [key], fact
    else:  # Of what happened: what told it says it.
        assert key in story["text"][slice(*fact["fact"])].lower(), fact


def check_offsets(story):
    text = story["text"]
    assert text.startswith(story["story"])
    for fact in story["facts"]:
        told, answered = text[slice(*fact["key_told"])], text[slice(*fact["key_answered"])]
        assert told.lower() == answered.lower(), fact
        assert fact["fact"][0] <= fact["key_told"][0] and fact["key_told"][1] <= fact["fact"][1], fact
        assert fact["fact"][1] <= len(story["story"]) < fact["key_answered"][0], fact
        assert f"{fact['question']} {fact['answer']}" in text, fact


def check_told(story):
    """An event's values stand in the words that tell it."""
    for e in story["events"]:
        told = story["text"][e["start"]:e["end"]].lower()
        for name in ("thing", "spot", "what"):
            assert name not in e or e[name].lower() in told, (e, told)
        if e["kind"] in ("has", "find"):
            name = (e["to"] if e["kind"] == "has" else e["who"]).removeprefix("the ").lower()
            assert name in told, (e, told)
    assert not re.search(r"[{}\[\]|]|  | \.|\.\.|\ba [aeiou]|\ban (?!hour)[^aeiou]", story["text"]), story["text"]


def check_hold_out(trained, held):
    def sentences(template):
        """The literal parts of a template that are long enough to know it by."""
        return [p for p in re.split(r"\{[^}]*\}|\[[^]]*\]", template) if len(p) > 24]

    pools = [t for pool in story_teller.POOLS.values() for t in pool]
    open_parts = {p for t in pools if not story_teller.held_out(t) for p in sentences(t)}
    held_parts = {p for t in pools if story_teller.held_out(t) for p in sentences(t)} - open_parts
    assert 300 < len(pools) and len(pools) / 12 < sum(map(story_teller.held_out, pools)) < len(pools) / 5
    for story in trained:
        assert not any(p in story["text"] for p in held_parts), story["text"]
        for e in story["events"]:
            if e.get("thing", "").split(" ")[-1] in story_words.THINGS:
                for name in (e.get("who"), e.get("to")):
                    assert not name or name.split()[0][0].islower() or name in GROWN \
                        or not story_teller.held_out(f"{name} {e['thing'].split(' ')[-1]}"), e
    assert sum(any(p in s["text"] for p in held_parts) for s in held) > len(held) / 2
    assert not {s["story"] for s in trained} & {s["story"] for s in held}
    for pool in story_teller.POOLS.values():
        assert sum(not story_teller.held_out(t) for t in pool) >= 2, pool


GROWN = {name for name, _, _ in story_words.GROWN_UPS}


def main():
    trained, held = stories(150), stories(60, held_out=True)
    assert trained == stories(150), "the same seed told another story"
    command = [sys.executable, TRAIN / "story_world.py", "--seed", "7", "--count", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith(trained[0]["text"]), told
    for story in trained + held:
        check_offsets(story)
        check_told(story)
        for fact in story["facts"]:
            check_answer(story, fact)
        if story["kind"] == "chat":
            assert story["turns"][0][1] == story["story"] and len(story["turns"]) == 1 + len(story["facts"])
    check_hold_out(trained, held)
    words = {w for s in trained + held for w in re.findall(r"[a-z'-]+", s["text"].lower())}
    longest = max(words, key=len)
    assert len(words) <= VOCABULARY and len(longest) <= LONGEST_WORD, (len(words), longest)
    told = [s for story in trained for s in re.split(r"(?<=[.!?])[\s\"]+", story["story"])]
    assert len(set(told)) > len(told) / 2, "it tells the same sentences again and again"
    print("ok")


if __name__ == "__main__":
    main()
