"""Which packages the files of a build came from."""

import dataclasses
import pathlib
import re
import subprocess

CUDA = pathlib.Path("/usr/local/cuda")


@dataclasses.dataclass(frozen=True, order=True)
class Package:
    name: str
    version: str
    architecture: str = ""
    homepage: str = ""
    supplier: str = ""
    status: str = ""  # of dpkg
    licence_files: tuple[pathlib.Path, ...] = ()


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def usr_merged(path: str) -> str:
    """dpkg knows files under /lib that lie in /usr/lib."""
    return re.sub(r"^/(lib\w*|s?bin)/", r"/usr/\1/", path)


def debian_package(name: str) -> Package:
    status = run("dpkg-query", "-s", name)
    fields = dict(re.findall(r"^([\w-]+): (.*)$", status, re.MULTILINE))
    text = pathlib.Path("/usr/share/doc", fields["Package"], "copyright")
    if not text.exists():
        raise SystemExit(f"{name}: no licence text in {text}")
    return Package(fields["Package"], fields["Version"], fields["Architecture"],
                   fields.get("Homepage", ""), f"Organization: {fields['Maintainer']}",
                   status.strip() + "\n", (text.resolve() if text.is_symlink() else text,))


def cuda_package() -> Package:
    version = re.search(r"V(\d[\d.]*)", run(str(CUDA / "bin/nvcc"), "--version"))[1]
    texts = [CUDA / "EULA.txt", *sorted(CUDA.glob("dist-info/**/License*.txt"))]
    return Package("cuda-toolkit", version, supplier="Organization: NVIDIA",
                   licence_files=tuple([text for text in texts if text.is_file()][:1]))


class Owners:
    """dpkg's file lists, turned around once: asking dpkg for each header takes minutes."""

    def __init__(self):
        self.owner = {}
        for listing in pathlib.Path("/var/lib/dpkg/info").glob("*.list"):
            for path in listing.read_text().splitlines():
                self.owner[usr_merged(path)] = listing.stem

    def packages_of(self, files) -> list[Package]:
        names, packages = set(), set()
        for file in files:
            real = pathlib.Path(file).resolve()
            if real.is_relative_to(CUDA.resolve()):
                packages.add(cuda_package())
            elif name := self.owner.get(usr_merged(str(real))):
                names.add(name)
            else:
                raise SystemExit(f"{file}: no package owns it, so its licence is unknown")
        return sorted(packages | {debian_package(name) for name in names})


def compiled_in(build: pathlib.Path, programs) -> tuple[list[str], list[str]]:
    """Static libraries and headers from outside the tree that went into the programs."""
    targets = [f"bin/{program}" for program in programs]
    objects = set(run("ninja", "-C", str(build), "-t", "inputs", *targets).split())
    headers, current = set(), ""
    for line in run("ninja", "-C", str(build), "-t", "deps").splitlines():
        if line and not line.startswith(" "):
            current = line.split(":")[0]
        elif line.startswith("    /") and current in objects:
            headers.add(line.strip())
    source = build.parent.parent
    headers = {h for h in headers if not pathlib.Path(h).resolve().is_relative_to(source)}
    archives = set()
    for command in run("ninja", "-C", str(build), "-t", "commands", *targets).splitlines():
        archives |= {word for word in command.split() if re.fullmatch(r"/.*\.a", word)}
    return sorted(archives), sorted(headers)
