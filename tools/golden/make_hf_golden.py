"""Records what Hugging Face transformers computes on small random Mistral checkpoints.

    python tools/golden/make_hf_golden.py --out tests/golden/hf [--seed 1]

Writes, per case, a Hugging Face folder (config.json, model*.safetensors) and golden.json:
  tokens        [200] input ids
  logprobs      base64 of float32 [200, vocab]: log_softmax of the logits, dense attention
  alcca         k, theta, epsilon and the same logprobs with attention replaced by the published
                ALCCA formula, written here in plain torch, independent of the server
  greedy        16 prompts and the 64 tokens that greedy decoding continues each with
tests/engine/hf_golden_test.cc reads them; tests/engine/hf_live_test.py makes fresh ones with a
random seed and runs the same test on them. Needs torch, transformers, safetensors.
"""

import argparse
import base64
import json
import pathlib

import torch
from transformers import MistralConfig, MistralForCausalLM
from transformers.models.mistral import modeling_mistral

TOKENS, PROMPTS, GREEDY = 200, 16, 64

# Odd shapes on purpose: head_dim unrelated to hidden / heads, groups of 1, 3 and 4, no multiple of
# a vector register, tied and untied heads, a sliding window, every storage type, one or two shards.
CASES = {
    "odd_gqa": dict(hidden_size=52, intermediate_size=99, num_hidden_layers=3,
                    num_attention_heads=6, num_key_value_heads=2, head_dim=14, vocab_size=131,
                    rope_theta=10000.0, tie_word_embeddings=False, dtype="float32", shards=2),
    "tied_mqa_window": dict(hidden_size=40, intermediate_size=72, num_hidden_layers=2,
                            num_attention_heads=4, num_key_value_heads=1, head_dim=24,
                            vocab_size=97, rope_theta=1e6, tie_word_embeddings=True,
                            sliding_window=48, dtype="float32", shards=1),
    "bf16_mha": dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=4, head_dim=16, vocab_size=160,
                     rope_theta=1e6, tie_word_embeddings=False, dtype="bfloat16", shards=1),
    "f16_gqa": dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2,
                    num_attention_heads=8, num_key_value_heads=4, head_dim=8, vocab_size=113,
                    rope_theta=5000.0, tie_word_embeddings=True, dtype="float16", shards=1),
}
ALCCA = dict(k=8, epsilon=1e-3)


def alcca_attention(q, k, v, *, topk, theta, epsilon):
    """The published formula, one query at a time, in double. q [H, n, d]; k, v [H, n, d]."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    for h in range(q.shape[0]):
        for i in range(q.shape[1]):
            keys, values = k[h, : i + 1], v[h, : i + 1]
            if torch.linalg.norm(q[h, i] - keys.mean(0)) < theta:
                out[h, i] = values.mean(0)
                continue
            distance = torch.linalg.norm(keys - q[h, i], dim=1)
            nearest = torch.argsort(distance, stable=True)[:topk]
            weight = 1.0 / (distance[nearest] + epsilon)
            out[h, i] = (weight[:, None] * values[nearest]).sum(0) / weight.sum()
    return out


def run_alcca(model, tokens, theta):
    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        groups = query.shape[1] // key.shape[1]
        key, value = (x[0].repeat_interleave(groups, 0) for x in (key, value))
        out = alcca_attention(query[0], key, value, topk=ALCCA["k"], theta=theta,
                              epsilon=ALCCA["epsilon"])
        return out.float().transpose(0, 1)[None].contiguous(), None

    eager = modeling_mistral.eager_attention_forward
    modeling_mistral.eager_attention_forward = attention
    try:
        return model(tokens[None]).logits[0]
    finally:
        modeling_mistral.eager_attention_forward = eager


def near_half_theta(model, tokens):
    """A radius that sends about half of all queries to mean(V), so that both branches are used."""
    gaps = []

    def record(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        groups = query.shape[1] // key.shape[1]
        full = key[0].repeat_interleave(groups, 0)
        count = torch.arange(1, full.shape[1] + 1)[None, :, None]
        gaps.append((query[0] - full.cumsum(1) / count).norm(dim=-1).flatten())
        return eager(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
                     **kwargs)

    eager = modeling_mistral.eager_attention_forward
    modeling_mistral.eager_attention_forward = record
    try:
        model(tokens[None])
    finally:
        modeling_mistral.eager_attention_forward = eager
    return round(float(torch.cat(gaps).median()), 3)


def encode(logits):
    logprobs = torch.log_softmax(logits.double(), -1).float().contiguous()
    return base64.b64encode(logprobs.numpy().tobytes()).decode()


def greedy(model, prompt):
    ids = prompt
    for _ in range(GREEDY):
        ids = torch.cat([ids, model(ids[None]).logits[0, -1].argmax()[None]])
    return ids[len(prompt):].tolist()


@torch.no_grad()
def make_case(name, spec, out, generator):
    spec = dict(spec)
    dtype, shards = getattr(torch, spec.pop("dtype")), spec.pop("shards")
    config = MistralConfig(**{"sliding_window": None, **spec}, max_position_embeddings=512,
                           rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                           attn_implementation="eager")
    model = MistralForCausalLM(config)
    for parameter in model.parameters():  # wide enough that the logits say something
        if parameter.dim() == 2:
            parameter.copy_(torch.randn(parameter.shape, generator=generator)
                            * 1.5 / parameter.shape[1] ** 0.5)
        else:
            parameter.copy_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
    model.tie_weights()
    model = model.to(dtype)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 20000 if shards > 1 else "1GB")
    # What an f32 server computes from the stored values. Loaded anew: casting back would keep rotary
    # frequencies that the cast to 16 bits has rounded.
    model = MistralForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                               attn_implementation="eager").eval()

    vocab = config.vocab_size
    tokens = torch.randint(3, vocab, (TOKENS,), generator=generator)
    prompts = [torch.randint(3, vocab, (5 + 3 * i,), generator=generator) for i in range(PROMPTS)]
    theta = near_half_theta(model, tokens)
    golden = {
        "tokens": tokens.tolist(),
        "vocab": vocab,
        "logprobs": encode(model(tokens[None]).logits[0]),
        "alcca": {**ALCCA, "theta": theta, "logprobs": encode(run_alcca(model, tokens, theta))},
        "greedy": [{"prompt": p.tolist(), "tokens": greedy(model, p)} for p in prompts],
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{name}: theta {theta}, {size} bytes of weights")


def main():
    torch.set_num_threads(1)  # tiny models; more threads only wait for each other
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    for name, spec in CASES.items():
        make_case(name, spec, args.out, generator)


if __name__ == "__main__":
    main()
