"""Records what Hugging Face transformers computes on small random checkpoints of every family that we
load, with every kind of scaled rotary embeddings.

    python tools/golden/make_family_golden.py --out tests/golden/families [--seed 1] [--all]

Without --all: the cases that are committed, a spelling of config.json each. With it: every family with
every kind. Writes, per case, a Hugging Face folder and golden.json:
  tokens    [160] input ids
  logprobs  base64 of float32 [40, vocab]: log_softmax of the logits of every fourth token
  greedy    16 prompts and the 64 tokens that greedy decoding continues each with
tests/engine/model/family_golden_test.cc reads them. Needs torch, transformers, safetensors.
"""

import argparse
import json
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from make_hf_golden import encode, greedy

TOKENS, EVERY, PROMPTS = 160, 4, 16

# Odd shapes: heads in groups of 1, 2, 3 and 5, no multiple of a vector register.
FAMILIES = {
    "mistral": dict(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
                    sliding_window=None, tie_word_embeddings=False, dtype="bfloat16"),
    "ministral": dict(hidden_size=28, num_attention_heads=5, num_key_value_heads=1, head_dim=12,
                      sliding_window=200, layer_types=["full_attention"] * 2,
                      tie_word_embeddings=True, dtype="float32"),
    "llama": dict(hidden_size=40, num_attention_heads=4, num_key_value_heads=4, head_dim=None,
                  tie_word_embeddings=False, dtype="float16"),
    "qwen2": dict(hidden_size=48, num_attention_heads=6, num_key_value_heads=3,
                  tie_word_embeddings=True, dtype="bfloat16"),
}
# The context before scaling is short, so that the scaling is felt within the tokens of a case.
ROPE = {
    "default": dict(rope_type="default"),
    "linear": dict(rope_type="linear", factor=3.5),
    "dynamic": dict(rope_type="dynamic", factor=2.0),
    "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64),
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64),
    "yarn_mscale": dict(rope_type="yarn", factor=6.0, original_max_position_embeddings=48,
                        mscale=0.9, mscale_all_dim=0.4, truncate=False, beta_fast=16.0,
                        beta_slow=2.0),
    "yarn_attention": dict(rope_type="yarn", factor=2.5, original_max_position_embeddings=96,
                           attention_factor=0.8),
}
# name: (family, rope, spelling of config.json, changes)
COMMITTED = {
    "mistral_yarn_mscale": ("mistral", "yarn_mscale", "recent", {}),
    "ministral_linear": ("ministral", "linear", "old", {}),
    "ministral_window": ("ministral", "default", "recent", dict(
        sliding_window=24, layer_types=["sliding_attention"] * 2)),
    "llama_default": ("llama", "default", "oldest", {}),
    "llama_dynamic": ("llama", "dynamic", "old", {}),
    "llama_llama3_tied": ("llama", "llama3", "old", dict(tie_word_embeddings=True,
                                                         num_key_value_heads=2)),
    "qwen2_default": ("qwen2", "default", "recent", {}),
    "qwen2_yarn_untied_window": ("qwen2", "yarn", "old", dict(
        tie_word_embeddings=False, use_sliding_window=True, sliding_window=40,
        max_window_layers=0)),
}
THETA = {"oldest": 10000.0}


def respell(path, spelling):
    """recent: rope_parameters; old: rope_theta and rope_scaling with 'type'; oldest: neither."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    if spelling == "recent":
        config["rope_parameters"] = rope
    if spelling == "old":
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
        config["torch_dtype"] = config.pop("dtype")
        config.pop("layer_types", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def fill(model, generator):
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 2:
            parameter.copy_(noise * 1.5 / parameter.shape[1] ** 0.5)
        elif name.endswith("bias"):
            parameter.copy_(0.7 * noise)
        else:
            parameter.copy_(1 + 0.2 * noise)
    model.tie_weights()


@torch.no_grad()
def make_case(name, family, rope, spelling, changes, out, generator):
    spec = {**FAMILIES[family], **changes}
    dtype = getattr(torch, spec.pop("dtype"))
    theta = THETA.get(spelling, 5000.0)
    config = AutoConfig.for_model(
        family, **{k: v for k, v in spec.items() if v is not None or k == "sliding_window"},
        intermediate_size=52, num_hidden_layers=2, vocab_size=59, max_position_embeddings=384,
        rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
        rope_parameters={**ROPE[rope], "rope_theta": theta})
    model = AutoModelForCausalLM.from_config(config)
    fill(model, generator)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    respell(folder / "config.json", spelling)
    # What an f32 server computes from the stored values, and from the file as it is spelt now.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    vocab = config.vocab_size
    tokens = torch.randint(3, vocab, (TOKENS,), generator=generator)
    prompts = [torch.randint(3, vocab, (5 + 3 * i,), generator=generator) for i in range(PROMPTS)]
    golden = {
        "tokens": tokens.tolist(),
        "every": EVERY,
        "logprobs": encode(model(tokens[None]).logits[0][::EVERY]),
        "greedy": [{"prompt": p.tolist(), "tokens": greedy(model, p)} for p in prompts],
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(name)


def main():
    torch.set_num_threads(1)  # tiny models; more threads only wait for each other
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    cases = dict(COMMITTED)
    if args.all:
        cases.update({f"{family}_{rope}_{spelling}": (family, rope, spelling, {})
                      for family in FAMILIES for rope in ROPE for spelling in ("recent", "old")})
    for name, case in cases.items():
        make_case(name, *case, args.out, generator)


if __name__ == "__main__":
    main()
