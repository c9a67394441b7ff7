#!/usr/bin/env python3
"""Writes whole small models as GGUF, and what transformers computes with their values.

    pip install torch transformers safetensors gguf sentencepiece
    tools/golden/make_gguf_model_golden.py

Files in tests/golden/gguf/models/:
  llama_blocks.gguf    a llama model whose matrices are in nine types of blocks, with the vocabulary of
                       tests/golden/tokenizer/tokenizer.model.tiny_bytes; llama_blocks.json has tokens,
                       logprobs and greedy continuations as make_family_golden.py records them, computed
                       by transformers in f32 from the values that the package gguf reads
  qwen2_default.gguf, llama_llama3_tied.gguf
                       the checkpoints of these names of tests/golden/families, without a vocabulary of
                       use: their logprobs are in that folder
"""

import json
import pathlib

import gguf
import numpy as np
import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from make_gguf_golden import random_blocks, values_of
from make_hf_golden import encode, greedy

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/gguf/models"
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
         "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
BLOCKS = {"token_embd": "Q6_K", "attn_q": "Q4_K", "attn_k": "Q5_K", "attn_v": "Q3_K",
          "attn_output": "Q2_K", "ffn_gate": "Q8_0", "ffn_up": "Q4_1", "ffn_down": "Q5_0",
          "output": "Q5_1"}
TOKENS, EVERY, PROMPTS = 96, 4, 16


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    layer, rest = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest]}.{kind}"


def interleave(weight, heads):
    """Rows i and i + d/2 of each head become neighbours: how llama.cpp stores q and k of llama."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def deinterleave(weight, heads):
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def add_config(writer, config, rope):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_divisors(head_dim, rope):
    """What convert_hf_to_gguf writes as rope_freqs.weight."""
    out = []
    for i in range(0, head_dim, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (i / head_dim)
        original, factor = rope["original_max_position_embeddings"], rope["factor"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = (original / wave - low) / (high - low)
        out.append(1.0 if wave < original / high else factor if wave > original / low
                   else 1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)


def convert(name):
    """A checkpoint of tests/golden/families as it is: 16 bits stay 16 bits."""
    folder = ROOT / "tests/golden/families" / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, rope = model.config, dict(model.config.rope_parameters)
    arch = config.model_type
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", arch)
    add_config(writer, config, rope)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, tensor in sorted(load_file(folder / "model.safetensors").items()):
        values = tensor.float().numpy()
        if arch == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            values = interleave(values, heads)
        if tensor.dim() == 1:
            writer.add_tensor(gguf_name(key), values.astype(np.float32))
        elif tensor.dtype == torch.bfloat16:
            bits = (values.view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor(gguf_name(key), bits.view(np.uint8),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(gguf_name(key), values.astype(np.float16))
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config.head_dim, rope))
    finish(writer)


@torch.no_grad()
def blocks():
    random = np.random.default_rng(11)
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(ROOT / "tests/golden/tokenizer/tokenizer.model.tiny_bytes"))
    vocab = pieces.vocab_size()
    config = LlamaConfig(hidden_size=256, intermediate_size=256, num_hidden_layers=1,
                         num_attention_heads=4, num_key_value_heads=2, vocab_size=vocab,
                         max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1,
                         eos_token_id=2, attn_implementation="eager",
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(OUT / "llama_blocks.gguf", "llama")
    add_config(writer, config, {"rope_theta": 10000.0})
    writer.add_tokenizer_model("llama")
    kinds = [2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i)
             else 5 if pieces.is_unused(i) else 1 for i in range(vocab)]
    writer.add_token_list([pieces.id_to_piece(i).encode() for i in range(vocab)])
    writer.add_token_scores([pieces.get_score(i) for i in range(vocab)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.add_chat_template("{{ messages[0].content }}")
    for key, parameter in model.named_parameters():
        name = gguf_name(key)
        kind = next((BLOCKS[part] for part in name.split(".") if part in BLOCKS), None)
        if kind is None:
            values = (1 + 0.2 * random.standard_normal(parameter.shape)).astype(np.float32)
            writer.add_tensor(name, values)
            parameter.copy_(torch.from_numpy(values))
            continue
        quantized = getattr(gguf.GGMLQuantizationType, kind)
        weights, size = gguf.GGML_QUANT_SIZES[quantized]
        rows, cols = parameter.shape
        data = random_blocks(kind, random, rows * cols // weights)
        values = values_of(kind, data).reshape(rows, cols)
        writer.add_tensor(name, data.reshape(rows, cols // weights * size), raw_dtype=quantized)
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            values = deinterleave(values, heads)
        parameter.copy_(torch.from_numpy(values))
    finish(writer)
    generator = torch.Generator().manual_seed(12)
    tokens = torch.randint(3, vocab, (TOKENS,), generator=generator)
    prompts = [torch.randint(3, vocab, (5 + 3 * i,), generator=generator) for i in range(PROMPTS)]
    golden = {"tokens": tokens.tolist(), "every": EVERY,
              "logprobs": encode(model(tokens[None]).logits[0][::EVERY]),
              "greedy": [{"prompt": p.tolist(), "tokens": greedy(model, p)} for p in prompts]}
    (OUT / "llama_blocks.json").write_text(json.dumps(golden) + "\n")


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    convert("qwen2_default")
    convert("llama_llama3_tied")
    blocks()


if __name__ == "__main__":
    main()
