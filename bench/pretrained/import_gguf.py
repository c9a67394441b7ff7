#!/usr/bin/env python3
"""Turns a small GGUF of the llama architecture into the folder that alccad and alcca open.

For measuring attention on weights that others trained with softmax: `pip install gguf numpy`, then

    import_gguf.py MODEL.gguf OUT_DIR [--rope-theta BASE --context TOKENS]

Weights are dequantised to bf16. Rows of q and k return from GGUF's interleaved rotary pairs to the
two halves that Hugging Face files hold. A GPT-2 byte-level tokenizer becomes a SentencePiece BPE
with the same ids; it can differ where merges would cross GPT-2's word pattern, and text outside its
vocabulary's characters becomes <unk>: good for scoring English, not a tokenizer to serve with.
"""

import argparse
import json
import pathlib
import struct

import gguf
import numpy as np

UNKNOWN, NORMAL, CONTROL, UNUSED = 2, 1, 3, 5  # SentencePiece piece types


def field(reader, name):
    return reader.fields[name].contents()


def config_of(reader):
    if field(reader, "general.architecture") != "llama":
        raise SystemExit("import_gguf: only the llama architecture is known here")
    key = "llama."
    hidden, heads = field(reader, key + "embedding_length"), field(reader, key + "attention.head_count")
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "bos_token_id": int(field(reader, "tokenizer.ggml.bos_token_id")),
        "eos_token_id": int(field(reader, "tokenizer.ggml.eos_token_id")),
        "hidden_act": "silu",
        "vocab_size": int(field(reader, key + "vocab_size")),
        "hidden_size": int(hidden),
        "intermediate_size": int(field(reader, key + "feed_forward_length")),
        "num_hidden_layers": int(field(reader, key + "block_count")),
        "num_attention_heads": int(heads),
        "num_key_value_heads": int(field(reader, key + "attention.head_count_kv")),
        "head_dim": int(hidden) // int(heads),
        "rope_theta": float(field(reader, key + "rope.freq_base")),
        "rms_norm_eps": round(float(field(reader, key + "attention.layer_norm_rms_epsilon")), 9),
        "max_position_embeddings": int(field(reader, key + "context_length")),
        "sliding_window": None,
        "tie_word_embeddings": not any(t.name == "output.weight" for t in reader.tensors),
        "torch_dtype": "bfloat16",
    }


def unpermute(weight, heads):
    """Rows (head, pair, half) to rows (head, half, pair)."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tensors_of(reader, config):
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name in NAMES:
            yield NAMES[tensor.name], weight
            continue
        _, layer, part, _ = tensor.name.split(".")
        if part == "attn_q":
            weight = unpermute(weight, config["num_attention_heads"])
        elif part == "attn_k":
            weight = unpermute(weight, config["num_key_value_heads"])
        yield f"model.layers.{layer}.{NAMES[part]}.weight", weight


def to_bf16(array):
    """Round to nearest, ties to even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, array in tensors:
        blob = to_bf16(array).tobytes()
        header[name] = {
            "dtype": "BF16", "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(blobs)


def gpt2_bytes():
    """GPT-2's printable stand-in of each byte, backwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def message(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def number(field_number, value):
    return varint(field_number << 3) + varint(value)


def sentencepiece_of(reader, config):
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    unknown = int(field(reader, "tokenizer.ggml.unknown_token_id"))
    byte_of = gpt2_bytes()
    out = b""
    for i, (token, kind) in enumerate(zip(tokens, types)):
        text, type_ = token, CONTROL
        if i == unknown:
            type_ = UNKNOWN
        elif kind == 1:
            type_ = NORMAL
            try:
                text = bytes(byte_of[c] for c in token).decode().replace(" ", "\u2581")
            except UnicodeDecodeError:  # part of a character
                text, type_ = f"<part {i}>", UNUSED
        score = struct.pack("<f", -float(i))  # ids follow the order of merges
        out += message(1, message(1, text.encode()) + varint(2 << 3 | 5) + score + number(3, type_))
    trainer = (number(3, 2) + number(40, unknown) + number(41, config["bos_token_id"]) +
               number(42, config["eos_token_id"]) +
               message(45, tokens[unknown].encode()) +
               message(46, tokens[config["bos_token_id"]].encode()) +
               message(47, tokens[config["eos_token_id"]].encode()))
    normalizer = message(1, b"identity") + number(3, 0) + number(4, 0) + number(5, 1)
    return out + message(2, trainer) + message(3, normalizer)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rope-theta", type=float, help="another base, to stretch the context")
    parser.add_argument("--context", type=int, help="another max_position_embeddings")
    options = parser.parse_args()
    reader = gguf.GGUFReader(options.gguf)
    config = config_of(reader)
    tensors = list(tensors_of(reader, config))
    if options.rope_theta:
        config["rope_theta"] = options.rope_theta
    if options.context:
        config["max_position_embeddings"] = options.context
    options.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.out / "model.safetensors", tensors)
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (options.out / "tokenizer.model").write_bytes(sentencepiece_of(reader, config))
    (options.out / "alcca.json").write_text(json.dumps({"mode": "dense"}) + "\n")


if __name__ == "__main__":
    main()
