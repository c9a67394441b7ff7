"""Plain text in, what train.py reads out: tokenizer.model, *.bin, split.json, heldout text.

    python prepare.py --data DIR --out prepared

DIR holds UTF-8 text: collections of short stories with a line <|endoftext|> between stories, and
whole books: pg-<title>-<number>.txt after their Project Gutenberg number, cb-* and chilit-* (two
corpora of children's books). Held out are five stories in a hundred of the collections and the
whole books of HELD_BOOKS; nothing of them reaches the tokenizer, a bin or the chat pairs.

The books come twice: those simple enough to learn to tell stories from (SIMPLE, and `books.bin`),
and all the others (`shelf.bin`), which keep a small model from learning the first by heart.
"""

import argparse
import json
import pathlib
import random
import re
import shutil

import numpy as np
import sentencepiece

BOS, EOS, INST, END_INST = 1, 2, 3, 4
CONTROL = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
           "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]  # Ids 3 to 9, as in Mistral's tokenizer v3.
COLLECTIONS = ["tinystories-v1-sample", "tinystories-v2-gpt4-sample", "storyweaver-pratham-en",
               "african-storybook-en"]
SIMPLE = re.compile("the-tale-of|adventures-of|uncle-wig|bunny-brown|mother-west|happy-jack|fox|"
                   "wood-mouse|pigg|bully|sammie|lulu|squinty|mappo|nero|sandman|raggedy|"
                   "kindergarten|meadow-people")
HELD_BOOKS = ["the-bobbsey-twins-at-school", "four-little-blossoms-at-brookside-farm",
              "the-curlytops-snowed-in", "six-little-bunkers-at-grandma-bell-s",
              "among-the-farmyard-people", "sunny-boy-in-the-country", "chilit-willows",
              "cb-baum-the-marvelous-land-of-oz"]
HELD_STORIES = 150
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


def train_tokenizer(stories, books, out):
    """Mistral v3's conventions at 4096 pieces: BPE, byte fallback, nothing normalised."""
    corpus = out / "tokenizer.txt"
    corpus.write_text("\n".join(s.replace("\n\n", "\n") for s in stories * 2 + books[:1200]))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, help="use this one instead of training")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)

    stories = [(c, s) for c in COLLECTIONS for s in read_stories(args.data / f"{c}.txt")]
    rng.shuffle(stories)
    held, stories = stories[:HELD_STORIES], [s for _, s in stories[HELD_STORIES:]]
    paths = sorted(p for kind in ("pg", "cb", "chilit") for p in args.data.glob(f"{kind}-*.txt"))
    held_paths = [p for p in paths if any(h in p.name for h in HELD_BOOKS)]
    train_paths = [p for p in paths if p not in held_paths]
    simple = [p for p in train_paths if p.name.startswith("pg-") and SIMPLE.search(p.name)]
    books = [d for p in simple for d in read_book(p)]
    shelf = [d for p in train_paths if p not in simple for d in read_book(p)]

    model = args.out / "tokenizer.model"
    if args.tokenizer is None:
        train_tokenizer(stories, books, args.out)
    elif args.tokenizer.resolve() != model.resolve():
        shutil.copyfile(args.tokenizer, model)
    encode = sentencepiece.SentencePieceProcessor(model_file=str(model)).encode

    def write(name, documents):
        flat = np.array([t for d in documents for t in d], dtype=np.uint16)
        flat.tofile(args.out / f"{name}.bin")
        print(f"{name}: {len(documents)} documents, {len(flat):,} tokens")

    # As Mistral v3 does it: control tokens by id, every text segment encoded on its own.
    write("stories", [[BOS] + encode(s) + [EOS] for s in stories])
    write("books", [[BOS] + encode(s) + [EOS] for s in books])
    write("shelf", [[BOS] + encode(s) + [EOS] for s in shelf])
    told = [s for s in stories if len(s) < 2500]
    pairs = [(chat_prompt(s, rng), s) for s in told]
    pairs += [pair for s in told if (pair := about_the_story(s, rng))]
    write("chat", [[BOS, INST] + encode(prompt) + [END_INST] + encode(answer) + [EOS]
                   for prompt, answer in pairs])

    separator = "\n\n<|endoftext|>\n\n"
    texts = {"heldout": [s for c, s in held if c.startswith("tinystories")],
             "heldout_picture_books": [s for c, s in held if not c.startswith("tinystories")]}
    for p in held_paths:
        texts[f"heldout_{book_entry(p).get('gutenberg', p.stem)}"] = read_book(p)
    for name, documents in texts.items():
        (args.out / f"{name}.txt").write_text(separator.join(documents) + "\n")
    split = {
        "held_out": {"books": [book_entry(p) for p in held_paths],
                     "stories": [{"collection": c, "begins": s[:60]} for c, s in held]},
        "trained_on": {"books": [book_entry(p) for p in train_paths],
                       "collections": {c: "all but the held-out stories" for c in COLLECTIONS}},
    }
    (args.out / "split.json").write_text(json.dumps(split, indent=1) + "\n")


if __name__ == "__main__":
    main()
