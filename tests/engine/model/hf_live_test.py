"""Makes fresh golden checkpoints with a random seed and runs the cases of hf_golden_test and
family_golden_test on them: every family with every kind of rotary embeddings.

    hf_live_test.py ENGINE_TESTS_BINARY SOURCE_DIR

Exits 77 (skipped) where torch and transformers are not installed.
"""

import os
import random
import subprocess
import sys
import tempfile

try:
    import torch  # noqa: F401
    import transformers  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

binary, source = sys.argv[1:]
seed = random.randrange(1 << 30)
print(f"seed {seed}", flush=True)
for script, cases, variable, more in (
        ("make_hf_golden.py", "*HfGoldenTest*", "ALCCA_HF_GOLDEN_DIR", []),
        ("make_family_golden.py", "*FamilyGoldenTest*", "ALCCA_FAMILY_GOLDEN_DIR", ["--all"])):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, f"{source}/tools/golden/{script}", "--out", out,
                        "--seed", str(seed), *more], check=True)
        subprocess.run([binary, f"--gtest_filter={cases}"], check=True,
                       env={**os.environ, variable: out})
