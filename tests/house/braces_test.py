"""Every body of if, else, for and while stands in braces: braces_test.py ROOT. clang-format 14 cannot
insert them, and clang-tidy reads neither CUDA sources nor tests."""

import pathlib
import re
import sys

ROOMS = ("attention", "base", "bench", "engine", "kernels", "proto", "server", "tests", "tools")
# What hides code from a scanner: literals and comments, and directives with their continued lines.
HIDDEN = re.compile(r'R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\''
                    r"|//[^\n]*|/\*.*?\*/|^[ \t]*#(?:\\\n|[^\n])*", re.DOTALL | re.MULTILINE)
KEYWORD = re.compile(r"(?<![\w.])(?:(?:if(?:\s+constexpr)?|for|while)\s*(?=\()|else\b(?!\s*if\b))")


def after_brackets(text: str, at: int) -> int:
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return at


def lines_without(source: str):
    """Numbers of the lines with a keyword whose body has no braces."""
    text = HIDDEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)
    for match in KEYWORD.finditer(text):
        at = match.end() if match[0] == "else" else after_brackets(text, match.end())
        body = text[at:].lstrip()[:1]
        # `while (...);` ends a do, or has no body.
        if body != "{" and not (body == ";" and match[0].startswith("while")):
            yield text.count("\n", 0, match.start()) + 1


def check_test_itself():
    for bad in ("if (a(1)) b();", "if (a) {\n} else b();", "for (;;) b();", "while (a) b();",
                "if constexpr (a) b();"):
        assert list(lines_without(bad)), bad
    for good in ("if (a) {\n} else if (b) {\n} else {\n}", "do {\n} while (a);", "while (a) {\n}",
                 'x = "if (a) b";', "// else b\n", "#if (a)\n", "R\"(else b)\"", "c = '\"'; // if (a) b"):
        assert not list(lines_without(good)), good


def main(root: pathlib.Path) -> int:
    check_test_itself()
    problems, files = [], 0
    for path in sorted(p for room in ROOMS for p in (root / room).rglob("*")):
        if path.suffix in {".h", ".cc", ".cu", ".cuh"}:
            files += 1
            problems += [f"{path.relative_to(root)}:{line}: no braces"
                         for line in lines_without(path.read_text())]
    if files < 100:
        problems.append(f"only {files} files found under {root}: the test looks in the wrong place")
    print("\n".join(problems) or f"{files} files, every body in braces")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
