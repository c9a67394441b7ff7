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
    far = far_keys.FarKeys(encode, decode, stories(), 5, {kind: 1})
    for _ in range(count):
        ids, weights = far.row(length)
        assert len(ids) == length + 1 and len(weights) == length, (kind, len(ids), len(weights))
        assert any(w > 1 for w in weights), kind
        yield ids, weights


def main():
    for length in (128, 512):
        for ids, weights in rows("pairs", length):
            told = {}
            for i in range(1, length + 1):
                if weights[i - 1] > 1:
                    assert ids[i] == told[ids[i - 1]], f"position {i} is no value told of its key"
                elif i % 2 == 0:
                    told[ids[i - 1]] = ids[i]
            assert len(told) == min(far_keys.POOL, length * 3 // 16)
        periods = set()
        for ids, weights in rows("echo", length):
            period = next(p for p in range(far_keys.SHORTEST_PERIOD, length)
                          if ids[1 + p:] == ids[1:-p])
            assert [w > 1 for w in weights] == [i > period for i in range(length)], period
            periods.add(period)
        assert min(periods) < 12 and max(periods) > length / 8, periods
        for ids, weights in rows("twice", length):
            first = next(i for i, w in enumerate(weights) if w > 1)
            passage = ids[first + 1:]
            assert any(ids[i:i + len(passage)] == passage for i in range(first + 1 - len(passage)))
        for ids, weights in rows("facts", length):
            for i in (i for i, w in enumerate(weights) if w > 1):
                before = decode(ids[1:i + 1])
                assert "has a" in before or "pass key" in before
                assert ids[i + 1] in ids[:i], "an answer that was told nowhere"
    mixed = far_keys.FarKeys(encode, decode, stories(), 5, {"echo": 1, "pairs": 1})
    kinds = {tuple(w > 0 for w in mixed.row(64)[1][-2:]) for _ in range(40)}
    assert kinds == {(True, True), (False, True)} or kinds == {(True, True), (True, False)}, kinds
    print("ok")


if __name__ == "__main__":
    main()
