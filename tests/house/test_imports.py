"""Who imports whom, read from the sources: a room knows the quantities and the language model, never another room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collection import CATALOGUE, ROOT, WRITTEN, stored

PACKAGE = ROOT / "entropy_utils"
SHARED = {"information", "language_model"}
ROOMS = {notebook.room for notebook in CATALOGUE.notebooks} - {""}
FROM_LAB = {"lab.experiment", "lab.errors"}  # the base class and its one-line errors
SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imports(tree: ast.AST, package: str) -> set[str]:
    """The modules of entropy_utils that a source imports, as dotted names below the package; relative ones resolved."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names}
    return {name.removeprefix("entropy_utils.") for name in found if name.startswith("entropy_utils.")}


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return name.startswith("entropy_utils") and (path.is_dir() or path.with_suffix(".py").is_file())


def room_of(name: str) -> str:
    return name.split(".")[0].split("/")[0]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_imports_only_what_its_place_allows(source):
    room = room_of(source.removesuffix(".py"))
    package = ".".join(["entropy_utils", *Path(source).parent.parts])
    found = imports(ast.parse((PACKAGE / source).read_text()), package)
    outside = {name for name in found if room_of(name) != room}
    if room == "information":
        allowed = set()
    elif room == "language_model":
        allowed = {name for name in outside if room_of(name) == "information"}
    elif room in {"lab", "__main__"}:
        allowed = {name for name in outside if room_of(name) == "lab"}
    else:
        # the exercises of a notebook are written in the lab's terms
        lab = FROM_LAB | ({"lab.lesson"} if source.endswith("exercises.py") else set())
        allowed = {name for name in outside if room_of(name) in SHARED or name in lab}
    assert outside <= allowed


@pytest.mark.parametrize("notebook", WRITTEN, ids=lambda notebook: notebook.id)
def test_a_notebook_imports_its_room_and_the_lab(notebook):
    code = "\n".join(cell.source for cell in stored(notebook.file).cells if cell.cell_type == "code")
    tree = ast.parse("\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!"))))
    assert {room_of(name) for name in imports(tree, "")} <= SHARED | {"lab", notebook.room}


def modules_after(code: str) -> set[str]:
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("code", ["import entropy_utils", "from entropy_utils import information, lab; lab.open"])
def test_the_light_part_loads_nothing_heavy(code):
    assert not modules_after(code) & {"torch", "transformers", "trl", "datasets"}
