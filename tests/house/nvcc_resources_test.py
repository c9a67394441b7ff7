"""tools/nvcc_resources.py on what ptxas of CUDA 13.0 wrote, and as the launcher of a compiler."""

import contextlib
import io
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import nvcc_resources  # noqa: E402

RECORDED = ROOT / "tests/golden/ptxas/recorded.txt"


def recorded():
    with open(RECORDED) as lines:
        kernels = nvcc_resources.parse(lines)
    return kernels, nvcc_resources.demangle([k.name for k in kernels])


def expect_parsed():
    kernels, names = recorded()
    found = {(name, k.arch): k for name, k in zip(names, kernels)}
    assert len(found) == 14, sorted(found)
    spills = found["Spills", "sm_90a"]
    assert (spills.registers, spills.stack) == (32, 288)
    assert (spills.spill_stores, spills.spill_loads, spills.spills) == (548, 584, 1132)
    shared = found["Shared", "sm_80"]
    assert (shared.registers, shared.shared, shared.spills) == (12, 4000, 0)
    assert found["Fine<8, double>", "sm_90a"].registers == 8  # in an anonymous namespace
    assert not found["Helper", "sm_80"].entry and found["Calls", "sm_80"].entry
    assert found["Calls", "sm_80"].stack == 32


def expect_checked():
    kernels, names = recorded()
    wrong, hot = nvcc_resources.check(kernels, names, [("Fine", {}), ("Shared", {"shared": 4000})])
    assert wrong == [] and len(hot) == 6, (wrong, hot)
    for hot_list, expected in (
            ([("Spills", {})], "Spills for sm_90a spills: 548 bytes stored, 584 loaded"),
            ([("Shared", {"registers": 11})], "Shared for sm_80: registers 12, allowed 11"),
            ([("Fin", {})], "no kernel is called Fin; take it off the list or rename it there"),
            ([("S.*", {})], "Spills for sm_80 spills: 552 bytes stored, 576 loaded")):
        wrong, _ = nvcc_resources.check(kernels, names, hot_list)
        assert expected in wrong, (hot_list, wrong)
    text = nvcc_resources.table(kernels, names, hot)
    assert "| Fine (hot) | sm_80 | 2 | 8 | 0 | 0 | 0 |" in text, text


def expect_given_up():
    serialized = ("ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions "
                  "are serialized due to insufficient register resources in function 'f'\n")
    entry = ["ptxas info    : Compiling entry function 'f' for 'sm_90a'\n",
             "ptxas info    : Function properties for f\n",
             "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"]
    ignored = "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored\n"
    for lines, code in (([serialized] + entry, "C7510"), (entry + [ignored], "C7508")):
        kernels = nvcc_resources.parse(lines)
        wrong, _ = nvcc_resources.check(kernels, ["f"], [("f", {})])
        assert len(wrong) == 1 and code in wrong[0], wrong


def expect_launched(folder):
    """A stand-in compiler that writes an object, ptxas' lines and a warning of its own."""
    compiler = folder / "nvcc"
    compiler.write_text(f"#!/bin/sh\ncat {RECORDED} >&2\necho 'x.cu(1): warning: mind' >&2\n"
                        "while [ $# -gt 1 ]; do [ $1 = -o ] && : >$2; shift; done\nexit ${CODE:-0}\n")
    compiler.chmod(0o755)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = nvcc_resources.main(["launch", str(compiler), "-c", "x.cu", "-o", f"{folder}/x.o"])
    assert code == 0 and errors.getvalue() == "x.cu(1): warning: mind\n", errors.getvalue()
    assert (folder / "x.o.ptxas").read_text() == RECORDED.read_text()

    (folder / "gone.o.ptxas").write_text("ptxas info    : Function properties for Gone\n")
    hot = folder / "hot.txt"
    for line, expected in (("Fine registers<=8  # and why", 0), ("Spills", 1), ("Gone", 1)):
        hot.write_text(f"# comment\n\n{line}\n")
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            assert nvcc_resources.main(["check", "--hot", str(hot), str(folder)]) == expected, line
        assert out.getvalue().count("\n") == 14, out.getvalue()  # called functions have rows too
    with contextlib.redirect_stderr(io.StringIO()):
        (folder / "x.o").unlink()
        assert nvcc_resources.main(["check", "--hot", str(hot), str(folder)]) == 1  # nothing found


def main():
    expect_parsed()
    expect_checked()
    expect_given_up()
    with tempfile.TemporaryDirectory() as folder:
        expect_launched(pathlib.Path(folder))


if __name__ == "__main__":
    main()
