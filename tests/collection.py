"""The collection as the tests see it: where it lies and which notebooks are written."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nbformat

from entropy_utils.lab.catalogue import Catalogue, Notebook

ROOT = Path(__file__).parents[1]
CATALOGUE = Catalogue.load()
WRITTEN = [notebook for notebook in CATALOGUE.notebooks if notebook.status == "written"]


def path(notebook: Notebook) -> Path:
    return ROOT / "notebooks" / notebook.file


@cache
def stored(file: str) -> nbformat.NotebookNode:
    """A committed notebook; read once, so do not change it."""
    return nbformat.read(ROOT / "notebooks" / file, as_version=4)
