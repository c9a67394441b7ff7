"""Manual pages and completions know what the programs know: each option and choice of --help, asked
of the real shells.

usage: pages_test.py ALCCAD ALCCA PAGES_DIR
"""

import pathlib
import re
import shutil
import subprocess
import sys
import unittest

PROGRAMS = {pathlib.Path(path).name: path for path in sys.argv[1:3]}
PAGES = pathlib.Path(sys.argv[3])


def help_of(program, *command):
    return subprocess.run([PROGRAMS[program], *command, "--help"], check=True, capture_output=True,
                          text=True).stdout


def commands_of(program):
    _, _, rest = help_of(program).partition("\nSubcommands:\n")
    return re.findall(r"^  ([a-z-]+)", rest, re.MULTILINE)


def options_of(program, *command):
    return set(re.findall(r"^  (?:-\w,)?(--[a-z0-9-]+)", help_of(program, *command), re.MULTILINE))


def choices_of(program, *command):
    """{option: its choices}"""
    text = re.sub(r"\n {30}", " ", help_of(program, *command))
    found = re.findall(r"^  (--[a-z0-9-]+) .*\{,?([a-z0-9_,]+)\}", text, re.MULTILINE)
    return {option: set(choices.split(",")) for option, choices in found}


def bash(program, *words):
    """What bash offers after the words, of which the last is being typed."""
    script = PAGES / f"bash-completion/completions/{program}"
    # compopt works in an interactive completion only.
    done = subprocess.run(
        ["bash", "--norc", "-c", 'compopt() { :; }; source "$1"; shift; COMP_WORDS=("$@"); '
         f'COMP_CWORD=$(($# - 1)); _{program}; printf "%s\\n" "${{COMPREPLY[@]}}"', "bash",
         str(script), program, *words], check=True, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return set(done.stdout.split())


def fish(program, line):
    script = PAGES / f"fish/vendor_completions.d/{program}.fish"
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"complete -e -c {program}; source {script}; "
         f"complete -C '{program} {line}'"], check=True, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return {entry.split("\t")[0] for entry in done.stdout.splitlines()}


def zsh_specs(program, *command):
    """What the function hands to zsh's _arguments when `command` is typed."""
    function = PAGES / f"zsh/vendor-completions/_{program}"
    script = (f'state=argument; words=({" ".join(command)}); seen=0; '
              '_arguments() { if [[ $1 == -C ]]; then return; fi; print -rl -- "$@"; }; '
              '_describe() { :; }; ' + f'complete() {{ source {function}; }}; complete')
    text = function.read_text()  # `local state` would hide ours
    script = script.replace(f"source {function}", text.replace("local state line", "local line"))
    done = subprocess.run(["zsh", "-f", "-c", script], check=True, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


class Pages(unittest.TestCase):
    def each(self):
        for program in PROGRAMS:
            for command in [[]] + [[name] for name in commands_of(program)]:
                with self.subTest(program=program, command=command):
                    yield program, command

    def test_the_programs_were_understood(self):
        self.assertGreater(len(options_of("alccad")), 40)
        self.assertGreater(len(commands_of("alcca")), 10)
        self.assertEqual(choices_of("alccad")["--device"], {"auto", "cpu", "cuda"})
        self.assertIn("dense", choices_of("alcca", "generate")["--mode"])

    def test_bash(self):
        for program, command in self.each():
            self.assertEqual({word for word in bash(program, *command, "--")},
                             options_of(program, *command))
            for option, choices in choices_of(program, *command).items():
                self.assertEqual(bash(program, *command, option, ""), choices)
                self.assertEqual(bash(program, *command, option, "="), choices)
                first = sorted(choices)[0]
                self.assertIn(first, bash(program, *command, option, "=", first[:1]))
        self.assertTrue(set(commands_of("alcca")) <= bash("alcca", ""))
        self.assertIn("/etc", bash("alccad", "--model", "/et"))
        self.assertEqual(bash("alccad", "--threads", ""), set())

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish(self):
        for program, command in self.each():
            line = " ".join(command + ["--"])
            # fish adds `--option=` beside `--option` of those that take a value
            offered = {word.rstrip("=") for word in fish(program, line)}
            self.assertEqual(offered, options_of(program, *command))
            for option, choices in choices_of(program, *command).items():
                self.assertEqual(fish(program, " ".join(command + [option, ""])), choices)
        self.assertTrue(set(commands_of("alcca")) <= fish("alcca", ""))

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh(self):
        for program, command in self.each():
            if program == "alcca" and not command:
                continue  # its own _arguments is the one with -C, which dispatches
            specs = zsh_specs(program, *command)
            names = {re.match(r"-[\w-]+", spec)[0] for spec in specs if spec.startswith("-")}
            self.assertEqual({name for name in names if name.startswith("--")},
                             options_of(program, *command))
            for option, choices in choices_of(program, *command).items():
                spec = next(s for s in specs if s.startswith(option + "="))
                self.assertEqual(set(re.search(r":\(([^)]*)\)$", spec)[1].split()), choices)

    def test_manual_pages_name_every_option(self):
        for program, section in (("alccad", 8), ("alcca", 1)):
            page = (PAGES / f"man/man{section}/{program}.{section}").read_text().replace("\\-", "-")
            named = set(re.findall(r"\\fB(--[a-z0-9-]+)\\fR", page))
            wanted = set()
            for command in [[]] + [[name] for name in commands_of(program)]:
                wanted |= options_of(program, *command)
                if command:
                    self.assertIn(f'.SS "{program} {command[0]}"', page)
            self.assertFalse(wanted - named - {"--help", "--version"})
            self.assertNotIn("@", re.sub(r"\S+@\S+", "", page), "a placeholder was not filled")

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_groff_finds_nothing_to_criticise(self):
        for page in sorted(PAGES.glob("man/man*/*")):
            done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", str(page)],
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
