"""roff of options, commands and exit codes, for the templates beside this file."""

import re


def roff(text: str) -> str:
    """Text as roff shows it literally, on one line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def tag(option) -> str:
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names)
    value = "|".join(option.choices) or option.value
    return f"{names} \\fI{roff(value)}\\fR" if value else names


def entry(option) -> list[str]:
    text = option.help
    if option.default:
        text += f" [default: {option.default}]" if text else f"Default: {option.default}"
    return [".TP", tag(option), roff(text.strip()) or "\\&"]


def option_groups(command, heading: str) -> list[str]:
    lines = []
    for group, members in command.groups.items():
        lines += [f'{heading} "{roff(group[:1].upper() + group[1:])}"']
        for option in members:
            lines += entry(option)
    return lines


def options(command) -> str:
    return "\n".join(option_groups(command, ".SS"))


def commands(program) -> str:
    lines = []
    for command in program.commands:
        lines += [f'.SS "{roff(program.name + " " + command.name)}"', roff(command.about) + "."]
        if command.positionals:
            for positional in command.positionals:
                lines += [".TP", f"\\fI{roff(positional.names[0])}\\fR",
                          roff(positional.help) or "\\&"]
        for option in command.options():
            if "--help" not in option.names:
                lines += entry(option)
    return "\n".join(lines)


def exit_codes(page: str) -> str:
    """The table `| exit code | meaning |` of docs/operations.md."""
    table = re.search(r"\| exit code \| meaning \|\n\|.*\n((?:\|.*\n)+)", page)
    if not table:
        raise SystemExit("docs/operations.md: no table headed `| exit code | meaning |`")
    lines = []
    for row in table[1].splitlines():
        code, meaning = (cell.strip() for cell in row.strip("|").split("|"))
        lines += [".TP", f"\\fB{roff(code)}\\fR", roff(meaning)]
    return "\n".join(lines)


def fill(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
