#!/usr/bin/env python3
"""What ptxas says each kernel takes: registers, spills, stack, shared memory.

As a compiler launcher (CMAKE_CUDA_COMPILER_LAUNCHER) it runs nvcc and keeps ptxas' lines, which
-Xptxas -v asks for, beside the object file instead of on the screen:

    nvcc_resources.py launch [ccache] nvcc ... -o x.o      ->  x.o.ptxas

As a check it prints a table and fails when a kernel of the list spills, or when an entry of the
list matches no kernel:

    nvcc_resources.py check --hot kernels/cuda/hot_kernels.txt DIRECTORY_OR_FILE...
"""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys

COMPILING = re.compile(r"ptxas info\s*: Compiling entry function '(\S+)' for '(\S+)'")
PROPERTIES = re.compile(r"ptxas info\s*: Function properties for (\S+)")
SPILLS = re.compile(
    r"\s*(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"ptxas info\s*: Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
# ptxas gave up something a kernel asked for: wgmma run one by one, setmaxnreg ignored.
GAVE_UP = re.compile(r"ptxas (?:info|warning)\s*: \((C75\d\d)\)(?:.*?function '(\S+?)')?")
OURS = re.compile(r"ptxas (info|warning)\s*:|\s+\d+ bytes stack frame")


class Kernel:
    """One function of one architecture. Bytes; `entry` is False for a called device function."""

    def __init__(self, name, arch, entry):
        self.name, self.arch, self.entry = name, arch, entry
        self.registers = self.shared = self.stack = self.spill_stores = self.spill_loads = 0
        self.gave_up = []

    @property
    def spills(self):
        return self.spill_stores + self.spill_loads


def parse(lines):
    """The kernels of one ptxas report, in order of appearance."""
    kernels, arch, entry, current = {}, "", None, None
    notes = []
    for line in lines:
        if match := COMPILING.match(line):
            entry, arch = match.groups()
        elif match := PROPERTIES.match(line):
            name = match.group(1)
            current = kernels.setdefault((name, arch), Kernel(name, arch, name == entry))
        elif (match := SPILLS.match(line)) and current:
            current.stack, current.spill_stores, current.spill_loads = map(int, match.groups())
        elif match := USED.match(line):
            if kernel := kernels.get((entry, arch)):
                kernel.registers = int(match.group(1))
                shared = SHARED.search(line)
                kernel.shared = int(shared.group(1)) if shared else 0
        elif match := GAVE_UP.match(line):
            notes.append((match.group(1), match.group(2) or entry))
    for code, name in notes:  # may come before the function is introduced
        for kernel in kernels.values():
            if kernel.name == name and code not in kernel.gave_up:
                kernel.gave_up.append(code)
    return list(kernels.values())


def demangle(names):
    """Names as written, without parameters and our namespaces."""
    if not shutil.which("c++filt") or not names:
        return list(names)
    # nvcc makes an anonymous namespace of a name of its own; c++filt knows one as _GLOBAL__N__
    done = subprocess.run(["c++filt", "-p"], input="\n".join(names), text=True, check=True,
                          capture_output=True).stdout.splitlines()
    return [re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w*::|alcca::(cuda::)?", "",
                   re.sub(r"^(void|float|int) ", "", name)) for name in done]


def read_hot(path):
    """(pattern, limits) of each line: a regular expression that the name begins with, then such
    as registers<=128 or shared<=49152."""
    hot = []
    with open(path) as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            limits = {}
            for word in words[1:]:
                match = re.fullmatch(r"(registers|shared|stack)<=(\d+)", word)
                if not match:
                    raise ValueError(f"{path}:{number}: '{word}' is no limit; e.g. registers<=128")
                limits[match.group(1)] = int(match.group(2))
            hot.append((words[0], limits))
    return hot


def check(kernels, names, hot):
    """What is wrong with the hot kernels, one line each, and which kernels are hot."""
    wrong, hot_kernels = [], set()
    for pattern, limits in hot:
        matched = [(k, n) for k, n in zip(kernels, names) if re.match(rf"(?:{pattern})\b", n)]
        if not matched:
            wrong.append(f"no kernel is called {pattern}; take it off the list or rename it there")
        for kernel, name in matched:
            hot_kernels.add((kernel.name, kernel.arch))
            where = f"{name} for {kernel.arch}"
            if kernel.spills:
                wrong.append(f"{where} spills: {kernel.spill_stores} bytes stored, "
                             f"{kernel.spill_loads} loaded")
            for code in kernel.gave_up:
                wrong.append(f"{where}: ptxas gave up an optimisation ({code}); see the build")
            for what, limit in limits.items():
                if getattr(kernel, what) > limit:
                    wrong.append(f"{where}: {what} {getattr(kernel, what)}, allowed {limit}")
    return wrong, hot_kernels


def table(kernels, names, hot_kernels):
    """Rows of one name are one line each way ptxas made them differ; equal ones are counted."""
    groups = collections.Counter()
    for kernel, name in zip(kernels, names):
        groups[(re.sub(r"<.*", "", name), kernel.arch, kernel.registers, kernel.shared, kernel.stack,
                kernel.spills, (kernel.name, kernel.arch) in hot_kernels, kernel.entry)] += 1
    lines = ["| kernel | target | variants | registers | shared | stack | spilled |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for (name, arch, registers, shared, stack, spills, is_hot, entry), count in sorted(
            groups.items()):
        mark = " (hot)" if is_hot else "" if entry else " (called)"
        lines.append(f"| {name}{mark} | {arch} | {count} | {registers if entry else ''} | {shared} | "
                     f"{stack} | {spills} |")
    return "\n".join(lines)


def reports(paths):
    for path in paths:
        if os.path.isdir(path):
            for folder, _, files in sorted(os.walk(path)):
                for file in sorted(files):
                    # A report outlives its object where a source was removed.
                    if file.endswith(".ptxas") and os.path.exists(os.path.join(folder, file[:-6])):
                        yield os.path.join(folder, file)
        else:
            yield path


def launch(command):
    """Runs the compiler; ptxas' lines go to the report of its output file."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    kept, shown = [], []
    for line in done.stderr.splitlines(keepends=True):
        ours = OURS.match(line) and ("warning" not in line or GAVE_UP.match(line))
        (kept if ours else shown).append(line)
        if ours and GAVE_UP.match(line):
            shown.append(line)
    sys.stderr.write("".join(shown))
    if done.returncode == 0 and "-c" in command and "-o" in command[:-1]:
        with open(command[command.index("-o") + 1] + ".ptxas", "w") as file:
            file.write("".join(kept))
    return done.returncode


def main(argv):
    if argv[:1] == ["launch"]:
        return launch(argv[1:])
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["check"])
    parser.add_argument("--hot", required=True, help="list of kernels that must not spill")
    parser.add_argument("paths", nargs="+", help="reports, or folders to search for *.ptxas")
    args = parser.parse_args(argv)
    kernels = []
    files = list(reports(args.paths))
    for file in files:
        with open(file) as lines:
            kernels += parse(lines)
    if not kernels:
        print(f"nvcc_resources: no kernel in {len(files)} reports of {' '.join(args.paths)}",
              file=sys.stderr)
        return 1
    names = demangle([kernel.name for kernel in kernels])
    wrong, hot_kernels = check(kernels, names, read_hot(args.hot))
    print(table(kernels, names, hot_kernels))
    for line in wrong:
        print(f"nvcc_resources: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
