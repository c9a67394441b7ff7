"""Makes fresh golden checkpoints with a random seed and runs hf_golden_test's cases on them.

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
with tempfile.TemporaryDirectory() as out:
    subprocess.run([sys.executable, f"{source}/tools/golden/make_hf_golden.py", "--out", out,
                    "--seed", str(seed)], check=True)
    subprocess.run([binary, "--gtest_filter=*HfGoldenTest*"], check=True,
                   env={**os.environ, "ALCCA_HF_GOLDEN_DIR": out})
