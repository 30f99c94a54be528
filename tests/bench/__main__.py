"""`python -m tests.bench [module ...]`: every `bench_*` function beside this file, one table, build/bench.json."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tests.bench

OUT = Path("build/bench.json")


def rows(only: list[str]) -> list[dict]:
    """The rows of all bench modules, or of those named in `only`, in alphabetical order of the modules."""
    found = []
    for module in sorted(m.name for m in pkgutil.iter_modules(tests.bench.__path__) if m.name != "__main__"):
        if only and module not in only:
            continue
        functions = vars(importlib.import_module(f"tests.bench.{module}"))
        for name in [n for n in functions if n.startswith("bench_")]:
            print(f"{module}.{name}", file=sys.stderr, flush=True)
            found += functions[name]()
    return found


def main(only: list[str]) -> int:
    found = rows(only)
    OUT.parent.mkdir(exist_ok=True)
    part = OUT.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(part, OUT)
    table = Table("what", "ours", "peer", "peer is", "unit", "ours / peer", "goal", "met")
    for r in found:
        numbers = [f"{r[key]:.4g}" for key in ("ours", "peer")]
        met = "yes" if r["met"] else "NO"
        table.add_row(r["name"], *numbers, r["peer_name"], r["unit"], f"{r['ratio']:.3g}", r["goal"], met)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if found and all(r["met"] for r in found) else 1


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | os.environ
    sys.exit(main(sys.argv[1:]))
