"""tools/train/story_contradictions.py on how stories of the story world go on, as they are and spoilt:
story_contradictions_test.py SOURCE_DIR"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tools/train"))
import story_contradictions  # noqa: E402
import story_words  # noqa: E402
import story_world  # noqa: E402

COUNT, WRONG = 300, 0.02  # Share of true continuations that the rules may find fault with.


def continued(number):
    story = story_world.make(11, number, "plain", number % 2 == 1)
    cut = story_contradictions.cut_of(story)
    return story, cut, cut and " ".join(story["story"][cut:].split(" ")[:150])


def spoilt(story, cut):
    """(rule, continuation): one for each rule that the told state has something for."""
    kinds, holder, spot, things = story_contradictions.state(story, cut)
    for name, kind in kinds.items():
        other = next(k for k in story_contradictions.ANIMALS if k != kind)
        yield "kind", f"\n\n{name} the {other} went home."
        yield "kind", f"\n\nThen a little {other} named {name} came."
        yield "self", f"\n\nThen {name} looked at {name} for a while."
        stranger = next(n for n in sorted(story_contradictions.NAMES) if n not in story["story"])
        yield "stranger", f"\n\nThen {stranger} laughed. " + "It was a fine day. " * 20
    for thing, name in holder.items():
        other = next((n for n in kinds if n != name), None)
        if other and name in story_contradictions.NAMES:
            yield "holder", f"\n\nIt was late. {other} had the {thing} in a bag."
    for thing, place in spot.items():
        other = next(s for s in story_contradictions.SPOTS if s != place)
        yield "spot", f"\n\nThe {thing} was still {other}."
    for thing in things:
        word, _, noun = thing.partition(" ")
        color = next(c for c in story_words.COLORS if f"{c} {noun}" not in story["story"])
        if noun in story_words.THINGS:
            yield "thing", f"\n\nThey looked at the {color} {noun}."


def main():
    wrong, found = [], {}
    for number in range(COUNT):
        story, cut, text = continued(number)
        if cut is None:
            continue
        wrong += story_contradictions.contradictions(story, cut, text)[:1]
        for rule, text in spoilt(story, cut):
            said = {line.split(":")[0] for line in story_contradictions.contradictions(story, cut, text)}
            assert said == {rule}, (rule, said, text, story["story"][:cut])
            found[rule] = found.get(rule, 0) + 1
    assert len(wrong) <= WRONG * COUNT, wrong
    rules = re.findall(r"^- (\w+):", story_contradictions.__doc__, re.M)
    assert sorted(found) == sorted(rules) and min(found.values()) > 5, found
    print("ok", found, len(wrong), "of", COUNT)


if __name__ == "__main__":
    main()
