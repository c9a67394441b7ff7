"""Writes the tokens of a SentencePiece model as constraints_bench reads them: one a line, its bytes
in hexadecimal; a token that adds no text is an empty line.

    python3 vocabulary.py tokenizer.model > tokens.txt
"""

import re
import sys

import sentencepiece


def main(path: str) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    for token in range(model.vocab_size()):
        piece = model.id_to_piece(token)
        if model.is_control(token) or model.is_unknown(token) or model.is_unused(token):
            print()
        elif model.is_byte(token):
            print(re.fullmatch("<0x([0-9A-F]{2})>", piece)[1])
        else:
            print(piece.replace("\u2581", " ").encode().hex())


if __name__ == "__main__":
    main(sys.argv[1])
