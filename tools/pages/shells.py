"""Completions for bash, zsh and fish, of a parsed program (make_pages.Command)."""


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- bash


def bash_cases(command, prefix: str) -> list[str]:
    """`case` branches: what may follow an option that takes a value."""
    lines, any_value = [], []
    for option in command.options():
        if not option.value:
            continue
        pattern = "|".join(prefix + name for name in option.names)
        if option.choices:
            action = f"COMPREPLY=($(compgen -W {quoted(' '.join(option.choices))} -- \"$cur\"))"
        elif option.path:
            action = f"compopt -o filenames; COMPREPLY=($(compgen -{option.path[0]} -- \"$cur\"))"
        else:
            any_value.append(pattern)
            continue
        lines.append(f"    {pattern}) {action}; return ;;")
    if any_value:
        lines.append(f"    {'|'.join(any_value)}) COMPREPLY=(); return ;;")
    return lines


def bash(program) -> str:
    name = program.name
    words = {"": [n for option in program.options() for n in option.names]}
    words[""] += [command.name for command in program.commands]
    for command in program.commands:
        words[command.name] = [n for option in command.options() for n in option.names]
    lines = [
        f"# bash completion of {name}; generated from {name} --help",
        f"_{name}() {{",
        '  local cur=${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1)) command="" word',
        "  # bash breaks --key=value into three words",
        '  if [[ $cur == "=" ]]; then',
        '    cur=""',
        '  elif [[ ${COMP_WORDS[at]} == "=" ]]; then',
        "    at=$((at - 1))",
        "  fi",
        "  local prev=${COMP_WORDS[at]}",
    ]
    if program.commands:
        names = "|".join(command.name for command in program.commands)
        lines += ['  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
                  f"    case $word in {names}) command=$word; break ;; esac",
                  "  done"]
    lines += ['  case "$command $prev" in']
    lines += bash_cases(program, r"\ ")
    for command in program.commands:
        lines += bash_cases(command, command.name + r"\ ")
    lines += ["  esac", "  case $command in"]
    for command, known in words.items():
        list_words = f"compgen -W {quoted(' '.join(known))} -- \"$cur\""
        lines.append(f"    {quoted(command)}) COMPREPLY=($({list_words})) ;;")
    lines += ["  esac", "}", f"complete -o default -F _{name} {name}", ""]
    return "\n".join(lines)


# --- zsh


def zsh_specs(command) -> list[str]:
    specs = []
    for option in command.options():
        text = option.help
        for mark in ("\\", "[", "]", ":"):
            text = text.replace(mark, "\\" + mark)
        if option.choices:
            action = f":value:({' '.join(option.choices)})"
        elif option.path:
            action = ":path:_files" + (" -/" if option.path == "dir" else "")
        else:
            action = ":value: " if option.value else ""
        for name in option.names:
            equals = "=" if option.value and name.startswith("--") else ""
            specs.append(quoted(f"{name}{equals}[{text}]{action}"))
    if command.positionals:
        specs.append(quoted("*:argument:_files"))
    return specs


def zsh(program) -> str:
    name, joint = program.name, " \\\n      "
    lines = [f"#compdef {name}", f"# generated from {name} --help"]
    if not program.commands:
        return "\n".join(lines + [f"_arguments{joint}" + joint.join(zsh_specs(program)), ""])
    lines += ["local state line", "local -a commands", "commands=("]
    for command in program.commands:
        lines.append("  " + quoted(f"{command.name}:{command.about}"))
    lines += [")", f"_arguments -C{joint}" + joint.join(
        [*zsh_specs(program), quoted("1:command:->command"), quoted("*::argument:->argument")]),
        "case $state in", "  command) _describe command commands ;;", "  argument)",
        "    case $words[1] in"]
    for command in program.commands:
        lines += [f"    {command.name}) _arguments{joint}" + joint.join(zsh_specs(command)) + " ;;"]
    return "\n".join(lines + ["    esac ;;", "esac", ""])


# --- fish


def fish_options(program: str, command, condition: str) -> list[str]:
    lines = []
    for option in command.options():
        words = [f"complete -c {program}"] + ([f"-n {quoted(condition)}"] if condition else [])
        for name in option.names:
            words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
        if option.choices:
            words.append(f"-x -a {quoted(' '.join(option.choices))}")
        elif option.path:
            words.append("-r -F")
        elif option.value:
            words.append("-x")
        text = option.help.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(" ".join(words) + f" -d '{text}'")
    return lines


def fish(program) -> str:
    name = program.name
    lines = [f"# fish completion of {name}; generated from {name} --help", f"complete -c {name} -f"]
    if not program.commands:
        return "\n".join(lines + fish_options(name, program, "") + [""])
    lines += fish_options(name, program, "__fish_use_subcommand")
    for command in program.commands:
        text = command.about.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c {name} -n __fish_use_subcommand -a {command.name} -d '{text}'")
        lines += fish_options(name, command, f"__fish_seen_subcommand_from {command.name}")
    return "\n".join(lines + [""])
