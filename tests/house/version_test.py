"""The version stands once, in CMakeLists.txt; whatever cannot read it there must repeat it: the
kustomizations, the Kubernetes page and Debian's changelog. The programs, their manual pages and the
package take it from the build."""

import pathlib
import re
import sys

# File -> a pattern whose every match is the version, and how many matches it must have.
COPIES = {
    "deploy/debian/changelog": (r"\Aalcca-server \(([^)]+)\)", 1),
    "deploy/kubernetes/base/kustomization.yaml": (r"(?:version|newTag): (\S+)", 2),
    "deploy/kubernetes/components/gpu/kustomization.yaml": (r"newTag: (\S+)-cuda\b", 1),
    "docs/kubernetes.md": (r"`(?:alcca-server:)?(\d+\.\d+\.\d+)(?:-cuda)?`", 2),
}


def problems_in(version: str, name: str, text: str):
    pattern, count = COPIES[name]
    found = re.findall(pattern, text)
    if len(found) != count:
        yield f"{name}: the version was looked for {count} times and found {len(found)} times"
    for other in found:
        if other != version:
            yield f"{name}: says {other}, CMakeLists.txt says {version}"


def main(root: pathlib.Path) -> int:
    project = re.search(r"project\(alcca-server VERSION (\d+\.\d+\.\d+) ",
                        (root / "CMakeLists.txt").read_text())
    if not project:
        print("CMakeLists.txt: no project(alcca-server VERSION ...)")
        return 1
    version, problems = project[1], []
    for name in COPIES:
        text = (root / name).read_text()
        problems += problems_in(version, name, text)
        if not list(problems_in(version + "0", name, text)):
            problems.append(f"{name}: another version would pass this test")
    print("\n".join(problems) or f"{version} in {len(COPIES)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
