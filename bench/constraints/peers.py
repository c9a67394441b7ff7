"""The same schemas, instances and vocabulary through llguidance and xgrammar.

    python3 -m venv venv && venv/bin/pip install llguidance xgrammar
    zcat sample.jsonl.gz | venv/bin/python peers.py --vocabulary tokens.txt llguidance xgrammar

Prints what constraints_bench prints: schemas compiled, wrong verdicts, microseconds of CPU of a mask
and of a compilation. Single-threaded. The vocabulary is written by vocabulary.py.
"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("RAYON_NUM_THREADS", "1")


def tokenize(ids, longest, text):
    """The longest token that fits, as constraints_bench has it."""
    out, at = [], 0
    while at < len(text):
        for size in range(min(longest, len(text) - at), 0, -1):
            token = ids.get(text[at:at + size])
            if token is not None:
                break
        else:
            return None
        out.append(token)
        at += size
    return out


class Llguidance:
    def __init__(self, tokens, end):
        ids = {text: token for token, text in reversed(list(enumerate(tokens))) if text and token != end}
        longest = max(map(len, ids))
        import llguidance
        import llguidance.numpy as ln
        from llguidance import LLTokenizer, TokenizerWrapper

        class Wrapper:
            eos_token_id = end
            bos_token_id = None
            special_token_ids = [i for i, t in enumerate(tokens) if not t]

            def __init__(self):
                self.tokens = [t or b"<%d>" % i for i, t in enumerate(tokens)]

            def __call__(self, text):
                return tokenize(ids, longest, text if isinstance(text, bytes) else text.encode())

        self.lg, self.ln = llguidance, ln
        self.tokenizer = LLTokenizer(TokenizerWrapper(Wrapper()))
        self.mask = ln.allocate_token_bitmask(1, len(tokens))

    def compile(self, schema, flexible):
        options = {"whitespace_flexible": flexible}
        if not flexible:
            options |= {"item_separator": ",", "key_separator": ":"}
        grammar = self.lg.LLMatcher.grammar_from_json_schema(
            schema, overrides=options)
        matcher = self.lg.LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def start(self, compiled):
        return compiled.deep_copy()

    def fill(self, matcher):
        self.ln.fill_next_token_bitmask(matcher, self.mask)

    def allowed(self, token):
        return bool(self.mask[0, token // 32] >> (token % 32) & 1)

    def accept(self, matcher, token):
        return matcher.consume_token(token)

    def may_end(self, matcher):
        return matcher.is_accepting()


class Xgrammar:
    def __init__(self, tokens, end):
        import xgrammar
        self.xg = xgrammar
        vocab = [t or b"" for t in tokens]
        info = xgrammar.TokenizerInfo(vocab, xgrammar.VocabType.RAW, stop_token_ids=[end])
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.mask = xgrammar.allocate_token_bitmask(1, len(tokens))

    def compile(self, schema, flexible):
        if flexible:
            return self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=True,
                                                     strict_mode=False)
        return self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False,
                                                 separators=(",", ":"), strict_mode=False)

    def start(self, compiled):
        return self.xg.GrammarMatcher(compiled)

    def fill(self, matcher):
        matcher.fill_next_token_bitmask(self.mask)

    def allowed(self, token):
        return bool(int(self.mask[0, token // 32]) >> (token % 32) & 1)

    def accept(self, matcher, token):
        return matcher.accept_token(token)

    def may_end(self, matcher):
        return matcher.is_completed() if hasattr(matcher, "is_completed") else None


def percentile(values, share):
    return values[min(len(values) - 1, int(share * len(values)))]


def show(name, values):
    values.sort()
    if values:
        print(f"{name:24s} n {len(values)}  mean {sum(values) / len(values):.1f}  "
              f"p50 {percentile(values, .5):.1f}  p90 {percentile(values, .9):.1f}  "
              f"p99 {percentile(values, .99):.1f}  max {values[-1]:.1f} us")


def run(engine, rows, ids, longest, flexible, end, verbose):
    compiled_count = refused = accepted_invalid = valid = invalid = 0
    compile_us, mask_us = [], []
    for row in rows:
        begin = time.process_time()
        try:
            compiled = engine.compile(row["schema"], flexible)
        except Exception as error:  # Each library has its own.
            if verbose:
                print("REFUSED", row["name"], str(error).replace("\n", " ")[:200])
            continue
        compile_us.append((time.process_time() - begin) * 1e6)
        compiled_count += 1
        for test in row["tests"]:
            texts = [json.dumps(test["data"], ensure_ascii=False, separators=(",", ":"))]
            if flexible:
                texts.append(json.dumps(test["data"], ensure_ascii=False, indent=2))
            for text in texts:
                matcher, good = engine.start(compiled), True
                for token in tokenize(ids, longest, text.encode()) or []:
                    begin = time.process_time()
                    engine.fill(matcher)
                    mask_us.append((time.process_time() - begin) * 1e6)
                    if not engine.accept(matcher, token):  # llguidance's mask has one way to write what is forced
                        good = False
                        break
                if good:
                    ends = engine.may_end(matcher)
                    if ends is None:
                        engine.fill(matcher)
                        ends = engine.allowed(end)
                    good = ends
                valid += test["valid"]
                invalid += not test["valid"]
                refused += test["valid"] and not good
                accepted_invalid += not test["valid"] and good
                if verbose and good != test["valid"]:
                    print("WRONG", row["name"], "accepted" if good else "refused", text[:200])
    print(f"compiled {compiled_count} of {len(rows)} schemas ({100 * compiled_count / len(rows):.1f} %)")
    print(f"valid {valid}, of them refused {refused}; invalid {invalid}, "
          f"of them accepted {accepted_invalid}")
    show("compile", compile_us)
    show("mask", mask_us)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--flexible", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("engines", nargs="+", choices=["llguidance", "xgrammar"])
    arguments = parser.parse_args()
    with open(arguments.vocabulary) as file:
        tokens = [bytes.fromhex(line.strip()) for line in file]
    end = 2
    ids = {}
    for token, text in enumerate(tokens):
        if text and token != end:
            ids.setdefault(text, token)
    longest = max(map(len, ids))
    rows = [json.loads(line) for line in sys.stdin]
    for name in arguments.engines:
        print(f"-- {name}")
        engine = {"llguidance": Llguidance, "xgrammar": Xgrammar}[name](tokens, end)
        run(engine, rows, ids, longest, arguments.flexible, end, arguments.verbose)


if __name__ == "__main__":
    main()
