"""Plain text in, what train.py reads out: tokenizer.model, *.bin, split.json, heldout text.

    python prepare.py --data DIR --out prepared --tokenizer ../../models/afia-5m/tokenizer.model

DIR holds UTF-8 text: collections of short stories with a line <|endoftext|> between stories, and
whole books: pg-<title>-<number>.txt after their Project Gutenberg number, cb-* and chilit-* (two
corpora of children's books). Held out are the stories that --split names, whatever resembles one of
them, and the whole books of HELD_BOOKS; nothing of them reaches the tokenizer, a bin or the chat pairs.

Of the books those passages are taken that are as simple as a story for small children: short
sentences, of words that the stories use, too. world.bin is story_world.py's.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import random
import re
import shutil

import numpy as np
import sentencepiece

import story_world

BOS, EOS, INST, END_INST = 1, 2, 3, 4
CONTROL = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
           "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]  # Ids 3 to 9, as in Mistral's tokenizer v3.
TINY_STORIES = ["tinystories-v1-sample", "tinystories-v2-gpt4-sample", "tinystories-part-c",
                "tinystories-part-d", "tinystories-part-e"]
COLLECTIONS = [*TINY_STORIES, "tinyfabulist-open-models", "bookdash-en", "storyweaver-pratham-en",
               "african-storybook-en"]
COMMON_WORDS, COMMON_SHARE, SENTENCE_WORDS = 6000, 0.93, 16  # Of a passage that is simple enough.
HELD_BOOKS = ["the-bobbsey-twins-at-school", "four-little-blossoms-at-brookside-farm",
              "the-curlytops-snowed-in", "six-little-bunkers-at-grandma-bell-s",
              "among-the-farmyard-people", "sunny-boy-in-the-country", "chilit-willows",
              "cb-baum-the-marvelous-land-of-oz"]
BEGINNING = 60  # Characters of a story that split.json shows.
SHINGLE, RESEMBLES = 8, 0.2  # Words in a row, and the share of them that two tellings of one story share.
WORLD_KINDS = {"plain": 0.4, "questions": 0.2, "chat": 0.4}
HELD_WORLD = 300
FOLD = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--",
                      "\u2013": "-", "\u2026": "...", "\ufeff": "", "_": "", "\r": ""})
WHO = re.compile(r"(?:little|big|old|young|kind|small|brave) (girl|boy|dog|cat|bird|rabbit|bear|"
                 r"fish|frog|mouse|duck|otter|car|tree|king|fox|lion|elephant|bunny|squirrel|bee|"
                 r"monkey|turtle|pig|cow|horse)")
NAME = re.compile(r"(?:named|called) ([A-Z][a-z]+)")


def read(path):
    text = path.read_text(encoding="utf8", errors="replace").translate(FOLD)
    return re.sub(r"\[Illustration[^\]]*\]", "", text)


def paragraphs(text):
    """One line each, single spaces."""
    flat = (re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n", text))
    return [p for p in flat if p]


def read_stories(path):
    stories = ("\n\n".join(paragraphs(s)) for s in read(path).split("<|endoftext|>"))
    return [s for s in stories
            if 200 < len(s) < 8000 and sum(c.isascii() for c in s) / len(s) > 0.98]


def read_book(path, size=6000):
    """A book as documents of about `size` characters, headings and both ends left out."""
    text = [p for p in paragraphs(read(path)) if (len(p) > 40 or p[-1] in '.!?"')
            and not re.search(r"Gutenberg|CHAPTER|CONTENTS|Copyright|^[IVX]+\.?$", p)]
    documents, now, length = [], [], 0
    for p in text[8:-4]:
        now.append(p)
        length += len(p)
        if length > size:
            documents.append("\n\n".join(now))
            now, length = [], 0
    return documents


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shingles(text):
    found = words(text)
    return {" ".join(found[i:i + SHINGLE]) for i in range(len(found) - SHINGLE + 1)}


def split_stories(stories, split):
    """Those that split.json holds out, and of the others those that do not resemble one of them."""
    names = [s["sha256"] for s in split["held_out"]["stories"]]
    held = [(c, s) for c, s in stories if digest(s) in names]
    held.sort(key=lambda story: names.index(digest(story[1])))
    told = set().union(*(shingles(s) for _, s in held))
    kept = [s for _, s in stories if digest(s) not in names
            and len((mine := shingles(s)) & told) <= RESEMBLES * len(mine)]
    print(f"stories: {len(held)} held out, {len(kept)} to train on, "
          f"{len(stories) - len(held) - len(kept)} dropped that resemble a held-out one")
    return held, kept


def simple_passages(paths, stories):
    """Documents of the books that are simple, by the words that the stories use."""
    counts = collections.Counter(w for s in stories for w in words(s))
    common = {w for w, _ in counts.most_common(COMMON_WORDS)}

    def simple(passage):
        said = words(passage)
        return (len(said) <= SENTENCE_WORDS * len(re.findall(r"[.!?]+", passage))
                and sum(w in common for w in said) >= COMMON_SHARE * len(said))

    total, kept = 0, []
    for path in paths:
        passages = read_book(path)
        good = [p for p in passages if simple(p)]
        total += len(passages)
        kept += good
        if len(good) > len(passages) / 10:
            print(f"{path.stem}: {len(good)} of {len(passages)} passages")
    print(f"books: {len(kept)} of {total} passages are simple")
    return kept


def train_tokenizer(stories, books, out):
    """Mistral v3's conventions at 4096 pieces: BPE, byte fallback, nothing normalised."""
    corpus = out / "tokenizer.txt"
    corpus.write_text("\n".join(s.replace("\n\n", "\n") for s in stories + books[:1200]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(out / "tokenizer"), vocab_size=4096, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=True,
        remove_extra_whitespaces=False, character_coverage=0.9995, unk_id=0, bos_id=1, eos_id=2,
        pad_id=-1, control_symbols=CONTROL, user_defined_symbols=["\n"], split_digits=True,
        max_sentence_length=100000, num_threads=2)
    corpus.unlink()


def chat_prompt(story, rng):
    who, name, r = WHO.search(story[:300]), NAME.search(story), rng.random()
    if who and r < 0.6:
        return rng.choice(["Tell me a story about a %s.", "Write a short story about a %s.",
                           "Can you tell a story about a %s?",
                           "A story about a %s, please."]) % who.group(1)
    if name and r < 0.9:
        return rng.choice(["Tell me a story about %s.", "Write a story about %s."]) % name.group(1)
    return rng.choice(["Tell me a story.", "Tell me a short story.",
                       "Please tell me a bedtime story."])


def about_the_story(story, rng):
    """A question whose answer stands in the story itself, or None: (prompt, answer)."""
    parts = story.split("\n\n")
    called = re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", story)  # Not at a sentence's start.
    who = sorted({n for n in called if called.count(n) > 2}, key=called.index)[:3]
    r = rng.random()
    if who and r < 0.4:
        names = " and ".join([", ".join(who[:-1]), who[-1]] if len(who) > 1 else who)
        verb = "are" if len(who) > 1 else "is"
        return f"{story}\n\nWho is in this story?", f"{names} {verb} in this story."
    if len(parts) > 2 and r < 0.7:
        return f"{story}\n\nTell me again how it ended.", parts[-1]
    if len(parts) > 1:
        cut = rng.randrange(1, len(parts))
        return "Continue this story: " + "\n\n".join(parts[:cut]), "\n\n".join(parts[cut:])
    return None


def book_entry(path):
    pg = re.fullmatch(r"pg-(.*)-(\d+)", path.stem)
    if not pg:
        return {"work": path.stem}
    return {"work": pg.group(1).replace("-", " "), "gutenberg": int(pg.group(2))}


def world_documents(encode, count):
    """Token ids of stories of the story world."""
    rng = random.Random(0)
    for number in range(count):
        kind = rng.choices(list(WORLD_KINDS), list(WORLD_KINDS.values()))[0]
        story = story_world.make(0, number, kind)
        yield chat(encode, story["turns"]) if kind == "chat" else [BOS] + encode(story["text"]) + [EOS]


def chat(encode, turns):
    """As Mistral v3 does it: control tokens by id, every text segment encoded on its own."""
    return [BOS] + [t for prompt, answer in turns
                    for t in [INST] + encode(prompt) + [END_INST] + encode(answer) + [EOS]]


def write_held_out(out, held, held_paths):
    separator = "\n\n<|endoftext|>\n\n"
    texts = {"heldout": [s for c, s in held if c in TINY_STORIES],
             "heldout_picture_books": [s for c, s in held if c not in TINY_STORIES]}
    for p in held_paths:
        texts[f"heldout_{book_entry(p).get('gutenberg', p.stem)}"] = read_book(p)
    for name, documents in texts.items():
        (out / f"{name}.txt").write_text(separator.join(documents) + "\n")
    with (out / "heldout_world.jsonl").open("w") as f:
        for number in range(HELD_WORLD):
            f.write(json.dumps(story_world.make(0, number, "questions", held_out_story=True)) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, help="use this one instead of training")
    parser.add_argument("--split", type=pathlib.Path, default=pathlib.Path(__file__).with_name("split.json"))
    parser.add_argument("--world", type=int, default=60000, help="stories of story_world.py")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)

    stories = [(c, s) for c in COLLECTIONS for s in read_stories(args.data / f"{c}.txt")]
    held, stories = split_stories(stories, json.loads(args.split.read_text()))
    paths = sorted(p for kind in ("pg", "cb", "chilit") for p in args.data.glob(f"{kind}-*.txt"))
    held_paths = [p for p in paths if any(h in p.name for h in HELD_BOOKS)]
    train_paths = [p for p in paths if p not in held_paths]
    books = simple_passages(train_paths, stories)

    model = args.out / "tokenizer.model"
    if args.tokenizer is None:
        train_tokenizer(stories, books, args.out)
    elif args.tokenizer.resolve() != model.resolve():
        shutil.copyfile(args.tokenizer, model)
    encode = sentencepiece.SentencePieceProcessor(model_file=str(model)).encode

    def write(name, documents):
        documents = list(documents)
        flat = np.array([t for d in documents for t in d], dtype=np.uint16)
        flat.tofile(args.out / f"{name}.bin")
        print(f"{name}: {len(documents)} documents, {len(flat):,} tokens", flush=True)

    write("stories", ([BOS] + encode(s) + [EOS] for s in stories))
    write("books", ([BOS] + encode(s) + [EOS] for s in books))
    told = [s for s in stories if len(s) < 2500]
    pairs = [(chat_prompt(s, rng), s) for s in told]
    pairs += [pair for s in told if (pair := about_the_story(s, rng))]
    write("chat", (chat(encode, [pair]) for pair in pairs))
    write_held_out(args.out, held, held_paths)
    write("world", world_documents(encode, args.world))
    split = {
        "held_out": {"books": [book_entry(p) for p in held_paths],
                     "stories": [{"collection": c, "begins": s[:BEGINNING], "sha256": digest(s)}
                                 for c, s in held]},
        "trained_on": {"books": [book_entry(p) for p in train_paths],
                       "collections": {c: "all but the held-out stories" for c in COLLECTIONS}},
    }
    (args.out / "split.json").write_text(json.dumps(split, indent=1) + "\n")


if __name__ == "__main__":
    main()
