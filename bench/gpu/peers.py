#!/usr/bin/env python3
"""What PyTorch and transformers reach on the same card: peers.py --out FILE --group kernels|model.

kernels: attention of one decoded token (scaled_dot_product_attention, flex_attention) at the shape of
Mistral-7B, and products at its matrices (matmul, _int_mm, _scaled_mm). model: transformers' Mistral of
random weights with a static cache, decoding eagerly, in a CUDA graph of torch.compile. One row a line;
a peer that this PyTorch does not have, or that fails, is a row that says so.
"""

import argparse
import json
import sys
import time

import torch

LAYERS = 32


class Peers:
    def __init__(self, args):
        self.args = args
        self.device = args.device
        self.tiny = args.tiny

    def row(self, name, value, unit, **more):
        with open(self.args.out, "a") as out:
            out.write(json.dumps({"group": "peers", "name": name, "value": value, "unit": unit,
                                  **more}) + "\n")

    def attempt(self, name, unit, body):
        try:
            body()
        except Exception as e:  # a peer that fails is a finding, not the end
            self.row(name, None, unit, note=f"{type(e).__name__}: {str(e).splitlines()[0][:150]}")

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, body, repeats=20):
        """Median over repeats; on a GPU by events, so that a launch's cost on the host is hidden."""
        repeats = 2 if self.tiny else repeats
        for _ in range(1 if self.tiny else 3):
            body()
        self.synchronize()
        times = []
        for _ in range(repeats):
            if self.device == "cuda":
                start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                body()
                stop.record()
                stop.synchronize()
                times.append(1e-3 * start.elapsed_time(stop))
            else:
                begin = time.perf_counter()
                body()
                times.append(time.perf_counter() - begin)
        return sorted(times)[len(times) // 2]

    def graph(self, body):
        """`body` captured in a CUDA graph, where there are such; what a server would replay."""
        if self.device != "cuda":
            return body
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body()
        return graph.replay

    # --- attention ---

    def attention(self):
        heads, kv_heads, d = (4, 2, 32) if self.tiny else (32, 8, 128)
        for keys in ([64] if self.tiny else [8192, 32768, 131072]):
            dtype = torch.bfloat16
            q = torch.randn(1, heads, 1, d, device=self.device, dtype=dtype)
            k, v = (torch.randn(1, kv_heads, keys, d, device=self.device, dtype=dtype)
                    for _ in range(2))
            self.sdpa(q, k, v, keys)
            if not self.tiny:
                self.flex(q, k, v, keys)

    def sdpa(self, q, k, v, keys):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                    "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
        if self.tiny:
            backends = {"math": SDPBackend.MATH}
        for name, backend in backends.items():
            label = f"SDPA {name}, {keys} keys"

            def measure():
                with sdpa_kernel(backend):
                    replay = self.graph(lambda: torch.nn.functional.scaled_dot_product_attention(
                        q, k, v, enable_gqa=True))
                    self.row(label, 1e6 * self.seconds(replay), "us a layer")

            self.attempt(label, "us a layer", measure)

    def flex(self, q, k, v, keys):
        label = f"flex_attention, {keys} keys"

        def measure():
            from torch.nn.attention.flex_attention import flex_attention
            compiled = torch.compile(flex_attention, dynamic=False)
            compiled(q, k, v, enable_gqa=True)
            replay = self.graph(lambda: compiled(q, k, v, enable_gqa=True))
            self.row(label, 1e6 * self.seconds(replay), "us a layer")

        self.attempt(label, "us a layer", measure)

    # --- products ---

    def products(self):
        shapes = {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096),
                  "down": (4096, 14336)}
        if self.tiny:
            shapes = {"qkv": (64, 32)}
        for tokens in ([32] if self.tiny else [1, 8, 64, 2048]):
            self.all_matrices(f"matmul bf16, {tokens} rows", tokens, shapes, self.bf16_product)
            if tokens > 16:
                self.all_matrices(f"_int_mm, {tokens} rows", tokens, shapes, self.int8_product)
            if tokens % 16 == 0 and not self.tiny:
                self.all_matrices(f"_scaled_mm e4m3, {tokens} rows", tokens, shapes,
                                  self.fp8_product)

    def all_matrices(self, label, tokens, shapes, make):
        """The four products of a layer, one after the other, as a row of microseconds."""

        def measure():
            total = sum(self.seconds(self.graph(make(tokens, n, k)), 10) for n, k in shapes.values())
            operations = sum(2 * tokens * n * k for n, k in shapes.values())
            self.row(label, 1e6 * total, "us a layer", note=f"{operations / total / 1e12:.1f} T/s")

        self.attempt(label, "us a layer", measure)

    def bf16_product(self, tokens, n, k):
        x = torch.randn(tokens, k, device=self.device, dtype=torch.bfloat16)
        w = torch.randn(n, k, device=self.device, dtype=torch.bfloat16)
        return lambda: torch.nn.functional.linear(x, w)

    def int8_product(self, tokens, n, k):
        x = torch.randint(-127, 127, (tokens, k), device=self.device, dtype=torch.int8)
        w = torch.randint(-127, 127, (n, k), device=self.device, dtype=torch.int8)
        return lambda: torch._int_mm(x, w.t())

    def fp8_product(self, tokens, n, k):
        x = torch.randn(tokens, k, device=self.device).to(torch.float8_e4m3fn)
        w = torch.randn(n, k, device=self.device).to(torch.float8_e4m3fn)
        a = torch.ones(tokens, 1, device=self.device)
        b = torch.ones(1, n, device=self.device)
        return lambda: torch._scaled_mm(x, w.t(), scale_a=a, scale_b=b, out_dtype=torch.bfloat16)

    # --- a model ---

    def model(self):
        from transformers import MistralConfig, MistralForCausalLM, StaticCache
        config = MistralConfig(vocab_size=32768, max_position_embeddings=32768, rope_theta=1e6,
                               sliding_window=None)
        if self.tiny:
            config = MistralConfig(vocab_size=128, hidden_size=64, intermediate_size=96,
                                   num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                   sliding_window=None)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self.device):
            model = MistralForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
        context = 16 if self.tiny else 1024
        for batch in ([1] if self.tiny else [1, 8]):
            cache = StaticCache(config=config, max_cache_len=context + 8)
            tokens = torch.ones(batch, 1, dtype=torch.long, device=self.device)
            position = torch.tensor([context], device=self.device)

            def step(forward):
                with torch.inference_mode():
                    return forward(tokens, past_key_values=cache, cache_position=position,
                                   use_cache=True)

            label = f"transformers bf16, batch {batch}"
            self.attempt(f"{label}, eager", "ms a step", lambda: self.row(
                f"{label}, eager", 1e3 * self.seconds(lambda: step(model)), "ms a step"))
            if self.tiny:
                continue

            def compiled():
                forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
                self.row(f"{label}, compiled", 1e3 * self.seconds(lambda: step(forward)), "ms a step",
                         note="static cache, CUDA graph")

            self.attempt(f"{label}, compiled", "ms a step", compiled)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True, help="file to append rows to")
    parser.add_argument("--group", choices=["kernels", "model"], required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    peers = Peers(args)
    torch.manual_seed(0)
    if args.group == "kernels":
        peers.attempt("attention", "us a layer", peers.attention)
        peers.attempt("products", "us a layer", peers.products)
    else:
        peers.attempt("transformers", "ms a step", peers.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
