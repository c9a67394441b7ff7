"""tools/train's compiled kernels against PyTorch, a grown model against the small one, and the decoder
against the model: training_test.py SOURCE_DIR

Exits 77 (skipped) where torch is not installed.
"""

import pathlib
import sys

try:
    import torch
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tools/train"))
import decode  # noqa: E402
import grow  # noqa: E402
import kernels  # noqa: E402
import model as afia  # noqa: E402

SMALL = afia.Config(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
                    num_key_value_heads=2, vocab_size=300)
LARGE = afia.Config(hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=3, vocab_size=300)


def some_model(config):
    model = afia.Mistral(config)
    for p in model.parameters():
        if p.dim() == 1:
            torch.nn.init.uniform_(p, 0.5, 1.5)
    return model


def losses_and_gradients(model, ids, attention, fast, bf16=False):
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = model(ids[:, :-1], attention, fast).flatten(0, 1)
    target = ids[:, 1:].flatten()
    if fast:
        losses = kernels.CrossEntropy.apply(logits, target)
    else:
        losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
    (losses * torch.linspace(0, 1, len(losses))).sum().backward()
    return losses.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}


def far_apart(a, b):
    """|a - b| / |b|"""
    return ((a - b).norm() / b.norm()).item()


def check_kernels():
    for length in (5, 8, 41, 130):  # Fewer keys than k, and tiles and blocks that are not full.
        model, ids = some_model(LARGE), torch.randint(300, (3, length + 1))
        for mode in ("alcca", "dense"):
            attention = afia.Attention(mode)
            losses, gradients = losses_and_gradients(model, ids, attention, False)
            fast, fast_gradients = losses_and_gradients(model, ids, attention, True)
            assert far_apart(fast, losses) < 1e-5, (mode, length)
            for name, g in gradients.items():
                assert far_apart(fast_gradients[name], g) < 1e-3, (mode, length, name)
        half, half_gradients = losses_and_gradients(model, ids, afia.Attention("dense"), True, bf16=True)
        assert 0 < far_apart(half, losses) < 0.02
        for name, g in gradients.items():
            assert far_apart(half_gradients[name], g) < 0.1, name


def check_ties():
    """Of keys at the same distance the lower ones are chosen."""
    q, k = torch.ones(1, 1, 40, 32), torch.zeros(1, 40, 32)
    v = torch.arange(40.0)[None, :, None].expand(1, 40, 32).contiguous()
    out = kernels.FastAlcca.apply(q, k, v, afia.Attention(k=4))
    assert torch.allclose(out[0, 0, -1], torch.full((32,), 1.5)), out[0, 0, -1]


def check_growth():
    small = some_model(SMALL)
    large = grow.grow(small, LARGE)
    ids = torch.randint(300, (2, 50))
    for mode in ("alcca", "dense"):
        attention = afia.Attention(mode)
        assert far_apart(large(ids, attention), small(ids, attention)) < 1e-5, mode
    large(ids, afia.Attention("dense")).logsumexp(-1).sum().backward()
    for layer in large.model.layers:  # What writes learns at once, and what reads after it.
        assert min(w.weight.grad.norm() for w in (layer.self_attn.o_proj, layer.mlp.down_proj)) > 0
    try:
        grow.grow(large, SMALL)
    except ValueError as error:
        assert "hidden_size: 96 cannot shrink to 64" in str(error)
    else:
        raise AssertionError("a model shrank")


def check_decoder():
    model, ids = some_model(LARGE), torch.randint(300, (1, 60))
    for attention in (afia.Attention("dense"), afia.Attention("window", window=5), afia.Attention("alcca"),
                      afia.Attention("alcca", theta=[[3.0, 0, 4, 5, 6, 0]] * 3)):
        decoder = decode.Decoder(model, attention)
        decoder.read(ids[0, :30].tolist())
        for t in range(30, 60):
            logits = decoder.read([int(ids[0, t])])
        with torch.no_grad():
            assert far_apart(logits, model(ids, attention)[0, -1]) < 1e-4, attention.mode


torch.manual_seed(0)
torch.set_num_threads(1)
check_kernels()
check_ties()
check_growth()
check_decoder()
print("ok")
