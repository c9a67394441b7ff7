#!/usr/bin/env python3
"""Writes the golden data of tests/engine/tokenizer_test.cc and the seeds of the tokenizer fuzzers.

The oracle is the SentencePiece library (Python package `sentencepiece`; Debian 12:
python3-sentencepiece). Everything is seeded, so that a second run writes the same bytes.

  make_tokenizer_golden.py --stories DIR     # plain-text files in the public domain

Files in tests/golden/tokenizer/:
  lines.jsonl       one text per line, as a JSON string
  invalid.hex       one byte string that is not UTF-8 per line, in hex
  tiny.jsonl        texts for the hand-made tiny models, which this script writes too
  MODEL.encode      one line per text of lines.jsonl, then of invalid.hex (tiny models: per text
                    of tiny.jsonl): number of ids, FNV-1a-64 of the ids (4 bytes each, little
                    endian)
  MODEL.decode      one line per case k: FNV-1a-64 of the UTF-8 text of DecodeCase(k)
In tests/golden/chat/:
  json.jsonl        one [text, json.dumps(json.loads(text), ensure_ascii=False)] per line
"""

import argparse
import json
import pathlib
import random
import struct

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "tokenizer"
CHAT = ROOT / "tests" / "golden" / "chat"
FUZZ = ROOT / "tests" / "fuzz" / "corpus" / "tokenizer_model"
VERSIONS = ("v1", "v3")
STORY_LINES = 5000
RANDOM_LINES = 6000
INVALID_LINES = 1000
TINY_LINES = 1500
DECODE_CASES = 4000

SPECIAL = ["<s>", "</s>", "<unk>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
           "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[IMG]", "[PREFIX]",
           "[MIDDLE]", "[SUFFIX]", "[control_8]", "[control_751]", "[REFERENCE_DOC_0]",
           "[REFERENCE_DOC_1]", "[REFERENCE_DOC_19]", "[REFERENCE_DOC_", "<0x0A>", "<0xFF>",
           "\u2581", "\u2581\u2581", "<pad>", "\u2047"]
FIXED = ["", " ", "  ", "   ", "\n", "\t", "\r\n", "a", " a", "a ", "  a  b  ", "\u2581", " \u2581",
         "Hello, world!", "Hello, world! \u00e9\U0001F600", "\x00", "a\x00b", "\ufeff", "\ufffd",
         "\U0010ffff", "\ud7ff\ue000", "e\u0301", "\u202eabc\u202c", "1234567890" * 20, "=" * 500,
         " " * 500, "ab" * 400, "\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466"]
# First and last code point; drawn with equal chance, so that no script drowns the others.
RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x00, 0x1F), (0x7F, 0xA0), (0xA1, 0x17F),
          (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
          (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x2000, 0x206F), (0x2190, 0x21FF),
          (0x2500, 0x25FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
          (0xE000, 0xF8FF), (0xFE00, 0xFE0F), (0xFFF0, 0xFFFF), (0x1F300, 0x1F6FF),
          (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF), (0xE0000, 0xE007F), (0x10FF00, 0x10FFFF)]
BLANKS = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2581", " " * 17]


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def story_lines(folder: pathlib.Path, rng: random.Random) -> list[str]:
    paragraphs = []
    for path in sorted(folder.glob("pg-*.txt"))[::4]:
        text = path.read_text(encoding="utf-8")
        paragraphs += [line for line in text.split("\n") if line.strip() and "|>" not in line]
    lines = []
    for paragraph in rng.sample(paragraphs, STORY_LINES):
        begin = rng.randrange(max(1, len(paragraph) - 100))
        lines.append(paragraph[begin:begin + rng.randint(20, 160)])
    return lines


def random_char(rng: random.Random) -> str:
    first, last = rng.choice(RANGES)
    return chr(rng.randint(first, last))


def random_line(rng: random.Random, words: list[str]) -> str:
    """A mixture of words, random characters, blanks and the names of special pieces."""
    parts = []
    one_script = rng.choice(RANGES) if rng.random() < 0.3 else None
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        if one_script is not None and kind < 0.6:
            parts.append("".join(chr(rng.randint(*one_script)) for _ in range(rng.randint(1, 8))))
        elif kind < 0.35:
            parts.append(rng.choice(words))
        elif kind < 0.7:
            parts.append("".join(random_char(rng) for _ in range(rng.randint(1, 4))))
        elif kind < 0.9:
            parts.append(rng.choice(BLANKS))
        else:
            parts.append(rng.choice(SPECIAL))
    return "".join(parts)


def invalid_line(rng: random.Random, words: list[str]) -> bytes:
    while True:
        data = bytearray(random_line(rng, words).encode("utf-8"))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            bad = rng.choice([b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                              b"\xe2\x96", b"\xf0\x9f\x98", b"\xc3", b"\xe0\x80\x80", b"\xf8\x88"])
            data[at:at] = bad
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return bytes(data)


class Lcg:
    """The generator that the C++ test repeats (Knuth's MMIX constants, top 31 bits)."""

    def __init__(self, seed: int):
        self.state = seed

    def next(self, limit: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % limit


def decode_case(k: int, vocab: int, first_byte: int, characters: str) -> list[int]:
    """Random ids: any piece, byte pieces, pieces near the front, or the bytes of a character."""
    lcg = Lcg(k)
    ids = []
    for _ in range(1 + lcg.next(24)):
        kind = lcg.next(8)
        if kind < 2:
            ids.append(lcg.next(vocab))
        elif kind == 2:
            ids.append(first_byte + 0x80 + lcg.next(0x80))
        elif kind == 3:
            ids.append(first_byte + lcg.next(256))
        elif kind < 6:
            data = characters[lcg.next(len(characters))].encode("utf-8")
            whole = len(data) if lcg.next(3) else 1 + lcg.next(len(data))
            ids += [first_byte + byte for byte in data[:whole]]
        elif kind == 6:
            ids.append(lcg.next(4))
        else:
            ids.append(vocab - 1 - lcg.next(vocab // 2))
    return [token % vocab for token in ids]  # A tiny model may have fewer pieces than bytes.


DECODE_CHARACTERS = "a \u00e9\u0416\u2581\u20ac\ufffd\ud7ff\ue000\U00010000\U0001F600\U0010ffff"


def write_golden(stories: pathlib.Path, models: pathlib.Path, out: pathlib.Path) -> None:
    rng = random.Random(20240522)
    lines = FIXED + SPECIAL + [a + b for a in SPECIAL for b in ("x", " x")]
    stories_part = story_lines(stories, rng)
    words = sorted({word for line in stories_part for word in line.split()})
    lines += stories_part + [random_line(rng, words) for _ in range(RANDOM_LINES)]
    invalid = [invalid_line(rng, words) for _ in range(INVALID_LINES)]
    (out / "lines.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    (out / "invalid.hex").write_text("".join(data.hex() + "\n" for data in invalid))
    for version in VERSIONS:
        write_answers(models / f"tokenizer.model.{version}", lines + invalid, out / version)
    tiny_lines = FIXED + [tiny_line(rng) for _ in range(TINY_LINES)]
    (out / "tiny.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in tiny_lines),
        encoding="utf-8")
    for name, data in tiny_models().items():
        model = out / f"tokenizer.model.{name}"
        model.write_bytes(data)
        write_answers(model, tiny_lines, out / name)


def write_answers(model: pathlib.Path, texts: list, out: pathlib.Path) -> None:
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(model))
    with open(f"{out}.encode", "w", encoding="ascii") as file:
        for text in texts:
            ids = oracle.encode(text)
            file.write(f"{len(ids)} {fnv1a(struct.pack(f'<{len(ids)}i', *ids)):016x}\n")
    first_byte = oracle.piece_to_id("<0x00>")
    with open(f"{out}.decode", "w", encoding="ascii") as file:
        for k in range(DECODE_CASES):
            ids = decode_case(k, oracle.vocab_size(), first_byte, DECODE_CHARACTERS)
            file.write(f"{fnv1a(oracle.decode(ids).encode('utf-8')):016x}\n")


def tiny_line(rng: random.Random) -> str:
    units = ["the", "other", "ther", "there", "in", "ing", "<tool>", "<tool>x", "<tool", " ",
             "  ", " w", "world", "word", "\u00e9", "\u2581", "z", "\U0001F600", "t", "h", "e",
             "r", "\n"]
    return "".join(rng.choice(units) for _ in range(rng.randint(1, 14)))


def random_json(rng: random.Random, depth: int):
    kind = rng.randrange(8 if depth > 0 else 6)
    if kind == 0:
        return rng.choice([None, True, False, "", [], {}, 0, -1, 0.0, -0.0])
    if kind == 1:
        return rng.randrange(-10 ** rng.randint(0, 30), 10 ** rng.randint(1, 30))
    if kind == 2:
        return struct.unpack("<d", struct.pack("<Q", rng.getrandbits(63) % (0x7FE << 52)))[0]
    if kind == 3:
        return rng.choice([-1, 1]) * rng.randrange(1, 10**6) * 10.0 ** rng.randint(-12, 22)
    if kind < 6:
        return "".join(rng.choice([random_char(rng), rng.choice('"\\/\b\f\n\r\t\x7f<> ')])
                       for _ in range(rng.randint(0, 8)))
    if kind == 6:
        return [random_json(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    return {str(random_json(rng, 0)): random_json(rng, depth - 1)
            for _ in range(rng.randint(0, 5))}


def write_json_cases(out: pathlib.Path) -> None:
    rng = random.Random(7)
    texts = ["1e16", "1E+2", "-0", "-0.0", "0.0001", "0.00001", "1e22", "123456789012345678",
             "1" * 40, "-" + "9" * 25, "9007199254740993.0", "5e-324", "1.7976931348623157e308",
             ' \n\t[ 1 , { "a" : null } ]\r\n', '"\\u00e9\\ud83d\\ude00\\u0000\\/"',
             '{"b":1,"a":2}']
    for _ in range(600):
        value = random_json(rng, 4)
        texts.append(json.dumps(value, ensure_ascii=rng.random() < 0.5,
                                indent=rng.choice([None, None, 0, 2]),
                                separators=rng.choice([None, (",", ":")])))
    with open(out / "json.jsonl", "w", encoding="utf-8") as file:
        for text in texts:
            answer = json.dumps(json.loads(text), ensure_ascii=False)
            file.write(json.dumps([text, answer], ensure_ascii=False) + "\n")


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number: int, value) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(int(value))


def tiny_model(byte_fallback: bool, extra_spaces: bool, extra_pieces=()) -> bytes:
    """Up to 300 pieces: specials, bytes, some merges, a user-defined and an unused piece."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("[INST]", 0.0, 3),
              ("[/INST]", 0.0, 3)]
    if byte_fallback:
        pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    merges = ["\u2581t", "he", "\u2581the", "in", "er", "an", "\u2581a", "ing", "\u2581\u2581",
              "re", "on", "at", "\u2581w", "lo", "\u2581wor", "or"]
    pieces += [(text, -float(rank), 1) for rank, text in enumerate(merges)]
    pieces += [("<tool>", 0.0, 4), ("<tool>x", 0.0, 4), ("ther", -2.5, 5)]
    pieces += [(char, -100.0 - rank, 1) for rank, char in enumerate("\u2581etaoinshrdlw\u00e9")]
    pieces += list(extra_pieces)
    out = b"".join(field(1, field(1, text.encode("utf-8")) + field(2, score) + field(3, kind))
                   for text, score, kind in pieces)
    trainer = b"".join([field(3, 2), field(35, byte_fallback), field(40, 0), field(41, 1),
                        field(42, 2), field(43, -1)])
    normalizer = b"".join([field(1, b"identity"), field(2, b""), field(3, True),
                           field(4, extra_spaces), field(5, True)])
    return out + field(2, trainer) + field(3, normalizer)


def tiny_models() -> dict[str, bytes]:
    return {
        "tiny_bytes": tiny_model(True, False),
        "tiny_bytes_strip": tiny_model(True, True),
        "tiny_plain": tiny_model(False, False),
        "tiny_plain_strip": tiny_model(False, True),
    }


def write_fuzz_seeds(out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    seeds = {f"{name}.model": data for name, data in tiny_models().items()}
    seeds |= {
        "repeated_piece.model": tiny_model(False, False, [("he", 0.0, 1)]),
        "byte_without_fallback.model": tiny_model(False, False, [("<0x41>", 0.0, 6)]),
        "cut_off.model": tiny_model(False, False)[:-7],
        "empty.model": b"",
    }
    for name, data in seeds.items():
        (out / name).write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--stories", type=pathlib.Path, required=True)
    parser.add_argument("--models", type=pathlib.Path, default=GOLDEN,
                        help="folder of tokenizer.model.v1 and .v3")
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN)
    args = parser.parse_args()
    write_golden(args.stories, args.models, args.out)
    write_json_cases(CHAT)
    write_fuzz_seeds(FUZZ)


if __name__ == "__main__":
    main()
