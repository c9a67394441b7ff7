#!/usr/bin/env python3
"""Writes engine/text/jinja/unicode_tables.h from the Unicode data of the Python that runs it.

Chat templates were written for Python's strings: str.lower, str.upper, str.title, repr. The tables
hold what those say of characters beyond ASCII, as ranges, in code point order.
"""

import pathlib
import sys
import unicodedata

OUT = pathlib.Path(__file__).resolve().parents[2] / "engine/text/jinja/unicode_tables.h"
ALL = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]


def ranges(test):
    """[first, last] of each run of code points that pass; surrogates count as passing."""
    out = []
    for c in range(0x80, 0x110000):
        if 0xD800 <= c < 0xE000 or test(chr(c)):
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
    return out


def cases(convert):
    """Runs {first, last, stride, delta} of one-to-one mappings, and the mappings to several."""
    runs, several = [], []
    for c in ALL:
        to = convert(chr(c))
        if to == chr(c):
            continue
        if len(to) > 1:
            several.append((c, [ord(x) for x in to]))
            continue
        delta = ord(to) - c
        last = runs[-1] if runs else None
        if last and last[3] == delta and c - last[1] in (1, 2) and (
                last[0] == last[1] or last[2] == c - last[1]):
            last[2] = c - last[1]
            last[1] = c
        else:
            runs.append([c, c, 1, delta])
    return runs, several


def rows(items, width):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 1 > 98:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join(lines + [line])


def table(kind, name, items):
    return f"inline constexpr {kind} {name}[] = {{\n{rows(items, 98)}\n}};\n"


def is_cased(c):
    return c.lower() != c or c.upper() != c or c.title() != c or unicodedata.category(c) in (
        "Lu", "Ll", "Lt") or c in "ªº"


def is_ignorable(c):
    return unicodedata.category(c) in ("Mn", "Me", "Cf", "Lm", "Sk") or c in "·\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"


def main():
    lower, lower_many = cases(str.lower)
    upper, upper_many = cases(str.upper)
    title_many = [(c, [ord(x) for x in chr(c).title()]) for c in ALL
                  if chr(c).title() != chr(c).upper()]
    body = [
        "#pragma once\n",
        f"// Unicode {unicodedata.unidata_version}, as Python {sys.version_info[0]}."
        f"{sys.version_info[1]} has it. Written by tools/golden/make_unicode_tables.py.\n",
        "// clang-format off\n",
        "namespace alcca::jinja {\n",
        "struct CodeRange {\n  char32_t first;\n  char32_t last;\n};",
        "// Every stride-th code point from first to last, moved by delta.",
        "struct CaseRange {\n  char32_t first;\n  char32_t last;\n  char32_t stride;\n"
        "  int32_t delta;\n};",
        "// Up to three code points for one; 0 = none.",
        "struct CaseMany {\n  char32_t from;\n  char32_t to[3];\n};\n",
    ]
    for name, test in (("kNotPrintable", lambda c: not c.isprintable()), ("kCased", is_cased),
                       ("kCaseIgnorable", is_ignorable)):
        body.append(table("CodeRange", name, [f"{{{a:#x}, {b:#x}}}," for a, b in ranges(test)]))
    for name, runs in (("kLower", lower), ("kUpper", upper)):
        body.append(table("CaseRange", name,
                          [f"{{{a:#x}, {b:#x}, {s}, {d}}}," for a, b, s, d in runs]))
    for name, many in (("kLowerMany", lower_many), ("kUpperMany", upper_many),
                       ("kTitle", title_many)):
        body.append(table("CaseMany", name, [
            f"{{{c:#x}, {{{', '.join(f'{x:#x}' for x in (to + [0, 0])[:3])}}}}}," for c, to in many]))
    body.append("}  // namespace alcca::jinja")
    OUT.write_text("\n".join(body) + "\n")


if __name__ == "__main__":
    main()
