#!/usr/bin/env python3
"""Losses of the embedded models by PyTorch, which tests/lab/embedded_models_test.cc holds the engine to.

    pip install -r tools/train/requirements.txt
    python tools/golden/make_embedded_golden.py

Run it again whenever a model under models/ changes. What the models compute is tools/train/model.py,
the code they were trained with; `alcca` is its reference, written from the formula.
"""

import json
import pathlib
import sys

import sentencepiece
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/train"))
import evaluate  # noqa: E402
import model as afia  # noqa: E402

DOCUMENTS, LENGTH = 4, 1000  # Three stories, and the next ones joined to one long row.


@torch.no_grad()
def loss(model, attention, ids):
    x = torch.tensor(ids)
    logits = model(x[None, :-1], attention)[0]
    return F.cross_entropy(logits.double(), x[1:]).item()


def main():
    text = ROOT / "models/afia-5m/heldout.txt"
    for folder in sorted((ROOT / "models").iterdir()):
        model, attention = afia.load(folder)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        documents = [ids for ids, _ in evaluate.documents(text, pieces.encode)]
        rows = documents[:DOCUMENTS - 1]
        joined = [t for ids in documents[DOCUMENTS - 1:] for t in ids][:LENGTH + 1]
        alcca = afia.Attention("alcca", k=attention.k, epsilon=attention.epsilon)
        golden = {
            "what": "mean loss in nats per token of each row, by tools/golden/make_embedded_golden.py",
            "k": alcca.k, "epsilon": alcca.epsilon,
            "rows": [{"tokens": ids, "alcca": loss(model, alcca, ids),
                      "dense": loss(model, afia.Attention("dense"), ids)}
                     for ids in [*rows, joined]],
        }
        out = ROOT / f"tests/golden/embedded/{folder.name}.json"
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(golden) + "\n")
        print(folder.name, [(round(r["alcca"], 4), round(r["dense"], 4)) for r in golden["rows"]])


if __name__ == "__main__":
    main()
