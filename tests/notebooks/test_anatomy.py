"""Every written notebook has the same anatomy, and its stored outputs belong to its code and to the catalogue."""

from __future__ import annotations

import ast
import re

import pytest

from entropy_utils import lab
from entropy_utils.lab.catalogue import load_object
from entropy_utils.lab.claims import judge
from entropy_utils.lab.execute import claims_in, code_sha
from entropy_utils.lab.publish import WIDGET_VIEW, stale
from entropy_utils.lab.runner import Runner
from tests.collection import ROOT, WRITTEN, path, stored

HEADINGS = [
    "## 1 Derivation",
    "## 2 Play",
    "## 3 Experiment",
    "## 4 Paper versus ours",
    "## 5 Exercises",
    "## 6 Go further",
    "## References",
]
TOPS = "|".join(["home", "Users", "root", "tmp", "work", "opt", "usr", "var"])
ELSEWHERE = re.compile(rf"(?<![\w.:/<])/(?:{TOPS})/\w")
DETAILS = re.compile(r"<details>.*?</details>", re.DOTALL)
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)

notebooks = pytest.mark.parametrize("notebook", WRITTEN, ids=lambda notebook: notebook.id)


def markdown(nb) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "markdown"]


def code(nb) -> list:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def headings(cell) -> list[str]:
    """The `##` headings of a markdown cell."""
    return re.findall(r"^## .*$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []


def section(nb, heading: str) -> list:
    """The cells from a heading to the next fixed one."""
    inside, cells = False, []
    for cell in nb.cells:
        for line in headings(cell):
            inside = line == heading if line in HEADINGS else inside
        cells += [cell] if inside else []
    return cells


def texts(nb) -> list[str]:
    """Everything in the notebook that a reader reads: sources and textual outputs."""
    found = [cell.source for cell in nb.cells]
    for output in (output for cell in code(nb) for output in cell.outputs):
        found += [output.get("text", ""), *output.get("traceback", [])]
        found += [value for kind, value in output.get("data", {}).items() if isinstance(value, str) and "image" not in kind]
    return found


@notebooks
def test_the_sections_stand_in_order(notebook):
    found = [line for cell in stored(notebook.file).cells for line in headings(cell)]
    assert [line for line in found if line in HEADINGS or re.match(r"## \d", line)] == HEADINGS


@notebooks
def test_it_opens_with_title_paper_cost_and_aims(notebook):
    cells = stored(notebook.file).cells
    first = next(n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    opening = "\n".join(cell.source for cell in cells[:first])
    assert cells[0].source.startswith("# ")
    for words in ("What you will learn", "Before you start", "minutes", "memory"):
        assert words.lower() in opening.lower()
    if notebook.paper:
        assert notebook.paper.arxiv in opening
    assert ast.unparse(ast.parse(cells[first].source)) == "profile = None\nseed = 0\noverrides = {}"
    assert (
        f'lab.open("{notebook.id}", profile, seed, overrides)'
        in next(c for c in cells[first + 1 :] if c in code(stored(notebook.file))).source
    )


@notebooks
def test_cells_are_few_and_short(notebook):
    nb = stored(notebook.file)
    assert 35 <= len(nb.cells) <= 60
    assert not [cell.source for cell in code(nb) if cell.source.count("\n") + 1 > 15]
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)


@notebooks
def test_outputs_are_stored_in_order_and_clean(notebook):
    nb = stored(notebook.file)
    assert [cell.execution_count for cell in code(nb)] == list(range(1, len(code(nb)) + 1))
    outputs = [output for cell in code(nb) for output in cell.outputs]
    assert not [output.ename for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if WIDGET_VIEW in output.get("data", {})]
    assert not {"widgets", "papermill"} & set(nb.metadata)
    assert not [cell.metadata for cell in nb.cells if {"papermill", "execution"} & set(cell.metadata)]
    assert not [text[:200] for text in texts(nb) if ELSEWHERE.search(text)]
    assert path(notebook).stat().st_size < 1.5e6
    for heading in HEADINGS[:4]:
        assert [cell for cell in section(nb, heading) if cell.cell_type == "code" and cell.outputs], heading


@notebooks
def test_outputs_belong_to_the_code(notebook):
    stamp = stored(notebook.file).metadata["entropy_utils"]
    assert stamp["code_hash"] == code_sha(stored(notebook.file))
    assert stamp["profile"] == "laptop"
    assert stamp["seed"] == 0


@notebooks
def test_every_picture_has_alt_text_and_a_caption(notebook):
    pictures = 0
    for cell in code(stored(notebook.file)):
        for output, after in zip(cell.outputs, [*cell.outputs, {}][1:], strict=True):
            for kind in {"image/png", "image/gif"} & set(output.get("data", {})):
                pictures += 1
                assert output.metadata.get(kind, {}).get("alt", "").strip(), cell.source
                assert after.get("data", {}).get("text/markdown", "").strip(), cell.source
    assert pictures


@notebooks
def test_the_derivation_is_checked_by_nbval(notebook):
    checked = [c for c in section(stored(notebook.file), "## 1 Derivation") if "# NBVAL_CHECK_OUTPUT" in c.source]
    assert checked
    assert all(cell.outputs for cell in checked)


@notebooks
def test_the_stored_claims_are_those_of_the_catalogue(notebook):
    rows = claims_in(stored(notebook.file))
    assert [row["id"] for row in rows] == [claim.id for claim in notebook.claims]
    for row, claim in zip(rows, notebook.claims, strict=True):
        now = judge(claim, "laptop")
        for name in ("paper_claim", "says", "published", "measures", "expected"):
            assert row[name] == getattr(now, name), f"{claim.id}: {name}"
        assert row["profile"] == "laptop"
        assert row["verdict"] != "not measured"


class Checked:
    """A lesson that remembers which exercises were answered right."""

    def __init__(self, lesson):
        self._lesson, self.right, self.wrong = lesson, [], []

    def __getattr__(self, name):
        return getattr(self._lesson, name)

    def check(self, id, answer=None):
        found = self._lesson.check(id, answer)
        (self.right if found else self.wrong).append(id)
        return found


@notebooks
def test_the_folded_solutions_are_right(notebook, monkeypatch):
    monkeypatch.chdir(path(notebook).parent)
    nb = stored(notebook.file)
    assert notebook.exercises
    exercises = load_object(notebook.exercises)
    assert 3 <= len(exercises) <= 5
    stubs = "\n".join(cell.source for cell in section(nb, "## 5 Exercises") if cell.cell_type == "code")
    lesson = Checked(lab.open(notebook.id, "smoke", 0, {}))
    for text in markdown(nb):
        for details in DETAILS.findall(text):
            for solution in FENCE.findall(details):
                exec(compile(solution, f"solution in {notebook.file}", "exec"), {"lesson": lesson})
    assert not lesson.wrong
    assert sorted(lesson.right) == sorted(exercises)
    for id in exercises:
        assert f'lesson.check("{id}"' in stubs


def test_the_readme_is_not_older_than_the_notebooks():
    assert stale(Runner("laptop", notebooks=ROOT / "notebooks"), ROOT / "README.md") == []
