#!/usr/bin/env python3
"""Writes the golden data of tests/engine/checkpoint/gguf_test.cc with the Python package gguf.

  pip install gguf==0.19.0
  make_gguf_golden.py

Files in tests/golden/gguf/:
  blocks.jsonl   one {"type", "blocks", "values"} per line: blocks of random bytes in hex, and the
                 bits of their values as gguf dequantises them, f32, little endian, in hex
  tiny.gguf      one file with keys of every type and tensors of several
  part-00001-of-00002.gguf ...   the same tensors in two files
  tiny.json      the tensors' shapes and values
Everything is seeded, so that a second run writes the same bytes.
"""

import json
import pathlib

import gguf
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "gguf"
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K",
         "Q5_K", "Q6_K"]
# Where a block has f16 scales: random bytes there would mostly be huge numbers or none.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BLOCKS = 3


def random_blocks(name, random, rows):
    kind = getattr(gguf.GGMLQuantizationType, name)
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    count = rows * (1 if weights > 1 else 64)
    if name == "F32":
        return random.standard_normal(count).astype(np.float32).view(np.uint8).reshape(count, size)
    if name == "F16":
        values = np.concatenate([random.standard_normal(count - 6), [0.0, -0.0, 6e-8, 3e-5, 65504, np.inf]])
        return values.astype(np.float16).view(np.uint8).reshape(count, size)
    if name == "BF16":
        values = random.standard_normal(count).astype(np.float32).view(np.uint32) >> 16
        return values.astype(np.uint16).view(np.uint8).reshape(count, size)
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[name]:
        scale = (random.standard_normal(count) * 0.01).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
    blocks[0, SCALES[name][0]:SCALES[name][0] + 2] = (7, 0)  # A subnormal.
    return blocks


def values_of(name, blocks):
    kind = getattr(gguf.GGMLQuantizationType, name)
    if name in ("F32", "F16"):
        return blocks.view(np.float32 if name == "F32" else np.float16).astype(np.float32)
    return gguf.quants.dequantize(blocks, kind).astype(np.float32)


def keys(writer):
    writer.add_uint8("t.u8", 255)
    writer.add_int8("t.i8", -128)
    writer.add_uint16("t.u16", 65535)
    writer.add_int16("t.i16", -32768)
    writer.add_uint32("t.u32", 4294967295)
    writer.add_int32("t.i32", -2147483648)
    writer.add_uint64("t.u64", 9223372036854775807)
    writer.add_int64("t.i64", -9223372036854775808)
    writer.add_float32("t.f32", 0.1)
    writer.add_float64("t.f64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "Grüße")
    writer.add_array("t.strings", ["a", "", "çé"])
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [1.5, -0.25])
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "x", "\u2581y"])


def tensors(writer, random):
    out = {}
    for name, shape in (("F32", (3, 5)), ("F16", (2, 3, 4)), ("Q8_0", (2, 64)), ("Q4_K", (2, 256))):
        kind = getattr(gguf.GGMLQuantizationType, name)
        weights, size = gguf.GGML_QUANT_SIZES[kind]
        if weights == 1:
            values = random.standard_normal(shape).astype(np.float32 if name == "F32" else np.float16)
            writer.add_tensor(f"w.{name}", values)
            floats = values.astype(np.float32)
        else:
            blocks = random_blocks(name, random, int(np.prod(shape)) // weights)
            data = blocks.reshape(*shape[:-1], shape[-1] // weights * size)
            writer.add_tensor(f"w.{name}", data, raw_dtype=kind)
            floats = values_of(name, blocks)
        out[f"w.{name}"] = {"shape": shape, "values": floats.tobytes().hex()}
    return out


def write(path, **split):
    writer = gguf.GGUFWriter(path, "llama", **split)
    keys(writer)
    out = tensors(writer, np.random.default_rng(7))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20261128)
    with open(OUT / "blocks.jsonl", "w") as out:
        for name in TYPES:
            blocks = random_blocks(name, random, BLOCKS)
            out.write(json.dumps({"type": name, "blocks": blocks.tobytes().hex(),
                                  "values": values_of(name, blocks).tobytes().hex()}) + "\n")
    described = write(OUT / "tiny.gguf")
    write(OUT / "part.gguf", split_max_tensors=2)
    (OUT / "tiny.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main()
