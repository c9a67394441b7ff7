"""tools/fetch_model.py without a network: fetch_model_test.py ROOT.

Its table is whole, parts that have arrived are joined and compared, and what is wrong is said and not kept.
"""

import hashlib
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile


def load(root):
    spec = importlib.util.spec_from_file_location("fetch_model", root / "tools/fetch_model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_model"] = module
    spec.loader.exec_module(module)
    return module


def sha(data):
    return hashlib.sha256(data).hexdigest()


def refused(call):
    try:
        call()
    except SystemExit as said:
        return str(said)
    return ""


def check_table(module):
    for name, model in module.models().items():
        assert re.fullmatch("[0-9a-f]{64}", model.sha256), name
        assert model.licence == "Apache-2.0" and model.file.endswith(".gguf"), name
        assert sum(part.size for part in model.parts) == model.size, name
        for part in model.parts:
            assert re.fullmatch("[0-9a-f]{64}", part.sha256), part
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", part.package), part


def check_joining(module, folder):
    pieces = [b"GGUF" + bytes(1000), b"second" * 50]
    whole = b"".join(pieces)
    model = module.Model(
        file="m.gguf", title="A model", licence="Apache-2.0", sha256=sha(whole), size=len(whole),
        parts=[module.Part(f"p{i}==1", "x", sha(piece), len(piece)) for i, piece in enumerate(pieces)])

    def arrive(data):
        parts = folder / "m.gguf.parts"
        parts.mkdir(parents=True, exist_ok=True)
        for i, piece in enumerate(data, 1):
            (parts / f"{i:02}").write_bytes(piece)

    arrive(pieces)
    wrong = module.Model(**{**vars(model), "sha256": sha(b"another")})
    assert "expected" in refused(lambda: module.fetch(wrong, folder))
    assert not (folder / "m.gguf").exists()
    assert module.fetch(model, folder) == folder / "m.gguf"
    assert (folder / "m.gguf").read_bytes() == whole
    assert not (folder / "m.gguf.parts").exists()
    # A second call takes what is there; a file of another size is fetched again, from its parts.
    (folder / "m.gguf.sha256").touch()
    assert module.fetch(model, folder) == folder / "m.gguf"
    (folder / "m.gguf").write_bytes(whole[:-1])
    arrive(pieces)
    module.fetch(model, folder)
    assert (folder / "m.gguf").read_bytes() == whole


def main(root):
    module = load(root)
    check_table(module)
    with tempfile.TemporaryDirectory() as temporary:
        check_joining(module, pathlib.Path(temporary))
    listed = subprocess.run([sys.executable, root / "tools/fetch_model.py", "--list"], text=True,
                            capture_output=True, check=True).stdout
    assert all(f"{name} " in listed for name in module.models()), listed
    print(f"{len(module.models())} models as the table has them")
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
