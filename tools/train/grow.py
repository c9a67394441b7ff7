"""A larger model that computes what a smaller one does (after Net2Net, Chen et al. 2016), so that what
ladder.py teaches two narrow layers in minutes is where a language model of six wide ones begins.

The new channels of the residual stream are zero, as nothing writes to them: the embedding has zeros
there, and so do the rows of the output projections. New heads and neurons have zeros in their columns of
those projections, and new layers, which follow the old ones, have nothing else. Whatever reads is drawn
as in a new model. The old channels are scaled so that the root of the mean square, zeros and all, is what
it was.
"""

import math

import torch

import model as afia


def heads_of(old, new, count, per_old, per_new):
    """Rows of the new query heads that take the old ones' places: as many of each key head as it had."""
    rows = [(j * per_new + g) * new.head_dim + i
            for j in range(count) for g in range(per_old) for i in range(old.head_dim)]
    return torch.tensor(rows)


def check(old, new):
    same = ("vocab_size", "head_dim", "rope_theta", "rms_norm_eps")
    grows = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_key_value_heads")
    for name in same:
        if getattr(old, name) != getattr(new, name):
            raise ValueError(f"{name}: {getattr(old, name)} cannot become {getattr(new, name)}")
    for name in grows:
        if getattr(old, name) > getattr(new, name):
            raise ValueError(f"{name}: {getattr(old, name)} cannot shrink to {getattr(new, name)}")
    per_old, per_new = (c.num_attention_heads // c.num_key_value_heads for c in (old, new))
    if per_old > per_new:
        raise ValueError(f"query heads for each key head: {per_old} cannot shrink to {per_new}")
    return per_old, per_new


@torch.no_grad()
def grow(small, config):
    """A model of `config`, whose logits are `small`'s but for rounding."""
    old, big = small.config, afia.Mistral(config)
    per_old, per_new = check(old, config)
    h, mid, kv = old.hidden_size, old.intermediate_size, old.num_key_value_heads * old.head_dim
    q = heads_of(old, config, old.num_key_value_heads, per_old, per_new)
    scale = math.sqrt(config.hidden_size / h)  # Of the old channels.

    def norm(to, by, scale):
        to.weight.fill_(by.weight.mean() / scale)
        to.weight[:h] = by.weight / scale

    big.model.embed_tokens.weight.zero_()
    big.model.embed_tokens.weight[:, :h] = small.model.embed_tokens.weight * scale
    norm(big.model.norm, small.model.norm, scale**2)  # The head is the embedding, scaled as well.
    for layer in big.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    for to, by in zip(big.model.layers, small.model.layers):
        norm(to.input_layernorm, by.input_layernorm, scale)
        norm(to.post_attention_layernorm, by.post_attention_layernorm, scale)
        to.self_attn.q_proj.weight[q, :h] = by.self_attn.q_proj.weight
        to.self_attn.k_proj.weight[:kv, :h] = by.self_attn.k_proj.weight
        to.self_attn.v_proj.weight[:kv, :h] = by.self_attn.v_proj.weight
        to.self_attn.o_proj.weight[:h, q] = by.self_attn.o_proj.weight * scale
        to.mlp.gate_proj.weight[:mid, :h] = by.mlp.gate_proj.weight
        to.mlp.up_proj.weight[:mid, :h] = by.mlp.up_proj.weight
        to.mlp.down_proj.weight[:h, :mid] = by.mlp.down_proj.weight * scale
    return big
