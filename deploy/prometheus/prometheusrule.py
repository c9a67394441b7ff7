"""Writes each *.rules.yml of this folder as a PrometheusRule into a folder, by default that of the component
prometheus-rules: kustomize can neither read a file outside of its root nor put one below `spec`."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
COMPONENT = HERE.parent / "kubernetes/components/prometheus-rules"
HEADER = """# Written by deploy/prometheus/prometheusrule.py from {source}: edit that file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: alcca-{name}
spec:
"""


def main(folder: pathlib.Path) -> None:
    for path in sorted(HERE.glob("*.rules.yml")):
        name = path.name.removesuffix(".rules.yml")
        text = path.read_text()
        rules = text[text.index("groups:\n"):]
        lines = (f"  {line}" if line.strip() else line for line in rules.splitlines(keepends=True))
        (folder / f"{name}.yaml").write_text(HEADER.format(source=path.name, name=name) + "".join(lines))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else COMPONENT)
