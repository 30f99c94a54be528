"""Small collections that tests write themselves: a catalogue and its notebooks in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
PARAMETERS = "profile = None\nseed = 0\noverrides = {}"


def entry(id: str, status: str = "written", more: str = "") -> str:
    """One notebook of a catalogue in TOML; `more` adds keys and claims."""
    return f"""
[[notebook]]
id = "{id}"
file = "{id}_throwaway.ipynb"
title = "Throwaway {id}"
room = ""
status = "{status}"
cell_limit_s = {{ smoke = 60, laptop = 60 }}
{more}
"""


def claim(id: str, more: str = "") -> str:
    """A claim that its number is at most 1."""
    return f"""
[[notebook.claim]]
id = "{id}"
paper_claim = "{id[:2]}.a"
says = "it is at most one"
published = "derived here"
measures = "the number"
expect.smoke = {{ max = 1.0 }}
expect.laptop = {{ max = 1.0 }}
{more}
"""


def notebook(folder: Path, id: str, cells: list[str], opened: bool = True) -> Path:
    """Write a notebook: the parameters, `lab.open` (unless told otherwise), then `cells`, markdown where # starts."""
    start = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    if opened:
        start.append(
            new_code_cell(f'from entropy_utils import lab\n\nlesson = lab.open("{id}", profile, seed, overrides)')
        )
    made = [new_markdown_cell(cell) if cell.startswith("#") else new_code_cell(cell) for cell in cells]
    nb = new_notebook(cells=start + made, metadata={"kernelspec": KERNEL})
    for number, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{number}"
    path = folder / f"{id}_throwaway.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


def collection(folder: Path, entries: list[str]) -> Path:
    """Write the catalogue of a throw-away collection."""
    path = folder / "collection.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(entries))
    return path
