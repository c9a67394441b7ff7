"""Answers of a served model under random JSON schemas, each validated by the Python package jsonschema. In a
venv that in_venv.sh makes.

Usage: constrained_answers_test.py ROOT ALCCAD ALCCA [ANSWERS [SEED [MODEL]]]
"""

import concurrent.futures
import json
import pathlib
import random
import re
import string
import subprocess
import sys
import tempfile

import jsonschema

ROOT, ALCCAD, ALCCA = pathlib.Path(sys.argv[1]), *sys.argv[2:4]
ANSWERS = int(sys.argv[4]) if len(sys.argv) > 4 else 60
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else 1
MODEL = sys.argv[6] if len(sys.argv) > 6 else str(ROOT / "models/afia-5m")
MAX_TOKENS = 700
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"]
PATTERNS = ["^[a-z]{2,6}$", "[0-9]", "^(red|green|blue)$", "^\\w+@\\w+$", "^.{0,4}é"]


def word(rng):
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 7)))


def string_schema(rng):
    schema = {"type": "string"}
    choice = rng.random()
    if choice < 0.2:
        schema["format"] = rng.choice(FORMATS)
    elif choice < 0.4:
        schema |= {"pattern": rng.choice(PATTERNS), "maxLength": rng.randint(6, 20)}
    else:
        low = rng.randint(0, 4)
        schema |= {"minLength": low, "maxLength": low + rng.randint(0, 12)}
    return schema


def number_schema(rng):
    low = rng.choice([-1000, -7, 0, 1, 99])
    schema = {"type": "integer", "minimum": low, "maximum": low + rng.choice([0, 5, 100, 99999])}
    if rng.random() < 0.3:
        schema["multipleOf"] = rng.choice([1, 2, 5, 7])
        schema["maximum"] = low + 100
    if rng.random() < 0.2:
        return {"type": "number", "exclusiveMinimum": low, "maximum": low + 1, "multipleOf": 0.25}
    return schema


def schema_of(rng, depth):
    kinds = ["string", "number", "enum", "const", "simple"]
    if depth > 0:
        kinds += ["object", "object", "array", "anyOf", "tuple", "allOf", "oneOf", "if"]
    kind = rng.choice(kinds)
    if kind == "string":
        return string_schema(rng)
    if kind == "number":
        return number_schema(rng)
    if kind == "enum":
        return {"enum": rng.sample(["a", "b\"c", "é", 1, 2.5, None, True, [1, {"x": 2}], {"k": "v"}], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice([0, "x\n", [], {"a": [1]}, False])}
    if kind == "simple":
        return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}
    if kind == "array":
        return {"type": "array", "items": schema_of(rng, depth - 1), "minItems": rng.randint(0, 2),
                "maxItems": rng.randint(2, 3)}
    if kind == "tuple":
        return {"type": "array", "prefixItems": [schema_of(rng, depth - 1) for _ in range(rng.randint(1, 3))],
                "items": False}
    if kind == "anyOf":
        return {"anyOf": [schema_of(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    if kind == "allOf":
        return {"allOf": [{"type": "string", "maxLength": 9}, {"pattern": "[aeiou]"}, {"minLength": rng.randint(0, 5)}]}
    if kind == "oneOf":
        return {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 20}, {"type": "integer", "minimum": 10, "maximum": 30},
                          {"type": "string", "maxLength": 3}]}
    if kind == "if":
        return {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
                "required": ["kind", "n"], "additionalProperties": False,
                "if": {"properties": {"kind": {"const": "a"}}}, "then": {"properties": {"n": {"maximum": 9}}},
                "else": {"properties": {"n": {"minimum": 10}}}}
    names = list(dict.fromkeys(word(rng) for _ in range(rng.randint(1, 5))))
    schema = {"type": "object", "properties": {name: schema_of(rng, depth - 1) for name in names},
              "required": rng.sample(names, rng.randint(0, len(names))), "additionalProperties": False}
    if rng.random() < 0.2:
        schema |= {"additionalProperties": {"type": "boolean"}, "propertyNames": {"maxLength": 8},
                   "maxProperties": len(names) + 1}
    return schema


def main():
    daemon = subprocess.Popen([ALCCAD, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--model", MODEL],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    target = re.search(r"grpc=(\S+)", daemon.stdout.readline())[1]
    verdicts = {"valid": 0, "cut": 0, "invalid": 0, "failed": 0}
    with tempfile.TemporaryDirectory() as folder:
        def ask(i):
            rng = random.Random(SEED * 1_000_003 + i)
            schema = schema_of(rng, rng.randint(0, 3))
            path = pathlib.Path(folder) / f"{i}.json"
            path.write_text(json.dumps(schema))
            done = subprocess.run(
                [ALCCA, "generate", "Once upon a time", "--target", target, "--json-schema", path, "--json",
                 f"--max-tokens={MAX_TOKENS}", f"--seed={i}", "--temperature=1"], capture_output=True, text=True)
            if done.returncode != 0:
                return "failed", schema, done.stderr
            complete = json.loads(done.stdout.splitlines()[-1])["complete"]
            text = complete.get("text", "")
            if complete["finishReason" if "finishReason" in complete else "finish_reason"] == "length":
                return "cut", schema, text
            try:
                validator = jsonschema.Draft202012Validator(
                    schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
                validator.validate(json.loads(text))
            except (ValueError, jsonschema.ValidationError) as error:
                return "invalid", schema, f"{text}\n{error}"
            return "valid", schema, text

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for verdict, schema, text in pool.map(ask, range(ANSWERS)):
                verdicts[verdict] += 1
                if verdict in ("invalid", "failed"):
                    print(verdict, json.dumps(schema), text)
    daemon.kill()
    daemon.wait()
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    return 1 if verdicts["invalid"] or verdicts["failed"] or verdicts["valid"] < ANSWERS * 0.9 else 0


if __name__ == "__main__":
    sys.exit(main())
