"""Put the outputs of a run into the committed notebooks, and the claims into the README.

The committed notebook keeps its own text and code; from the run come outputs only, and only if they belong to the same
code. What a reader cannot use goes: widget state and views (the static picture stays), papermill's metadata, timings,
the folder of the run.
"""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat

from entropy_utils.lab.catalogue import Notebook
from entropy_utils.lab.errors import BrokenFile
from entropy_utils.lab.execute import RunCard, claims_in, code_cells, code_sha, write
from entropy_utils.lab.runner import Runner

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def publish(runner: Runner, readme: Path) -> None:
    """Publish every written notebook of a run; `BrokenFile` names one that is missing, failed or of other code."""
    for notebook in runner.written:
        card = RunCard.load(runner.out, notebook.id)
        source = nbformat.read(runner.source(notebook), as_version=4)
        if card.status != "completed":
            raise BrokenFile(f"notebook {notebook.id} failed in this run: {card.error}")
        if card.code_sha != code_sha(source):
            raise BrokenFile(f"notebook {notebook.id} was run with other code than it has now: run it again")
        executed = nbformat.read(runner.out / notebook.file, as_version=4)
        published = filled(source, executed, card)
        write(runner.source(notebook), nbformat.writes(published).rstrip("\n") + "\n")
        save_pictures(published, runner.folder / "pictures", notebook.id)
    if readme.is_file():
        write(readme, scoreboard(runner, readme.read_text(encoding="utf-8")))


def filled(source: nbformat.NotebookNode, executed: nbformat.NotebookNode, card: RunCard) -> nbformat.NotebookNode:
    """The source notebook with the cleaned outputs of an executed copy, numbered in order."""
    for count, (cell, run) in enumerate(zip(code_cells(source), code_cells(executed), strict=True), 1):
        cell.execution_count = count
        cell.outputs = [clean(output, count) for output in run.outputs if not only_widget(output)]
    for cell in source.cells:
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "jupyter") if key in cell.metadata}
    source.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNEL,
            "language_info": {"name": "python"},
            "entropy_utils": {"code_hash": card.code_sha, "profile": card.profile, "seed": card.seed},
        }
    )
    return source


def only_widget(output: nbformat.NotebookNode) -> bool:
    return set(output.get("data", {})) == {WIDGET_VIEW}


def clean(output: nbformat.NotebookNode, count: int) -> nbformat.NotebookNode:
    """An output without widget view and without the folder of the run, its picture in fewer bytes."""
    data = output.get("data", {})
    data.pop(WIDGET_VIEW, None)
    if "image/png" in data:
        data["image/png"] = base64.b64encode(compact(base64.b64decode(data["image/png"]))).decode("ascii")
    if "execution_count" in output:
        output.execution_count = count
    return nbformat.from_dict(without_folder(output))


def compact(png: bytes) -> bytes:
    """The picture with a palette of 256 colours, a third of the size for a plot; as it was if that saves nothing."""
    from PIL import Image

    picture, smaller = Image.open(io.BytesIO(png)), io.BytesIO()
    if picture.mode != "P":
        picture.convert("RGB").quantize(256).save(smaller, "png", optimize=True)
    return min(png, smaller.getvalue() or png, key=len)


def without_folder(value: Any) -> Any:
    """The same nested value with the current folder taken out of every text."""
    if isinstance(value, str):
        return value.replace(os.getcwd() + os.sep, "")
    if isinstance(value, dict):
        return {key: without_folder(item) for key, item in value.items()}
    return [without_folder(item) for item in value] if isinstance(value, list) else value


def stale(runner: Runner, readme: Path) -> list[str]:
    """One line per notebook whose outputs do not belong to its code, and per README block that says something else."""
    problems = []
    for notebook in runner.written:
        nb = nbformat.read(runner.source(notebook), as_version=4)
        if nb.metadata.get("entropy_utils", {}).get("code_hash") != code_sha(nb):
            problems.append(f"{runner.source(notebook)}: the stored outputs are older than the code: publish a new run")
    if not readme.is_file():
        return [*problems, f"{readme}: missing"]
    text = readme.read_text(encoding="utf-8")
    if scoreboard(runner, text) != text:
        problems.append(f"{readme}: its tables are older than the notebooks or the catalogue: publish again")
    return problems


def scoreboard(runner: Runner, text: str) -> str:
    """README text with the table of notebooks and the table of claims between their markers made anew."""
    text = between(text, "notebooks", notebooks_table(runner))
    return between(text, "claims", claims_table(runner))


def between(text: str, name: str, block: str) -> str:
    """Text with what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->`` replaced; both must be there."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise BrokenFile(f"README: needs one '{begin}' before one '{end}'")
    return text[: text.index(begin) + len(begin)] + f"\n{block}\n" + text[text.index(end) :]


def notebooks_table(runner: Runner) -> str:
    rows = []
    for notebook in runner.catalogue.notebooks:
        title = notebook.title
        if notebook.status == "written":
            title = f"[{title}](notebooks/{notebook.file})"
        times = " / ".join(f"{notebook.minutes[name]:g}" for name in ("smoke", "laptop", "gpu") if name in notebook.minutes)
        rows.append((notebook.id, title, paper(notebook), times, notebook.status))
    return markdown(("", "Notebook", "Paper", "Minutes (smoke / laptop / gpu)", "Status"), rows)


def paper(notebook: Notebook) -> str:
    if notebook.paper is None:
        return ""
    first, *others = notebook.paper.authors.split(", ")
    authors = first + (" et al." if others else "")
    return f"{authors} {notebook.paper.year}, [{notebook.paper.title}](https://arxiv.org/abs/{notebook.paper.arxiv})"


def claims_table(runner: Runner) -> str:
    """The claims stored in the committed notebooks of the whole collection: a line of counts and a table for each."""
    blocks = []
    for notebook in runner.catalogue.notebooks:
        if notebook.status == "written":
            claims = claims_in(nbformat.read(runner.source(notebook), as_version=4))
            counts = Counter(claim["verdict"] for claim in claims)
            total = ", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts, reverse=True))
            rows = [(*(claim[name] for name in COLUMNS.values()), verdict(claim)) for claim in claims]
            table = markdown((*COLUMNS, "Verdict"), rows)
            title = f"<summary>{notebook.id} {notebook.title}: {total}</summary>"
            blocks.append(f"<details>{title}\n\n{table}\n\n</details>")
    return "\n".join(blocks)


COLUMNS = {"Claim": "id", "What it says": "says", "Published": "published", "Expected": "expected", "Ours": "shown"}


def verdict(claim: dict[str, Any]) -> str:
    """The verdict on a claim, with its note if it has one."""
    return f"{claim['verdict']}: {claim['note']}" if claim["note"] else claim["verdict"]


PICTURES = {"picture": "png", "animation": "gif"}  # tag of a cell, and what of its outputs becomes a file


def save_pictures(nb: nbformat.NotebookNode, folder: Path, id: str) -> None:
    """Keep the first picture of the cell tagged `picture`, and the first GIF of the one tagged `animation`, as files of
    their own, ``<id>.png`` and ``<id>.gif``, for the README and the site; where there is none, there is no file.
    """
    for tag, kind in PICTURES.items():
        cells = (cell for cell in code_cells(nb) if tag in cell.metadata.get("tags", []))
        found = [o.data[f"image/{kind}"] for cell in cells for o in cell.outputs if f"image/{kind}" in o.get("data", {})]
        for image in found[:1]:
            folder.mkdir(exist_ok=True)
            (folder / f"{id}.{kind}").write_bytes(base64.b64decode(image))


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; pipes and line breaks inside cells are made harmless."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines)
