"""Holds the table of errors in docs/operations.md against the code, both ways.

Every text of the table must stand in a string literal beside its status; every error that the
request path can construct must be explained by a row.
"""

import pathlib
import re
import sys

# Where errors that reach a client are made.
SOURCES = [
    "server/api/service.cc",
    "server/api/intake.cc",
    "server/api/answer.cc",
    "server/api/grpc_call.cc",
    "server/api/delivery.cc",
    "server/process/health.cc",
    "server/api/request_validation.cc",
    "server/api/wire.cc",
    "attention/modes.cc",
    "server/daemon.cc",
    "engine/engine.cc",
    "engine/scheduler.cc",
    "engine/sequence.cc",
    "engine/constraint/compile_pool.cc",
    "engine/constraint/matcher.cc",
    "engine/constraint/grammar_passes.cc",
    "engine/text/chat_template.cc",
    "kernels/cpu/attention_state_cpu.cc",
]
# Not a client's: the start, and contracts between our own layers that validation keeps.
INTERNAL = [
    "listen: cannot listen on ",
    " is not ",
    "eos_token_ids has ",
    " has token id ",
    "a request has a prompt, n >= 1 and max_tokens >= 1",
    "request key ",
    "max_num_seqs is ",
    ", must be > 0",
    "the constraint was compiled for another vocabulary",
    " may not follow",
    " before the constraint is satisfied",
    "the text has ended",
    "not wanted any more",
]
# Its rules are a conversation's, behind the row `messages[`.
CHAT = "engine/text/chat_template.cc"

LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
MADE = re.compile(
    r"absl::(?P<absl>\w+)Error\(|(?P<field>FieldError)\("
    r"|(?:grpc::Status(?: \w+)?\(|\{)\s*grpc::StatusCode::(?P<grpc>[A-Z_]+),"
)


def status_of(match: re.Match) -> str:
    if match["field"]:
        return "INVALID_ARGUMENT"
    name = match["grpc"] or match["absl"]
    return name if match["grpc"] else re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def arguments(text: str, start: int) -> str:
    """What stands between the bracket that is open at `start` and its end."""
    depth, at = 1, start
    while depth > 0 and at < len(text):
        if text[at] == '"':
            at = LITERAL.match(text, at).end() - 1
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[at], 0)
        at += 1
    return text[start : at - 1]


def errors(root: pathlib.Path):
    """(file, status, literals) of every error that the sources make."""
    for name in SOURCES:
        text = re.sub(r"//[^\n]*", "", (root / name).read_text())
        text = re.sub(r'"\s*\n\s*"', "", text)  # neighbours are one literal
        for match in MADE.finditer(text):
            literals = LITERAL.findall(arguments(text, match.end()))
            if literals:
                yield name, status_of(match), [x.replace('\\"', '"') for x in literals]


def main(root: pathlib.Path) -> int:
    page = (root / "docs/operations.md").read_text()
    table = page[page.index("<!-- errors:") :]
    rows = re.findall(r"^\| ([A-Z_]+) \| `([^`]+)` \|[^|]+\|[^|]+\|$", table, re.MULTILINE)
    made = list(errors(root))
    everything = "".join((root / name).read_text() for name in SOURCES)
    everything = re.sub(r'"\s*\n\s*"', "", everything)
    problems = []
    for status, text in rows:
        if status == "INVALID_ARGUMENT" and text in everything:
            continue  # a rule of a field, handed through helpers
        if not any(s == status and any(text in x for x in xs) for _, s, xs in made):
            problems.append(f"docs/operations.md: {status} `{text}` is nowhere in the code")
    for name, status, literals in made:
        if name == CHAT and status == "INVALID_ARGUMENT":
            continue
        if any(internal in x for x in literals for internal in INTERNAL):
            continue
        if not any(s == status and any(t in x for x in literals) for s, t in rows):
            problems.append(f"{name}: {status} {literals} is not in docs/operations.md's table")
    if len(rows) < 20 or len(made) < 20:
        problems.append(f"{len(rows)} rows and {len(made)} errors: the test reads them wrongly")
    print("\n".join(problems) or f"{len(rows)} rows explain {len(made)} errors")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
