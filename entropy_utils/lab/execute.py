"""One notebook, executed in a process of its own: the executed copy, its claims and a run card.

The runner starts ``python -m entropy_utils.lab.execute JSON`` per notebook, so that a kernel or a worker that dies
takes nothing else with it. A run card is written last and names the sha256 of the files beside it: a run without a
whole card did not happen.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

import entropy_utils
from entropy_utils.lab.catalogue import Catalogue, Notebook
from entropy_utils.lab.claims import MIME, ClaimsTable, judge
from entropy_utils.lab.errors import BrokenFile
from entropy_utils.lab.quick_nbformat import nbformat

LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "torch", "transformers", "datasets", "papermill", "ipykernel")
DEFAULT_LIMIT_S = 600


class RunCard(BaseModel):
    """What a run was and what it cost; `files` maps the names of the files beside the card to their sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    notebook: str
    profile: str
    seed: int
    status: Literal["completed", "failed"]
    error: str | None  # one line
    started: str  # UTC
    wall_s: float
    peak_memory_bytes: int  # largest resident memory of the kernel and all it started, sampled
    cells: int  # code cells in the executed copy
    cells_completed: int
    claims: dict[str, int]  # number of claims per verdict
    code_sha: str
    entry_sha: str
    versions: dict[str, str]
    device: str
    machine: str
    files: dict[str, str]

    @classmethod
    def load(cls, out: Path, id: str) -> RunCard:
        """The card of a notebook's run in folder `out`; `BrokenFile` names a missing, truncated or changed file."""
        path = card_path(out, id)
        try:
            card = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BrokenFile(f"run card '{path}': missing") from None
        except (ValidationError, UnicodeDecodeError):
            raise BrokenFile(f"run card '{path}': truncated or not a run card") from None
        for name, digest in card.files.items():
            if not (out / name).is_file():
                raise BrokenFile(f"file '{out / name}': missing")
            if sha((out / name).read_bytes()) != digest:
                raise BrokenFile(f"file '{out / name}': truncated or changed since its run")
        return card


def card_path(out: Path, id: str) -> Path:
    return out / f"{id}.card.json"


def claims_path(out: Path, id: str) -> Path:
    return out / f"{id}.claims.json"


def load_claims(out: Path, id: str) -> list[dict]:
    """The claims of a notebook's run, one dict per claim; `BrokenFile` names the file if it cannot be read."""
    path = claims_path(out, id)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenFile(f"claims file '{path}': missing") from None
    except ValueError:
        raise BrokenFile(f"claims file '{path}': truncated or not JSON") from None


def write(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads it sees the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells that the author wrote: all but the one that papermill injects."""
    return [
        cell
        for cell in nb.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def code_sha(nb: nbformat.NotebookNode) -> str:
    """Hash of the code cells: outputs belong to the code only if this is the same."""
    return sha("\0".join(cell.source for cell in code_cells(nb)).encode())


def claims_in(nb: nbformat.NotebookNode) -> list[dict]:
    """The rows of the last claims table among a notebook's outputs; empty if there is none."""
    outputs = [output for cell in code_cells(nb) for output in cell.outputs]
    tables = [output.data[MIME] for output in outputs if MIME in output.get("data", {})]
    return tables[-1] if tables else []


@cache
def versions() -> dict[str, str]:
    """Versions that decide a result: Python, the libraries, and the package with a hash of its sources."""
    found = {"python": platform.python_version()}
    root = Path(entropy_utils.__file__).parent
    sources = b"\0".join(path.read_bytes() for path in sorted(root.rglob("*.py")))
    found["entropy_utils"] = f"{entropy_utils.__version__} {sha(sources)[:12]}"
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def inputs(notebook: Notebook, source: Path, seed: int) -> dict[str, Any]:
    """What a run depends on; a card that says anything else is stale. A missing notebook is a `BrokenFile`."""
    try:
        nb = nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise BrokenFile(f"notebook '{source}': missing") from None
    except (nbformat.reader.NotJSONError, UnicodeDecodeError):
        raise BrokenFile(f"notebook '{source}': truncated or not a notebook") from None
    entry = sha(notebook.model_dump_json().encode())
    return {"seed": seed, "code_sha": code_sha(nb), "entry_sha": entry, "versions": versions()}


class PeakMemory:
    """Largest total resident memory of this process's children while the context is open, in bytes."""

    def __enter__(self) -> PeakMemory:
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            total = 0
            for child in me.children(recursive=True):
                with suppress(psutil.Error):
                    total += child.memory_info().rss
            self.bytes = max(self.bytes, total)

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()


def limit_s(notebook: Notebook, profile: str) -> int:
    """Seconds that one cell may take: the catalogue's for this profile, else its largest, else ten minutes."""
    limits = notebook.cell_limit_s
    return math.ceil(limits.get(profile, max(limits.values(), default=DEFAULT_LIMIT_S)))


def execute(notebook: Notebook, source: Path, out: Path, profile: str, seed: int, jobs: int = 1) -> RunCard:
    """Execute a notebook with papermill and leave its copy, its claims and its card in `out`. Never raises for what
    goes wrong inside the notebook: the card says so. Of `jobs` notebooks at a time each may take `jobs` times as long.
    """
    import papermill

    from entropy_utils.lab import engine

    facts = inputs(notebook, source, seed)
    partial = out.resolve() / "partial" / notebook.file
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    started, clock, error = datetime.now(UTC), time.perf_counter(), None
    with PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                str(source.resolve()),
                str(partial).replace("{", "{{").replace("}", "}}"),
                parameters={"profile": profile, "seed": seed},
                engine_name=engine.NAME,
                execution_timeout=jobs * limit_s(notebook, profile),
                iopub_timeout=60,
                progress_bar=False,
                cwd=str(source.resolve().parent),
            )
        except Exception as caught:
            error = one_line(caught)
    wall_s = time.perf_counter() - clock
    files, cells, done, rows, device = {}, 0, 0, [], "unknown"
    if partial.is_file():
        nb = nbformat.read(partial, as_version=4)
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        cells, done = len(code), sum(cell.metadata.get("papermill", {}).get("status") == "completed" for cell in code)
        rows, device = claims_in(nb), device_of(nb, notebook.id)
        files[notebook.file] = sha(partial.read_bytes())
        partial.replace(out / notebook.file)
    if error is None and done < cells:
        error = f"{cells - done} of {cells} code cells did not complete"
    measured = {row["id"] for row in rows}
    missing = tuple(judge(claim, profile) for claim in notebook.claims if claim.id not in measured)
    rows = rows + ClaimsTable(notebook.id, profile, seed, missing).rows()
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    write(claims_path(out, notebook.id), text)
    files[claims_path(out, notebook.id).name] = sha(text.encode())
    card = RunCard(
        notebook=notebook.id,
        profile=profile,
        status="failed" if error else "completed",
        error=error,
        started=started.isoformat(timespec="seconds"),
        wall_s=round(wall_s, 2),
        peak_memory_bytes=memory.bytes,
        cells=cells,
        cells_completed=done,
        claims=dict(Counter(row["verdict"] for row in rows)),
        device=device,
        machine=f"{platform.platform(terse=True)} {platform.machine()}, {os.cpu_count()} CPUs",
        files=files,
        **facts,
    )
    write(card_path(out, notebook.id), card.model_dump_json(indent=1) + "\n")
    return card


def one_line(error: Exception) -> str:
    """An exception as one line: what papermill raises for a cell names the cell and the error inside."""
    if hasattr(error, "evalue"):
        text = f"cell [{error.exec_count}] {error.ename}: {error.evalue}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def device_of(nb: nbformat.NotebookNode, id: str) -> str:
    """The device that `lab.open` printed: the last part of its environment line ``05 Title | laptop | ... | cpu``."""
    streams = [output.text for cell in nb.cells for output in cell.get("outputs", []) if output.output_type == "stream"]
    lines = [line for text in streams for line in text.splitlines() if line.startswith(f"{id} ") and " | seed " in line]
    return lines[0].rsplit(" | ", 1)[-1] if lines else "unknown"


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    entry = Catalogue.load(job["collection"]).notebook(job["notebook"])
    execute(entry, Path(job["source"]), Path(job["out"]), job["profile"], job["seed"], job["jobs"])
