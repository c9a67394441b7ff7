"""Fails when an #include points up the house, or a library leaks out of its layer.

proto -> server -> engine -> kernels (an arrow reads "may include"). tools/cli speaks the wire
contract only; tools/lab loads a model and knows engine/ and kernels/ only; tools/main.cc joins the
two. tests/ and bench/ may include any layer; no layer includes them.
"""

import pathlib
import re
import sys

# Layer -> the beginnings of the paths that it may include.
ALLOWED = {
    "kernels": ("kernels/",),
    "engine": ("engine/", "kernels/"),
    "server": ("server/", "engine/", "kernels/", "alcca/", "grpc/"),
    "tools/cli": ("tools/cli/", "alcca/", "grpc/"),
    "tools/lab": ("tools/lab/", "engine/", "kernels/"),
}
OURS = {"kernels", "engine", "server", "tools", "tests", "bench", "proto", "alcca"}
# Third-party headers and the only places that may include them.
PRIVATE = {
    r"faiss/": ("kernels/",),
    r"cuda|cublas": ("kernels/cuda/",),
    r"grpc(pp)?/|google/(protobuf|rpc)": ("server/", "tools/cli/"),
    r"prometheus/": ("server/metrics",),
    r"yaml-cpp/": ("server/config",),
    r"spdlog/": ("server/",),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def main(root: pathlib.Path) -> int:
    problems, files = [], 0
    for layer, allowed in ALLOWED.items():
        for path in sorted((root / layer).rglob("*")):
            if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
                continue
            files += 1
            name = path.relative_to(root).as_posix()
            for quote, header in INCLUDE.findall(path.read_text()):
                top = header.split("/")[0]
                if quote == '"' and top in OURS and not header.startswith(allowed):
                    problems.append(f"{name}: includes {header}, which {layer}/ may not")
                for pattern, homes in PRIVATE.items():
                    if re.match(pattern, header) and not name.startswith(homes):
                        problems.append(f"{name}: includes {header}, allowed only in {homes}")
    if files < 20:
        problems.append(f"only {files} files found under {root}: the test looks in the wrong place")
    print("\n".join(problems) or f"{files} files, every arrow points down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
