"""Fails when an #include points up the house, or a library leaks out of its layer.

proto -> server -> engine -> kernels -> attention, base (an arrow reads "may include"). tools/cli
speaks the wire contract and knows the vocabulary of attention; tools/lab and tools/checkpoint load
and write models and know engine/ and kernels/; tools/main.cc joins them. tests/ and bench/ may
include any layer; no layer includes them. Rooms within a layer have arrows of their own: ROOMS.
"""

import pathlib
import re
import sys

# Layer -> the beginnings of the paths that it may include.
LEAVES = ("attention/", "base/")
ALLOWED = {
    "base": ("base/",),
    "attention": LEAVES,
    "kernels": ("kernels/", *LEAVES),
    "engine": ("engine/", "kernels/", *LEAVES),
    "server": ("server/", "engine/", "kernels/", "alcca/", "grpc/", *LEAVES),
    "tools/cli": ("tools/cli/", "tools/attention_flags.h", "alcca/", "grpc/", *LEAVES),
    "tools/lab": ("tools/lab/", "tools/attention_flags.h", "engine/", "kernels/", *LEAVES),
    "tools/checkpoint": ("tools/checkpoint/", "engine/", "kernels/", *LEAVES),
}
# Room -> what it may not include although its layer may.
ROOMS = {
    "engine/text": ("engine/checkpoint/", "engine/model/"),
    "engine/checkpoint": ("engine/text/", "engine/model/"),
    "kernels/reference": ("kernels/cpu/", "kernels/cuda/"),
    "kernels/host": ("kernels/cpu/", "kernels/cuda/", "kernels/reference/"),
    "kernels/cpu": ("kernels/cuda/", "kernels/reference/"),
    "kernels/cuda": ("kernels/cpu/", "kernels/reference/"),
    "kernels/cuda/device_words": (
        "kernels/cuda/attention/", "kernels/cuda/matmul/", "kernels/cuda/rows/",
        "kernels/cuda/sampling/"),
    "server/metrics": ("server/api/", "server/process/"),
    "server/process": ("server/api/", "server/metrics/"),
}
# The loop knows no model and no file: these files stand in engine/ itself.
LOOP_MAY_NOT = ("engine/checkpoint/", "engine/model/")
OURS = {"attention", "base", "kernels", "engine", "server", "tools", "tests", "bench", "proto", "alcca"}
# Third-party headers and the only places that may include them.
PRIVATE = {
    r"faiss/": ("kernels/",),
    r"cuda|cublas": ("kernels/cuda/",),
    r"grpc(pp)?/|google/(protobuf|rpc)": ("server/", "tools/cli/"),
    r"prometheus/": ("server/metrics/",),
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
                room = path.parent.relative_to(root).as_posix()
                closed = [r for r in ROOMS if f"{room}/".startswith(f"{r}/")]
                refused = sum((ROOMS[r] for r in closed), LOOP_MAY_NOT if room == "engine" else ())
                if quote == '"' and header.startswith(refused):
                    problems.append(f"{name}: includes {header}, which {room}/ may not")
                for pattern, homes in PRIVATE.items():
                    if re.match(pattern, header) and not name.startswith(homes):
                        problems.append(f"{name}: includes {header}, allowed only in {homes}")
    if files < 20:
        problems.append(f"only {files} files found under {root}: the test looks in the wrong place")
    print("\n".join(problems) or f"{files} files, every arrow points down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
