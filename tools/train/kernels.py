"""The compiled kernels of a training step on a CPU, as functions with gradients: alcca_attention.cc and
the server's tree, and what rows.cc does to rows. model.py has the same in PyTorch."""

import ctypes
import functools
import hashlib
import os
import pathlib
import subprocess
import tempfile

import torch

DELTA = 1e-3  # Training differentiates sqrt(d^2 + DELTA^2): d itself has no gradient at 0.
MAX_K = 16
FLAGS = ["-std=c++20", "-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-shared", "-fPIC"]


@functools.cache
def library(head_dim):
    """Compiled for this machine on first use."""
    here = pathlib.Path(__file__).resolve().parent
    root = here.parents[1]
    sources = [here / "alcca_attention.cc", here / "rows.cc", root / "kernels/cpu/key_index_tree.cc"]
    # Compilers avoid the registers of 512 bits if not told otherwise.
    wide = ["-mprefer-vector-width=512"] if os.uname().machine == "x86_64" else []
    flags = [*FLAGS, *wide, f"-DHEAD_DIM={head_dim}", f"-I{root}"]
    read = b"".join(s.read_bytes() for s in [*sources, root / "kernels/key_index.h"])
    tag = hashlib.sha256(read + " ".join(flags).encode()).hexdigest()[:12]
    lib = pathlib.Path(tempfile.gettempdir()) / f"alcca_training_{os.getuid()}_{tag}.so"
    if not lib.exists():
        part = lib.with_suffix(f".{os.getpid()}")
        subprocess.run(["c++", *flags, *map(str, sources), "-o", str(part)], check=True)
        part.replace(lib)
    return ctypes.CDLL(str(lib))


def call(name, *arguments, head_dim=32):
    """Tensors go as pointers, floats as C's float."""
    def of(x):
        if isinstance(x, torch.Tensor):
            return ctypes.c_void_p(x.data_ptr())
        return ctypes.c_float(x) if isinstance(x, float) else x
    getattr(library(head_dim), name)(*map(of, arguments))


def half(x):
    if x.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"float32 or bfloat16, not {x.dtype}")
    return x.dtype == torch.bfloat16


class FastAlcca(torch.autograd.Function):
    """q [N, G, T, D] are the G query heads of each of N key heads; k and v are [N, T, D]."""

    @staticmethod
    def forward(ctx, q, k, v, a):
        if a.k > MAX_K:
            raise ValueError(f"k {a.k}: the kernel keeps at most {MAX_K} keys")
        q, k, v = (t.float().contiguous() for t in (q, k, v))
        N, G, T, D = q.shape
        out, index = torch.empty_like(q), torch.empty(N, G, T, a.k, dtype=torch.int32)
        weight = torch.empty(N, G, T, a.k)
        call("alcca_forward", q, k, v, out, index, weight, N, G, T, a.k, float(a.epsilon), DELTA**2,
             a.tree_distances if a.search == "tree" else 0, a.tree_recent, head_dim=D)
        ctx.save_for_backward(q, k, v, out, index, weight)
        ctx.k, ctx.epsilon = a.k, float(a.epsilon)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, index, weight = ctx.saved_tensors
        N, G, T, D = q.shape
        gq, gk, gv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        call("alcca_backward", q, k, v, out, index, weight, grad.float().contiguous(), gq, gk, gv,
             N, G, T, ctx.k, ctx.epsilon, head_dim=D)
        return gq, gk, gv, None


class RmsNorm(torch.autograd.Function):
    """x [.., n] float32 -> the same, in `dtype`."""

    @staticmethod
    def forward(ctx, x, weight, eps, dtype):
        x = x.float().contiguous()
        n = x.shape[-1]
        rows = x.numel() // n
        y, inverse = torch.empty_like(x, dtype=dtype), torch.empty(rows)
        call("rms_norm_forward", x, weight, y, inverse, rows, n, float(eps), half(y))
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, inverse = ctx.saved_tensors
        grad = grad.contiguous()
        gx, gweight = torch.empty_like(x), torch.zeros_like(weight)
        call("rms_norm_backward", x, weight, inverse, grad, gx, gweight, len(inverse), x.shape[-1], half(grad))
        return gx, gweight, None, None


class Swiglu(torch.autograd.Function):
    """x [.., 2 n], gate and up -> silu(gate) * up [.., n]."""

    @staticmethod
    def forward(ctx, x):
        n = x.shape[-1] // 2
        y = x.new_empty(*x.shape[:-1], n)
        call("swiglu_forward", x, y, y.numel() // n, n, half(x))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        grad, gx, n = grad.to(x.dtype).contiguous(), torch.empty_like(x), x.shape[-1] // 2
        call("swiglu_backward", x, grad, gx, grad.numel() // n, n, half(x))
        return gx


class CrossEntropy(torch.autograd.Function):
    """logits [rows, n], target [rows] -> losses [rows]. The gradient takes the logits' place."""

    @staticmethod
    def forward(ctx, logits, target):
        logits, target = logits.contiguous(), target.contiguous()
        rows, n = logits.shape
        loss, total = torch.empty(rows), torch.empty(rows)
        call("cross_entropy_forward", logits, target, loss, total, rows, n, half(logits))
        ctx.kept = logits, target, total  # Not save_for_backward, which forbids to write over them.
        return loss

    @staticmethod
    def backward(ctx, grad):
        logits, target, total = ctx.kept
        del ctx.kept
        call("cross_entropy_backward", logits, target, total, grad.float().contiguous(), *logits.shape, half(logits))
        return logits, None


def parts(x, counts, cos, sin):
    """(heads' slice of x, count, cos, sin) of q, k and v; v is not rotated."""
    D = 2 * cos.shape[1]
    slices = x.split([n * D for n in counts], -1)
    return zip(slices, counts, (cos, cos, None), (sin, sin, None))


class SplitHeads(torch.autograd.Function):
    """x [B, T, (heads + 2 kv_heads) D] -> q, k after RoPE and v, each [B, its heads, T, D] float32.
    cos, sin: [T, D / 2]."""

    @staticmethod
    def forward(ctx, x, heads, kv_heads, cos, sin):
        x, D = x.contiguous(), 2 * cos.shape[1]
        B, T, width = x.shape
        ctx.dtype, ctx.shape = x.dtype, x.shape
        ctx.parts = (heads, kv_heads, kv_heads), cos.contiguous(), sin.contiguous()
        out = []
        for part, count, c, s in parts(x, *ctx.parts):
            out.append(torch.empty(B, count, T, D))
            call("split_heads", part, c, s, out[-1], B, T, count, D, width, half(x))
        return tuple(out)

    @staticmethod
    def backward(ctx, *grads):
        B, T, width = ctx.shape
        gx, D = torch.empty(ctx.shape, dtype=ctx.dtype), grads[0].shape[-1]
        for g, (part, count, c, s) in zip(grads, parts(gx, *ctx.parts)):
            call("merge_heads", g.contiguous(), c, s, part, B, T, count, D, width, half(gx))
        return gx, None, None, None, None


class MergeHeads(torch.autograd.Function):
    """y [B, H, T, D] float32 -> [B, T, H D] in `dtype`."""

    @staticmethod
    def forward(ctx, y, dtype):
        B, H, T, D = ctx.shape = y.shape
        x = torch.empty(B, T, H * D, dtype=dtype)
        call("merge_heads", y.contiguous(), None, None, x, B, T, H, D, H * D, half(x))
        return x

    @staticmethod
    def backward(ctx, grad):
        B, H, T, D = ctx.shape
        gy, grad = torch.empty(ctx.shape), grad.contiguous()
        call("split_heads", grad, None, None, gy, B, T, H, D, H * D, half(grad))
        return gy, None
