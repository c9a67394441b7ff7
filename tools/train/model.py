"""Mistral in plain PyTorch, with the attentions that are compared: softmax ("dense"), the published
ALCCA formula ("alcca"), and softmax over a few recent keys ("window").

Names, shapes and arithmetic are those of Hugging Face `MistralForCausalLM`: RMSNorm, RoPE in the
rotate-half convention, grouped queries, SwiGLU, no biases, output head tied to the embedding. A
state_dict of `Mistral` is a Hugging Face state dict without `lm_head.weight`.
"""

import dataclasses
import json
import math
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

import kernels
from kernels import DELTA, FastAlcca


@dataclasses.dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 1024

    @classmethod
    def of(cls, layers=6, hidden=256, head_dim=32):
        """In afia-5m's proportions; smaller heads are more of them, of the same size in all."""
        return cls(hidden_size=hidden, intermediate_size=hidden * 11 // 4 // 32 * 32,
                   num_hidden_layers=layers, num_attention_heads=hidden // head_dim,
                   num_key_value_heads=hidden // head_dim // 2, head_dim=head_dim)


@dataclasses.dataclass
class Attention:
    """What attention computes. theta, epsilon, k, search and tree_* belong to ALCCA."""

    mode: str = "alcca"
    k: int = 8
    theta: float | list = 0.0  # Or one for each layer and query head, [layers][heads].
    epsilon: float = 0.05
    search: str = "exact"  # Or "tree", by the server's own index; the fast kernel alone has it.
    tree_distances: int = 11
    tree_recent: int = 6
    window: int = 8  # Of mode "window": softmax over the most recent keys.
    softmax: float = 0.0  # Share of softmax in what "alcca" says, while ladder.py teaches far keys.
    near: list = dataclasses.field(default_factory=list)  # Near share, an entry a layer and call.

    def gate(self, layer):
        """Thresholds of a layer's heads, [heads, 1, 1] or [1, 1, 1]; None where none is above 0."""
        theta = self.theta[layer] if isinstance(self.theta, list) else [self.theta]
        return torch.tensor(theta)[:, None, None] if max(theta) > 0 else None

    def check(self, device):
        """Raises where `device` cannot compute it fast."""
        if self.mode == "alcca" and self.search == "tree" and device.type != "cpu":
            raise ValueError("search tree is the server's own index, on the CPU alone: train exact search "
                             "there, then go on with --init and --search tree on a CPU")


def dense_attention(q, k, v):
    """q [.., T, D], k and v the same: causal softmax(q.k / sqrt(D)) v."""
    with torch.autocast("cpu", enabled=False):  # A CPU's bf16 kernel is up to twenty times slower.
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def window_attention(q, k, v, window):
    """Causal softmax over the `window` most recent keys, the query's own included."""
    T = q.shape[-2]
    seen = torch.ones(T, T, dtype=torch.bool, device=q.device).tril().triu(1 - window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def near_gate(out, q, k, v, theta, a: Attention):
    """`out` where ||q - c|| >= theta; elsewhere the mean of the causal values.

    The choice has no gradient, so a near query teaches its values alone; a head that is always near
    never learns its keys. Hence thresholds come late in training (README.md).
    """
    count = torch.arange(1, q.shape[-2] + 1, dtype=q.dtype, device=q.device)[:, None]
    near = (q - k.cumsum(-2) / count).norm(dim=-1, keepdim=True) < theta.to(q.device)
    a.near.append(near.float().mean().item())
    return torch.where(near, v.cumsum(-2) / count, out)


def alcca_attention(q, k, v, a: Attention):
    """The reference, far queries. q, k, v are float32 [.., T, D], after RoPE, one key head per
    query head: the k nearest causal keys (all, where there are fewer), weighted by
    1 / (distance + epsilon), normalised. near_gate answers the others.
    """
    if a.search != "exact":
        raise ValueError(f"search {a.search} is the fast kernel's alone: pass fast=True")
    T = q.shape[-2]
    # Differences, not |q|^2 - 2 q.k + |k|^2, which cancels; cdist would choose that for speed.
    d = torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist")
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    d = d.masked_fill(future, math.inf)
    nearest = d.topk(min(a.k, T), dim=-1, largest=False)
    w = 1.0 / ((nearest.values.square() + DELTA**2).sqrt() + a.epsilon)  # 0 at infinite distance.
    w = torch.zeros_like(d).scatter(-1, nearest.indices, w)
    return (w / w.sum(-1, keepdim=True)) @ v


def gathered_attention(q, k, v, a: Attention):
    """The same from what a GPU is fast at: keys chosen by one product without a gradient, then the
    chosen few gathered, and their distances taken from differences."""
    if a.search != "exact":
        raise ValueError(f"search {a.search} is the CPU kernel's alone")
    T, D = q.shape[-2:]
    with torch.no_grad(), torch.autocast(q.device.type, enabled=False):  # Keys are told apart in float32.
        d = k.square().sum(-1)[..., None, :] - 2 * q @ k.transpose(-1, -2)  # + |q|^2, one for all.
        d = d.masked_fill(torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1), math.inf)
        nearest = d.topk(min(a.k, T), dim=-1, largest=False)
        index, visible = nearest.indices, nearest.values < math.inf  # [.., T, k]
        row = index.view(-1, T, index.shape[-1])
        row = (row + T * torch.arange(len(row), device=q.device)[:, None, None]).flatten()
    keys, values = (x.reshape(-1, D)[row].view(*index.shape, D) for x in (k, v))
    d = ((q.unsqueeze(-2) - keys).square().sum(-1) + DELTA**2).sqrt()
    w = visible / (d + a.epsilon)
    return ((w / w.sum(-1, keepdim=True)).unsqueeze(-1) * values).sum(-2)


def product_dtype(x):
    """Of what a product of x comes out as."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x, compiled=False):
        if compiled:
            return kernels.RmsNorm.apply(x, self.weight, self.eps, product_dtype(x))
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class SelfAttention(nn.Module):
    def __init__(self, c: Config, layer):
        super().__init__()
        self.c, self.layer = c, layer
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.num_attention_heads * c.head_dim, c.hidden_size, bias=False)

    def heads(self, x, cos, sin, compiled):
        """q and k after RoPE, and v: each [B, its heads, T, D], float32."""
        c, (B, T, _) = self.c, x.shape
        if compiled:
            weight = torch.cat([p.weight for p in (self.q_proj, self.k_proj, self.v_proj)])
            return kernels.SplitHeads.apply(F.linear(x, weight), c.num_attention_heads,
                                            c.num_key_value_heads, cos, sin)
        q, k, v = (p(x).view(B, T, -1, c.head_dim).transpose(1, 2).float()
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        return rope(q, cos, sin), rope(k, cos, sin), v

    def forward(self, x, cos, sin, a: Attention, fast):
        B, T, _ = x.shape
        D, G = self.c.head_dim, self.c.num_attention_heads // self.c.num_key_value_heads
        compiled = fast and x.device.type == "cpu"
        q, k, v = self.heads(x, cos, sin, compiled)
        theta = a.gate(self.layer) if a.mode == "alcca" else None
        by_kernel = a.mode == "alcca" and compiled and a.softmax < 1
        if by_kernel:
            out = FastAlcca.apply(q.reshape(-1, G, T, D), k.reshape(-1, T, D),
                                  v.reshape(-1, T, D), a).view(q.shape)
        if not by_kernel or theta is not None or a.softmax > 0:
            # The others want a key head for each query head.
            k, v = k.repeat_interleave(G, 1), v.repeat_interleave(G, 1)
        if a.mode == "dense" or a.softmax == 1:
            out = dense_attention(q, k, v)
        elif a.mode == "window":
            out = window_attention(q, k, v, a.window)
        elif not by_kernel:
            out = (gathered_attention if fast else alcca_attention)(q, k, v, a)
        if 0 < a.softmax < 1:
            out = (1 - a.softmax) * out + a.softmax * dense_attention(q, k, v)
        if theta is not None:
            out = near_gate(out, q, k, v, theta, a)
        if compiled:
            return self.o_proj(kernels.MergeHeads.apply(out, x.dtype))
        return self.o_proj(out.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x, compiled=False):
        if compiled:
            both = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight]))
            return self.down_proj(kernels.Swiglu.apply(both))
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c: Config, layer):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = SelfAttention(c, layer)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, a, fast):
        compiled = fast and x.device.type == "cpu"
        x = x + self.self_attn(self.input_layernorm(x, compiled), cos, sin, a, fast)
        return x + self.mlp(self.post_attention_layernorm(x, compiled), compiled)


class Mistral(nn.Module):
    def __init__(self, config: Config = Config()):
        super().__init__()
        c = self.config = config
        self.model = nn.ModuleDict(dict(
            embed_tokens=nn.Embedding(c.vocab_size, c.hidden_size),
            layers=nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers)),
            norm=RMSNorm(c.hidden_size, c.rms_norm_eps)))
        nn.init.normal_(self.model.embed_tokens.weight, 0, 0.05)  # The matrices begin as torch begins them.

    def forward(self, ids, a: Attention = Attention(), fast=False, at=None):
        """ids [B, T] -> logits [B, T, vocab], or [n, vocab] at the n positions where `at` [B, T] is true.
        fast: the compiled kernel, or on a GPU the gathered keys."""
        c, device = self.config, ids.device
        inv = c.rope_theta ** (-torch.arange(0, c.head_dim, 2, device=device).float() / c.head_dim)
        angle = torch.outer(torch.arange(ids.shape[1], device=device).float(), inv)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, angle.cos(), angle.sin(), a, fast)
        if at is not None:
            x = x[at]
        return F.linear(self.model.norm(x, fast and device.type == "cpu"), self.model.embed_tokens.weight)


def load(path):
    """(model, attention) from a Hugging Face folder, or from a checkpoint of train.py."""
    path = pathlib.Path(path)
    if path.is_dir():
        from safetensors.torch import load_file
        known = {f.name for f in dataclasses.fields(Config)}
        config = json.loads((path / "config.json").read_text())
        config = Config(**{k: v for k, v in config.items() if k in known})
        alcca = json.loads((path / "alcca.json").read_text())
        known = {"mode", "k", "theta", "epsilon", "search", "tree_distances", "tree_recent"}
        attention = Attention(**{k: v for k, v in alcca.items() if k in known})
        state = load_file(path / "model.safetensors")
    else:
        checkpoint = torch.load(path, map_location="cpu")
        config, attention = Config(**checkpoint["config"]), Attention(**checkpoint["attention"])
        state = checkpoint["model"]
    model = Mistral(config)
    model.load_state_dict({k: v.float() for k, v in state.items()})
    return model.eval(), attention
