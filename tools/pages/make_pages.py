"""Manual pages and shell completions of alccad and alcca, from what their --help says.

usage: make_pages.py ALCCAD ALCCA SOURCE_DIR OUT_DIR

The option tables in the programs are the one source: nothing here names an option. Exit codes of
alccad come from the table of docs/operations.md. OUT_DIR gets what belongs in PREFIX/share.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys

import man_page
import shells

HELP_COLUMN = 30  # CLI11's


@dataclasses.dataclass
class Option:
    names: list[str]  # "-h", "--help"; of a positional: its name
    value: str = ""  # kind of its value; empty: a flag
    choices: list[str] = dataclasses.field(default_factory=list)
    default: str = ""
    help: str = ""

    @property
    def path(self):
        """"dir", "file" or "": what of the file system its value names, by its help."""
        if self.choices or not self.value:
            return ""
        found = re.search(r"\b(folder|file)\b", self.help)
        return {"folder": "dir", "file": "file"}[found[1]] if found else ""


@dataclasses.dataclass
class Command:
    name: str
    about: str = ""
    usage: str = ""
    groups: dict[str, list[Option]] = dataclasses.field(default_factory=dict)
    positionals: list[Option] = dataclasses.field(default_factory=list)
    commands: list["Command"] = dataclasses.field(default_factory=list)

    def options(self):
        return [option for group in self.groups.values() for option in group]


def parse_option(column: str, text: str) -> Option:
    """`--mode TEXT:{dense,alcca}=dense` and its help."""
    names, _, kind = column.partition(" ")
    option = Option(names.split(","), help=text)
    kind = kind.replace("REQUIRED", "").strip()
    kind = re.sub(r" (Needs|Excludes): .*", "", kind)
    if found := re.fullmatch(r"([A-Z]+)(:.*?)?(=.*?)?( \.\.\.)?", kind, re.DOTALL):
        option.value = found[1]
        option.default = (found[3] or "")[1:]
        if choices := re.search(r"\{(.*)\}", found[2] or ""):
            option.choices = [choice for choice in choices[1].split(",") if choice]
        elif limits := re.search(r" in \[(.*) - (.*)\]", found[2] or ""):
            option.help = f"{text} ({limits[1]} to {limits[2]})".strip()
    elif kind:
        raise ValueError(f"{column}: not understood")
    # alccad writes both at the end of the help: {choices} [default]
    if found := re.search(r" \[([^\]]*)\]$", option.help):
        option.default, option.help = found[1], option.help[:found.start()]
    if found := re.search(r" \{([^}]*)\}$", option.help):
        option.choices = [choice for choice in found[1].split(",") if choice]
        option.help = option.help[:found.start()]
    return option


def parse_help(name: str, text: str) -> Command:
    command = Command(name)
    about, _, rest = text.partition("Usage: ")
    command.about = " ".join(about.split())
    command.usage, _, rest = rest.partition("\n")
    group, entries = "", []  # (group, names and type, help)
    for line in rest.splitlines():
        if not line.strip():
            continue
        if not line.startswith(" "):
            group = line.rstrip().removesuffix(":")
        elif re.match(r"  \S", line):
            # The help begins at column 30, or on the next line after names that reach it.
            left, words = line[:HELP_COLUMN], line[HELP_COLUMN:]
            if not left.endswith(" ") or left.count("[") != left.count("]"):
                left, words = line, ""
            entries.append([group, left.strip(), words.strip()])
        else:
            entries[-1][1] = " ".join([entries[-1][1], entries[-1][2]]).strip()
            entries[-1][2] = line.strip()
    for group, column, words in entries:
        if group == "Subcommands":
            command.commands.append(Command(column, about=words))
        elif group == "Positionals":
            command.positionals.append(parse_option(column, words))
        else:
            command.groups.setdefault(group, []).append(parse_option(column, words))
    return command


def read_program(path: str) -> Command:
    name = pathlib.Path(path).name

    def ask(*words):
        return subprocess.run([path, *words, "--help"], check=True, capture_output=True,
                              text=True).stdout

    program = parse_help(name, ask())
    program.commands = [parse_help(c.name, ask(c.name)) for c in program.commands]
    return program


def version_of(path: str) -> str:
    return subprocess.run([path, "--version"], check=True, capture_output=True,
                          text=True).stdout.split()[-1]


def main():
    alccad, alcca, source, out = sys.argv[1], sys.argv[2], *map(pathlib.Path, sys.argv[3:5])
    daemon, client = read_program(alccad), read_program(alcca)
    files = {}
    for program in (daemon, client):
        files[f"bash-completion/completions/{program.name}"] = shells.bash(program)
        files[f"zsh/vendor-completions/_{program.name}"] = shells.zsh(program)
        files[f"fish/vendor_completions.d/{program.name}.fish"] = shells.fish(program)
    here, version = pathlib.Path(__file__).parent, version_of(alccad)
    codes = man_page.exit_codes((source / "docs/operations.md").read_text())
    files["man/man8/alccad.8"] = man_page.fill(
        (here / "alccad.8.in").read_text(), VERSION=version, OPTIONS=man_page.options(daemon),
        EXIT_STATUS=codes)
    files["man/man1/alcca.1"] = man_page.fill(
        (here / "alcca.1.in").read_text(), VERSION=version, COMMANDS=man_page.commands(client))
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
