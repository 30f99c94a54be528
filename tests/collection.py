"""The collection as the tests see it: where it lies and which notebooks are written."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nbformat

from entropy_utils.lab.catalogue import Catalogue, Notebook
from entropy_utils.lab.execute import claims_in

ROOT = Path(__file__).parents[1]
CATALOGUE = Catalogue.load()
WRITTEN = [notebook for notebook in CATALOGUE.notebooks if notebook.status == "written"]


def path(notebook: Notebook) -> Path:
    return ROOT / "notebooks" / notebook.file


@cache
def stored(file: str) -> nbformat.NotebookNode:
    """A committed notebook; read once, so do not change it."""
    return nbformat.read(ROOT / "notebooks" / file, as_version=4)


def expect_complete(executed: Path, notebook: Notebook, profile: str, seed: int = 0) -> None:
    """Fail unless every cell of an executed notebook ran, with this profile and seed, and every claim was measured."""
    nb = nbformat.read(executed, as_version=4)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert {cell.metadata.papermill.status for cell in code} == {"completed"}
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert f"{notebook.id} {notebook.title} | {profile} | seed {seed} | " in printed
    rows = claims_in(nb)
    assert [row["id"] for row in rows] == [claim.id for claim in notebook.claims]
    assert {row["seed"] for row in rows} <= {seed}
    assert "not measured" not in {row["verdict"] for row in rows}
