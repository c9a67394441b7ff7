"""Generates from a model with a cache of keys and values, in plain PyTorch: dense, alcca by exact search
(whatever search it was trained with) and window."""

import torch

import model as afia


def masked_nearest(q, k, v, visible, a, theta):
    """ALCCA of queries [H, n, D] over keys [H, T, D], of which `visible` [n, T] may be seen."""
    d = torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist").masked_fill(~visible, float("inf"))
    nearest = d.topk(min(a.k, k.shape[1]), -1, largest=False)
    w = 1 / (nearest.values + a.epsilon)
    w = torch.zeros_like(d).scatter(-1, nearest.indices, w)
    out = (w / w.sum(-1, keepdim=True)) @ v
    if theta is not None:
        share = visible.float() / visible.sum(-1, keepdim=True)
        out = torch.where((q - share @ k).norm(dim=-1, keepdim=True) < theta, share @ v, out)
    return out


class Decoder:
    def __init__(self, model, attention):
        self.model, self.attention = model, attention
        self.keys = [None] * model.config.num_hidden_layers
        self.values = list(self.keys)
        self.length = 0

    def attend(self, number, layer, x):
        c, a, n = self.model.config, self.attention, x.shape[0]
        at = torch.arange(self.length, self.length + n)
        inverse = c.rope_theta ** (-torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angle = torch.outer(at.float(), inverse)
        q, k, v = (y[0] for y in layer.heads(x[None], angle.cos(), angle.sin(), False))
        if self.keys[number] is not None:
            k, v = torch.cat([self.keys[number], k], 1), torch.cat([self.values[number], v], 1)
        self.keys[number], self.values[number] = k, v
        k, v = (t.repeat_interleave(c.num_attention_heads // c.num_key_value_heads, 0) for t in (k, v))
        back = at[:, None] - torch.arange(k.shape[1])
        visible = back >= 0
        if a.mode == "alcca":
            out = masked_nearest(q, k, v, visible, a, a.gate(number))
        else:
            if a.mode == "window":
                visible &= back < a.window
            score = (q @ k.transpose(1, 2) / c.head_dim**0.5).masked_fill(~visible, -float("inf"))
            out = score.softmax(-1) @ v
        return layer.o_proj(out.transpose(0, 1).reshape(n, -1))

    @torch.no_grad()
    def read(self, ids):
        """Logits [vocab] of what follows `ids`, which follow what was read before."""
        m = self.model.model
        x = m.embed_tokens(torch.tensor(ids))
        for number, layer in enumerate(m.layers):
            x = x + self.attend(number, layer.self_attn, layer.input_layernorm(x))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        self.length += len(ids)
        return torch.nn.functional.linear(m.norm(x[-1]), m.embed_tokens.weight)


def choose(logits, temperature, top_p, generator):
    if temperature == 0:
        return int(logits.argmax())
    p, order = (logits / temperature).softmax(-1).sort(descending=True)
    p[p.cumsum(-1) - p >= top_p] = 0
    return int(order[torch.multinomial(p, 1, generator=generator)])


def generate(model, attention, ids, count, temperature=0.8, top_p=0.95, seed=0, eos=2):
    """ids and up to `count` more. temperature 0 is greedy."""
    generator, ids = torch.Generator().manual_seed(seed), list(ids)
    count = min(count, model.config.max_position_embeddings - len(ids))
    decoder, new = Decoder(model, attention), ids
    for _ in range(count):
        new = [choose(decoder.read(new), temperature, top_p, generator)]
        ids += new
        if new == [eos]:
            break
    return ids
