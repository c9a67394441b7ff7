"""Writes a checkpoint of train.py as a Hugging Face folder that the server and transformers load.

    python export.py --checkpoint runs/afia/checkpoint.pt --tokenizer prepared/tokenizer.model \
        --out ../../models/afia-5m
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--theta", type=float, help="default: the checkpoint's")
    args = parser.parse_args()

    checkpoint = torch.load(args.checkpoint, map_location="cpu")
    config, attention = checkpoint["config"], checkpoint["attention"]
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in checkpoint["model"].items()}
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    write_json(args.out / "config.json", {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        **config,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    })
    write_json(args.out / "generation_config.json", {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "do_sample": True,
        "temperature": 0.8,
        "top_p": 0.95,
    })
    write_json(args.out / "tokenizer_config.json", {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
        "model_max_length": config["max_position_embeddings"],
    })
    trained = {k: attention[k] for k in ("mode", "k", "theta", "epsilon", "search") if k in attention}
    if trained.get("search") == "tree":
        trained["tree_recent"] = attention["tree_recent"]
    if attention["mode"] == "window":
        trained["window"] = attention["window"]
    serve = {"search": "exact", **trained}
    if args.theta is not None:
        serve["theta"] = args.theta
    write_json(args.out / "alcca.json", {
        **serve,
        "_trained_with": {**trained, "steps": checkpoint["step"], "tokens": checkpoint["tokens"],
                          "after": checkpoint.get("after")},
    })
    if args.tokenizer.resolve() != (args.out / "tokenizer.model").resolve():
        shutil.copyfile(args.tokenizer, args.out / "tokenizer.model")
    size = (args.out / "model.safetensors").stat().st_size
    print(f"{args.out}: {size:,} bytes of weights, step {checkpoint['step']}")


if __name__ == "__main__":
    main()
