#!/usr/bin/env python3
"""Writes golden data of byte-pair vocabularies: tokenizer.json, tekken.json and GGUF's.

The oracles are the Python packages tokenizers, mistral-common and sentencepiece. Everything is
seeded, so that a second run with the same packages writes the same bytes.

  make_bpe_golden.py small
      tests/golden/bpe/NAME/: vocabularies of a few hundred tokens, trained here, and their cases;
      tests/fuzz/corpus/tokenizer_json/NAME: the same files, cut down
  make_bpe_golden.py big OUT --lines FILE... [--tokenizer-json NAME=FILE] [--tiktoken NAME=FILE]
                         [--gguf NAME=FILE] [--tekken NAME=FILE] [--sentencepiece NAME=FILE]
      OUT/NAME/: real vocabularies; `tokenizer_check OUT/*` compares (tests/check)

Files of a vocabulary: tokenizer.json, tekken.json, tokenizer.model, or gguf.json (the metadata of a
GGUF: tokens, token_types, merges, pre); and cases.jsonl, one [text, ids, decoded] a line. Where the
text is null the ids were drawn, and only decoding is compared. Texts are encoded as a client's:
control tokens in them are text.
"""

import argparse
import base64
import json
import pathlib
import random
import sys
import unicodedata

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "bpe"
FUZZ = ROOT / "tests" / "fuzz" / "corpus" / "tokenizer_json"
LINES = ROOT / "tests" / "golden" / "tokenizer" / "lines.jsonl"
RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x41, 0x5A), (0x30, 0x39), (0x00, 0x1F),
          (0x7F, 0xA0), (0xA1, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
          (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
          (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20CF), (0x2100, 0x218F),
          (0x2500, 0x25FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
          (0xE000, 0xF8FF), (0xFB00, 0xFDFF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF),
          (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF), (0x0, 0x10FFFF)]
BLANKS = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2581", " " * 17,
          "'s", "'LL", "'\u017f", "12345", "...", "<|im_end|>", "</s>", "\u200d", "\u180e"]
FIXED = ["", " ", "  ", "\n", "\r\n", "a", " a", "a ", "  a  b  ", "\u2581", "Hello, world!",
         "I'm you're WE'LL don't I'\u017f", "x = 12345678 + 9;\n\n\tif (y) {\n    return;\n}\n",
         "e\u0301 \u00e9 \u1e9b\u0323 \ufb01 \u212b", "\u0130stanbul \u00df \u03a3\u03a3",
         "\x00", "a\x00b", "\ufeff", "\ufffd", "\u202eabc\u202c", "1234567890" * 20, "=" * 500,
         " " * 500, "ab" * 400, "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\u0300" * 40,
         "<s></s><unk>[INST][/INST]<|im_start|>user\nhi<|im_end|>", "<0x0A><0xFF>"]


def random_text(rng):
    text = ""
    for _ in range(rng.randrange(1, 9)):
        if rng.random() < 0.3:
            text += rng.choice(BLANKS)
            continue
        first, last = rng.choice(RANGES)
        for _ in range(rng.randrange(1, 9)):
            c = rng.randrange(first, last + 1)
            # What Unicode has assigned since is in some libraries' tables and not in others'.
            if unicodedata.category(chr(c)) not in ("Cs", "Cn"):
                text += chr(c)
    return text


class HuggingFace:
    def __init__(self, text):
        self.json = text
        self.tokenizer = tokenizers.Tokenizer.from_str(text)
        self.tokenizer.encode_special_tokens = True
        document = json.loads(text)
        special = {t["id"] for t in document["added_tokens"]}
        self.plain = [i for p, i in document["model"]["vocab"].items()
                      if i not in special and not (p.startswith("<0x") and p.endswith(">"))]

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def files(self):
        return {"tokenizer.json": self.json}


class Gguf(HuggingFace):
    """The same vocabulary as its tokenizer.json."""

    def __init__(self, text, metadata):
        super().__init__(text)
        self.metadata = metadata

    def files(self):
        return {"gguf.json": json.dumps(self.metadata, ensure_ascii=False)}


class Tekken:
    def __init__(self, path):
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        self.path = path
        self.policy = SpecialTokenPolicy.IGNORE
        self.tokenizer = Tekkenizer.from_file(str(path))
        self.plain = range(self.tokenizer.num_special_tokens, self.tokenizer.n_words)

    def encode(self, text):
        return self.tokenizer.encode(text, bos=False, eos=False)

    def decode(self, ids):
        return self.tokenizer.decode(ids, special_token_policy=self.policy)

    def files(self):
        return {"tekken.json": self.path.read_text()}


class SentencePiece:
    def __init__(self, path):
        import sentencepiece
        self.path = path
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.plain = [i for i in range(self.tokenizer.vocab_size())
                      if not self.tokenizer.is_control(i) and not self.tokenizer.is_unknown(i)]

    def encode(self, text):
        return self.tokenizer.encode(text)

    def decode(self, ids):
        return self.tokenizer.decode(ids)

    def files(self):
        return {"tokenizer.model": self.path.read_bytes()}


def write(folder, oracle, texts, drawn, rng):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in oracle.files().items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with open(folder / "cases.jsonl", "w", encoding="utf-8") as out:
        for text in texts:
            ids = oracle.encode(text)
            print(json.dumps([text, ids, oracle.decode(ids)]), file=out)
        for _ in range(drawn):
            ids = rng.choices(oracle.plain, k=rng.randrange(1, 12))
            print(json.dumps([None, ids, oracle.decode(ids)]), file=out)
    print(folder, len(texts), "texts")


# --- Real vocabularies -------------------------------------------------------------------------

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_letters():
    """GPT-2's: the character of each byte."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(0x100 + i) for i, b in enumerate(others)}


def from_tiktoken(path):
    """As Qwen's tokenizer.json: merges are how a token falls apart with the lower ranks alone."""
    ranks = {}
    for line in path.read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    letters = byte_letters()
    spell = lambda token: "".join(letters[b] for b in token)
    merges = []
    for token, rank in ranks.items():
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(((ranks.get(a + b, rank), i)
                        for i, (a, b) in enumerate(zip(parts, parts[1:]))))
            if best[0] >= rank:
                break
            i = best[1]
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append((spell(parts[0]), spell(parts[1])))
    tokenizer = tokenizers.Tokenizer(
        models.BPE({spell(t): r for t, r in ranks.items()}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(QWEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return HuggingFace(tokenizer.to_str())


def from_gguf(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields[key].contents()
    tokens, types = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    merges, pre = value("tokenizer.ggml.merges"), value("tokenizer.ggml.pre")
    control = [t for t, kind in zip(tokens, types) if kind == 3]
    tokenizer = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)},
                                                [tuple(m.split(" ")) for m in merges]))
    steps = {"smollm": [pre_tokenizers.Digits(individual_digits=True),
                        pre_tokenizers.ByteLevel(add_prefix_space=False)],
             "qwen2": [pre_tokenizers.Split(tokenizers.Regex(QWEN), "isolated"),
                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]}
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps[pre])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(control)
    return Gguf(tokenizer.to_str(), {"tokens": tokens, "token_types": types, "merges": merges,
                                     "pre": pre})


def from_sentencepiece(path):
    """As the tokenizer.json of Llama 2 and Mistral: merges by score."""
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    vocab = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    merges = []
    for piece, i in vocab.items():
        local = [(piece[:k], piece[k:]) for k in range(1, len(piece))
                 if piece[:k] in vocab and piece[k:] in vocab]
        local.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(pair, model.get_score(i)) for pair in local]
    merges.sort(key=lambda m: (m[1], len(m[0][0]), len(m[0][1])), reverse=True)
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, [m[0] for m in merges], unk_token="<unk>",
                                                fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = LLAMA_DECODER()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    tokenizer.add_special_tokens([model.id_to_piece(i) for i in range(model.vocab_size())
                                  if model.is_control(i) or model.is_unknown(i)])
    return HuggingFace(tokenizer.to_str())


def LLAMA_DECODER():
    return decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                              decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def big(args):
    rng = random.Random(20261128)
    lines = []
    for path in args.lines:
        lines += [l for l in path.read_text().split("\n") if l.strip()]
    texts = FIXED + rng.sample(lines, args.count) + [random_text(rng) for _ in range(args.count)]
    kinds = [("tokenizer_json", lambda p: HuggingFace(p.read_text())), ("tiktoken", from_tiktoken),
             ("gguf", from_gguf), ("tekken", Tekken), ("sentencepiece", SentencePiece),
             ("sentencepiece_json", from_sentencepiece)]
    for kind, make in kinds:
        for item in getattr(args, kind):
            name, path = item.split("=", 1)
            write(args.out / name, make(pathlib.Path(path)), texts, args.count // 5, rng)


# --- Small vocabularies, trained here ------------------------------------------------------------

def trained(texts, size, model=None, normalizer=None, pre_tokenizer=None, decoder=None,
            byte_level=False, alphabet=None, special=(), post_processor=None):
    tokenizer = tokenizers.Tokenizer(model or models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder:
        tokenizer.decoder = decoder
    if post_processor:
        tokenizer.post_processor = post_processor
    start = pre_tokenizers.ByteLevel.alphabet() if byte_level else alphabet or []
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=start, show_progress=False))
    return tokenizer


def with_bytes(tokenizer):
    """Byte tokens, which trainers do not make, before all others but <unk>, <s>, </s>."""
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    old = sorted(model["vocab"], key=model["vocab"].get)
    pieces = old[:3] + [f"<0x{b:02X}>" for b in range(256)] + old[3:]
    model["vocab"] = {p: i for i, p in enumerate(pieces)}
    model.update(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    return json.dumps(document, ensure_ascii=False)


def small_vocabularies(texts):
    p, n, d = pre_tokenizers, normalizers, decoders
    level = lambda **k: p.ByteLevel(add_prefix_space=False, **k)
    special = ["<unk>", "<s>", "</s>"]
    split = lambda regex, how, invert=False: p.Split(tokenizers.Regex(regex), how, invert)
    yield "gpt2", trained(texts, 500, pre_tokenizer=level(), decoder=d.ByteLevel(), byte_level=True,
                          special=["<|endoftext|>"])
    yield "prefix_space", trained(texts, 400, pre_tokenizer=p.ByteLevel(add_prefix_space=True),
                                  decoder=d.ByteLevel(), byte_level=True)
    yield "digits_nfc", trained(
        texts, 400, normalizer=n.NFC(), byte_level=True, decoder=d.ByteLevel(),
        pre_tokenizer=p.Sequence([p.Digits(individual_digits=True), p.Punctuation("contiguous"),
                                  level()]))
    yield "split_behaviors", trained(
        texts, 400, byte_level=True, decoder=d.ByteLevel(),
        pre_tokenizer=p.Sequence([
            split(r"\d{1,3}", "merged_with_previous"), split(r"[aeiou]+", "merged_with_next"),
            split(r"\p{Lu}", "contiguous"), split("q", "removed"), split(r"\w+|\S", "isolated"),
            p.Split("th", "isolated"), level(use_regex=False)]))
    yield "lower_strip", trained(
        texts, 400, model=models.BPE(unk_token="<unk>"), special=["<unk>"],
        normalizer=n.Sequence([n.NFKD(), n.StripAccents(), n.Lowercase(), n.Strip(),
                               n.Replace(tokenizers.Regex(r"\s+"), " "), n.Replace("--", "-")]),
        pre_tokenizer=p.Sequence([p.Whitespace(), p.Digits(individual_digits=False)]),
        decoder=d.Fuse())
    for scheme in ("always", "first", "never"):
        yield f"metaspace_{scheme}", trained(
            texts, 300, model=models.BPE(unk_token="<unk>", fuse_unk=scheme == "first"),
            special=special, pre_tokenizer=p.Metaspace(prepend_scheme=scheme),
            decoder=d.Metaspace(prepend_scheme=scheme))
    yield "metaspace_whole", trained(
        texts, 300, model=models.BPE(unk_token="<unk>"), special=special,
        pre_tokenizer=p.Metaspace(prepend_scheme="never", split=False),
        decoder=d.Metaspace(prepend_scheme="never"))
    yield "nfkc_whitespace", trained(
        texts, 300, model=models.BPE(unk_token="<unk>"), special=special,
        normalizer=n.Sequence([n.NFKC(), n.NFD()]), decoder=d.Fuse(),
        pre_tokenizer=p.Sequence([p.WhitespaceSplit(), p.Punctuation()]))
    yield "llama2", with_bytes(trained(
        texts, 300, model=models.BPE(unk_token="<unk>", fuse_unk=True), special=special,
        normalizer=n.Sequence([n.Prepend("\u2581"), n.Replace(" ", "\u2581")]),
        decoder=LLAMA_DECODER(),
        post_processor=processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)])))
    llama3 = json.loads(trained(
        texts, 500, byte_level=True, decoder=d.ByteLevel(),
        pre_tokenizer=p.Sequence([split(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1), "isolated"),
                                  level(use_regex=False)])).to_str())
    llama3["model"]["ignore_merges"] = True
    llama3["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m
                                 for m in llama3["model"]["merges"] if len("".join(m)) < 5]
    yield "ignore_merges", json.dumps(llama3, ensure_ascii=False)
    added = trained(texts, 350, normalizer=n.NFKC(), pre_tokenizer=level(), decoder=d.ByteLevel(),
                    byte_level=True)
    A = tokenizers.AddedToken
    added.add_tokens([A("tool", single_word=True), A("  ", normalized=False), A("\n\n\n"),
                      A("<eats>", lstrip=True, rstrip=True), A("<left>", lstrip=True),
                      A("<right>", rstrip=True), A("<eats>more"), A("\ufb01n", normalized=True)])
    added.add_special_tokens(["<|end|>", A("[MASK]", lstrip=True)])
    yield "added", added


def small_tekken(texts):
    """A tekken.json in the file's form; the bytes of a trained vocabulary in order of rank."""
    tokenizer = trained(texts, 500, byte_level=True,
                        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False))
    back = {c: b for b, c in byte_letters().items()}
    vocab = tokenizer.get_vocab()
    tokens = [bytes(back[c] for c in t) for t in sorted(vocab, key=vocab.get)]
    tokens = [bytes([b]) for b in range(256)] + [t for t in tokens if len(t) > 1]
    entries = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
               for i, t in enumerate(tokens)]
    pattern = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
               r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
               r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    config = {"pattern": pattern, "num_vocab_tokens": len(tokens), "version": "v3",
              "default_vocab_size": len(tokens) + 30 - 7, "default_num_special_tokens": 30}
    return json.dumps({"config": config, "vocab": entries})


def seed(name, text):
    """Fuzzers like small files: the first tokens, and the merges that need no other."""
    document = json.loads(text)
    model = document["model"]
    keep = 261 if model.get("byte_fallback") else 40
    vocab = {piece: i for piece, i in model["vocab"].items() if i < keep}
    pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    for left, right in [m for m in pairs if m[0] in vocab and m[1] in vocab][:5]:
        vocab[left + right] = max(vocab.values()) + 1
    model["vocab"] = vocab
    model["merges"] = [m for m in pairs if {*m, "".join(m)} <= vocab.keys()]
    for i, token in enumerate(document["added_tokens"]):
        token["id"] = vocab.get(token["content"], max(vocab.values()) + 1 + i)
    FUZZ.mkdir(parents=True, exist_ok=True)
    (FUZZ / name).write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def small():
    rng = random.Random(7)
    lines = [json.loads(line) for line in LINES.read_text().split("\n") if line]
    train = [l for l in lines[100:5000] if l.strip()][:2000]
    texts = (FIXED + rng.sample(train, 60) + [random_text(rng) for _ in range(150)] +
             ["tools tool, tool-tool _tool  x\n\n\ny <eats> a <eats>more <left> b <right>  c",
              "fin \ufb01n \uff54ool [MASK] <|end|> x [MASK]"])
    for name, vocabulary in small_vocabularies(train):
        text = vocabulary if isinstance(vocabulary, str) else vocabulary.to_str()
        text = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        write(GOLDEN / name, HuggingFace(text), texts, 40, rng)
        seed(name, text)
    (GOLDEN / "tekken").mkdir(parents=True, exist_ok=True)
    path = GOLDEN / "tekken" / "tekken.json"
    path.write_text(small_tekken(train))
    FUZZ.joinpath("tekken").write_text(path.read_text())
    FUZZ.joinpath("tokenizer_config").write_text(json.dumps(
        {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": True,
         "additional_special_tokens": ["<x>"], "chat_template": [{"name": "default", "template": "a"}],
         "added_tokens_decoder": {"1": {"content": "<s>", "special": True}}}))
    write(GOLDEN / "tekken", Tekken(path), texts, 40, rng)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("small")
    b = commands.add_parser("big")
    b.add_argument("out", type=pathlib.Path)
    b.add_argument("--lines", type=pathlib.Path, nargs="+", required=True)
    b.add_argument("--count", type=int, default=10_000)
    for kind in ("tokenizer-json", "tiktoken", "gguf", "tekken", "sentencepiece",
                 "sentencepiece-json"):
        b.add_argument("--" + kind, action="append", default=[], metavar="NAME=FILE")
    args = parser.parse_args()
    small() if args.command == "small" else big(args)


if __name__ == "__main__":
    sys.exit(main())
