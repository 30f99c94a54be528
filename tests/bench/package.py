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
    """`import entropy_utils` in a fresh interpreter, its start taken off, against `import numpy`."""
    start, _ = alternate(lambda: fresh("pass"), lambda: fresh("pass"), 5)
    ours, peer = alternate(lambda: fresh("import entropy_utils"), lambda: fresh("import numpy"), 5)
    loaded = set(fresh("import entropy_utils, sys; print(*sys.modules)").split())
    ours, peer = max(ours - start, 1e-6), max(peer - start, 1e-6)
    met = ours < 0.3 and not loaded & HEAVY
    return [
        row("import entropy_utils", ours, peer, "import numpy", "s", "< 0.3 s, neither torch nor transformers", met)
    ]
