"""Holds docs/models.md to the daemon: models_page_test.py ROOT ALCCAD.

Every message in the table of refusals is what `alccad --check` says of the embedded model, spoilt in that
way; and the files that the page calls optional, or unread, are.
"""

import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

NEEDED = ("config.json", "tokenizer.model", "model.safetensors")
OPTIONAL = ("generation_config.json", "alcca.json")
WRONG_CONFIG = 78
GGUF = pathlib.Path(__file__).resolve().parents[1] / "golden/gguf/models/llama_blocks.gguf"


def config(**changes):
    def spoil(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return spoil


def header(change):
    """Rewrites the JSON header of the weights; data offsets count from its end."""
    def spoil(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        tensors = change(json.loads(data[8 : 8 + size]))
        text = json.dumps(tensors).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    return spoil


def without(name):
    return lambda folder: (folder / name).unlink()


def consolidated(folder):
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")


def lost_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}))


def unigram(folder):
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(
        {"decoder": {"type": "Fuse"}, "model": {"type": "Unigram"}}))


def bad_template(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{% if %}"}))


def misspelt(folder):
    (folder / "alcca.json").write_text('{"moode": "dense"}')


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.example/v1\noid sha256:0\n")


def dangling(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("nowhere")


def only_gguf(folder):
    (folder / "config.json").rename(folder / "model.gguf")


def gguf(old, new):
    """A path instead of the folder: a GGUF, one of whose names is another of the same length."""
    def spoil(folder):
        data = GGUF.read_bytes()
        path = folder / "model.gguf"
        path.write_bytes(data.replace(old.encode(), new.encode()))
        return path
    return spoil


def renamed(name):
    return lambda tensors: {k.replace(NORM, name): v for k, v in tensors.items()}


NORM, EMBEDDING = "model.norm.weight", "model.embed_tokens.weight"
SPOILT = {
    "'architectures': expected MistralForCausalLM": config(architectures=["MixtralForCausalLM"]),
    "'hidden_act': expected silu": config(hidden_act="gelu"),
    "'attention_bias': biases are not implemented": config(attention_bias=True),
    "'mlp_bias': biases are not implemented": config(mlp_bias=True),
    ".bias': biases are not implemented": header(renamed("model.norm.bias")),
    "'rope_type': expected default, linear, dynamic, llama3 or yarn": config(
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0}),
    "'partial_rotary_factor': expected 1": config(partial_rotary_factor=0.5),
    "'layer_types': a sliding window in some layers only is not implemented": config(
        layer_types=["full_attention", "sliding_attention"]),
    "'num_local_experts': experts are not implemented": config(num_local_experts=8),
    "'attn_logit_softcapping': a cap on scores is not implemented": config(attn_logit_softcapping=50.0),
    "norms of queries and keys are not implemented": header(
        renamed("model.layers.0.self_attn.q_norm.weight")),
    "an adapter beside the weights is not implemented": header(
        renamed("model.layers.0.self_attn.q_proj.lora_A.weight")),
    "'quantization_config': expected F32, F16 or BF16 weights": config(
        quantization_config={"quant_method": "awq"}),
    "expected F32, F16 or BF16": header(
        lambda tensors: tensors | {EMBEDDING: tensors[EMBEDDING] | {"dtype": "I16"}}),
    "no tokenizer: there is none of tekken.json, tokenizer.model and tokenizer.json":
        without("tokenizer.model"),
    "model.type: only BPE is supported": unigram,
    "tokenizer_config.json: line ": bad_template,
    "pieces, config.json 'vocab_size' is": config(vocab_size=100),
    "has neither model.safetensors nor model.safetensors.index.json": consolidated,
    ": shard is missing, but ": lost_shard,
    "is a git-lfs pointer, not the file": pointer,
    "is a link to nothing": dangling,
    "but a GGUF: serve that file by its name": only_gguf,
    "expected llama or qwen2": gguf("general.architecture", "general.architectuXX"),
    "unknown key": misspelt,
}


def check(alccad, model, spoil):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in NEEDED + OPTIONAL:
            shutil.copy(model / name, folder)
        path = spoil(folder) or folder
        done = subprocess.run([alccad, "--check", "--model", path, "--device", "cpu"],
                              capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr


def main(root: pathlib.Path, alccad: str) -> int:
    page, model = (root / "docs/models.md").read_text(), root / "models/afia-5m"
    table = page[page.index("<!-- refusals:") :].split("\n\n")[0]
    rows = re.findall(r"^\|[^|]*\| `([^`]+)` \|[^|]+\|$", table, re.MULTILINE)
    problems = [f"docs/models.md and the cases here differ in: {x}" for x in set(rows) ^ set(SPOILT)]
    for message, spoil in SPOILT.items():
        code, text = check(alccad, model, spoil)
        last = text.strip().splitlines()[-1:]
        if code != WRONG_CONFIG or not last or message not in last[0]:
            problems.append(f"{message}: exit code {code}, {text}")
    code, text = check(alccad, model, gguf("llama", "llama"))
    if code != 0:
        problems.append(f"{GGUF.name}: exit code {code}, {text}")
    for name in NEEDED + OPTIONAL:
        code, text = check(alccad, model, without(name))
        if (code == 0) != (name in OPTIONAL) or f"| `{name}`" not in page:
            problems.append(f"without {name}: exit code {code}, {text}")
    print("\n".join(problems) or f"{len(rows)} refusals as docs/models.md has them")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
