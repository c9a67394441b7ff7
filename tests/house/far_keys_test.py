"""Rows of tools/train/far_keys.py: far_keys_test.py SOURCE_DIR. A word is a piece; no tokenizer."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tools/train"))
import far_keys  # noqa: E402

WORDS = []


def encode(text):
    ids = []
    for word in re.findall(r"\w+|[^\w\s]", text):
        if word not in WORDS:
            WORDS.append(word)
        ids.append(10 + WORDS.index(word))
    return ids


def decode(ids):
    return " ".join(WORDS[i - 10] for i in ids)


class Ids(list):  # of a document, as numpy has them
    def tolist(self):
        return list(self)


def stories():
    words = [f"w{i}" for i in range(200)]
    return [Ids(encode(" ".join(f"The {words[(7 * s + 3 * i) % 200]} saw {words[(11 * s + i) % 200]}."
                                for i in range(30)))) for s in range(20)]


def rows(kind, length, count=40):
    far = far_keys.FarKeys(encode, decode, stories(), 5)
    for _ in range(count):
        ids, weights = getattr(far, kind)(length)
        assert len(ids) == length + 1 and len(weights) == length, (kind, len(ids), len(weights))
        assert any(w > 1 for w in weights), kind
        yield ids, weights


def check_pairs(ids, weights):
    """Every answer was told behind its key, once, and before a story's words; keys have no weight."""
    asked = [i for i, w in enumerate(weights) if w > 1]
    assert len(asked) == far_keys.ASKED
    for i in asked:
        assert weights[i - 1] == 0
        places = [j for j in range(1, asked[0]) if ids[j] == ids[i]]
        assert len(places) == 1 and ids[places[0] + 1] == ids[i + 1], "no value told of its key"
    return asked[0] - min(ids.index(ids[i]) for i in asked)


def main():
    for length in (128, 512):
        distances = [check_pairs(*row) for row in rows("pairs", length)]
        assert max(distances) > length / 2, distances
        for ids, weights in rows("twice", length):
            first = next(i for i, w in enumerate(weights) if w > 1)
            passage = ids[first + 1:]
            assert any(ids[i:i + len(passage)] == passage for i in range(first + 1 - len(passage)))
        for ids, weights in rows("facts", length):
            for i in (i for i, w in enumerate(weights) if w > 1):
                before = decode(ids[1:i + 1])
                assert "has a" in before or "pass key" in before
                assert ids[i + 1] in ids[:i], "an answer that was told nowhere"
    far = far_keys.FarKeys(encode, decode, stories(), 5)
    kinds = {weights.count(0.0) > 0 for _, weights in (far.row(512) for _ in range(40))}
    assert kinds == {True, False}, "row() takes no kind, or one alone"
    print("ok")


if __name__ == "__main__":
    main()
