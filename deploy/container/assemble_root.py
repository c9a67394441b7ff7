#!/usr/bin/env python3
"""Lays out the root of the runtime image: the programs, the libraries they load, the embedded
model, licences and a bill of materials. Runs where the build ran, on Debian 12.

usage: assemble_root.py BUILD_DIR OUT_DIR

The image has no package manager, so each file is traced to the Debian package it came from:
scanners find those in /var/lib/dpkg/status.d, people in /usr/share/doc/alcca-server/sbom.spdx.json.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import packages
import sbom

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
PROGRAMS = ("alccad", "alcca")
USER_ID = 65532
TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/none\nnonroot:x:{USER_ID}:{USER_ID}:nonroot:/:/none\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER_ID}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def libraries(program: pathlib.Path) -> dict[str, pathlib.Path]:
    """{path by which it is loaded: the file}, the dynamic loader included."""
    found = {}
    for line in run("ldd", str(program)).splitlines():
        if "not found" in line:
            raise SystemExit(f"{program}: {line.strip()}")
        if match := re.search(r"(?:=> )?(/\S+) \(0x", line):
            found[match[1]] = pathlib.Path(match[1]).resolve()
    return found


def place(loaded_as: str) -> str:
    """Where a library goes: Debian's merged /usr, alternatives and /usr/local flattened."""
    name = pathlib.Path(loaded_as).name
    return f"usr/lib64/{name}" if name.startswith("ld-linux") else f"usr/lib/{TRIPLET}/{name}"


TRIPLET = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()


def copy(source: pathlib.Path, target: pathlib.Path):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def licences(out: pathlib.Path, found):
    for package in found:
        for text in package.licence_files:
            copy(text, out / "usr/share/doc" / package.name / text.name)
    for text in sorted(pathlib.Path("/usr/share/common-licenses").iterdir()):
        copy(text.resolve(), out / "usr/share/common-licenses" / text.name)
    copy(SOURCE / "LICENSE", out / "usr/share/doc/alcca-server/copyright")


def set_times(out: pathlib.Path, epoch: int):
    for folder, names, files in os.walk(out, topdown=False):
        for name in names + files:
            os.utime(os.path.join(folder, name), (epoch, epoch), follow_symlinks=False)
    os.utime(out, (epoch, epoch))


def main():
    build, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    shutil.rmtree(out, ignore_errors=True)
    # 755 whatever the umask: the image's user is not the one who builds.
    os.umask(0o022)
    run("cmake", "--install", str(build), "--prefix", "/usr", "--component", "runtime", "--strip",
        env={**os.environ, "DESTDIR": str(out)})

    loaded = {}
    for program in PROGRAMS:
        loaded |= libraries(build / "bin" / program)
    for loaded_as, file in sorted(loaded.items()):
        copy(file, out / place(loaded_as))
    for link, target in (("lib", "usr/lib"), ("lib64", "usr/lib64"), ("bin", "usr/bin")):
        (out / link).symlink_to(target)

    for name, text in TEXTS.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    copy(HERE / "alccad.yaml", out / "etc/alcca/alccad.yaml")
    copy(pathlib.Path("/usr/lib/os-release"), out / "usr/lib/os-release")
    (out / "etc/os-release").symlink_to("../usr/lib/os-release")
    for folder in ("dev", "proc", "sys", "tmp"):
        (out / folder).mkdir()
    (out / "tmp").chmod(0o1777)

    owners = packages.Owners()
    dynamic = owners.packages_of(loaded.values())
    archives, headers = packages.compiled_in(build, PROGRAMS)
    static = owners.packages_of(archives)
    compiled = [p for p in owners.packages_of(headers) if p not in static]
    status = out / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for package in dynamic:
        if package.status:
            (status / package.name).write_text(package.status)
    licences(out, sorted({*dynamic, *static, *compiled}))
    version = run(str(build / "bin/alccad"), "--version").split()[-1]
    (out / "usr/share/doc/alcca-server/sbom.spdx.json").write_text(
        sbom.document(version, epoch, out, [out / "usr/bin" / name for name in PROGRAMS],
                      dynamic, static, compiled))
    set_times(out, epoch)
    size = sum(p.lstat().st_size for p in out.rglob("*") if p.is_file() and not p.is_symlink())
    print(f"{out}: {size / 1e6:.1f} MB, {len(loaded)} libraries of {len(dynamic)} packages")


if __name__ == "__main__":
    main()
