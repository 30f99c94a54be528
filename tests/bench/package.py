"""What importing the package costs a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

from tests.bench.timing import alternate, row

HEAVY = {"torch", "transformers"}


def fresh(code: str) -> str:
    """Output of `code` in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def bench_import() -> list[dict]:
    """A fresh interpreter that imports entropy_utils, start included, against one that imports numpy."""
    ours, peer = alternate(lambda: fresh("import entropy_utils"), lambda: fresh("import numpy"), 9)
    loaded = set(fresh("import entropy_utils, sys; print(*sys.modules)").split())
    name, goal = "fresh python, import entropy_utils", "< 0.3 s, neither torch nor transformers"
    return [row(name, ours, peer, "fresh python, import numpy", "s", goal, ours < 0.3 and not loaded & HEAVY)]
