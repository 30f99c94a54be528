"""Plain papermill, as someone outside the project uses it: a good run, and parameters that must stop it at once."""

from __future__ import annotations

import os
import subprocess
import sys

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from papermill import cli

from entropy_utils.lab.catalogue import load_object
from tests.collection import CATALOGUE, ROOT, WRITTEN, expect_complete, path


def papermill(notebook, out, *options: str) -> subprocess.CompletedProcess:
    arguments = [
        sys.executable,
        "-m",
        "papermill",
        path(notebook).relative_to(ROOT),
        out,
        "--no-progress-bar",
        *options,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "ENTROPY_PROFILE"}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("notebook", [CATALOGUE.notebook("00"), CATALOGUE.notebook("05")], ids=lambda notebook: notebook.id)
def test_a_good_run_completes(notebook, tmp_path):  # all of them: tests/house/test_offline.py
    done = papermill(notebook, tmp_path / "out.ipynb", "-p", "profile", "smoke", "-p", "seed", "3")
    assert done.returncode == 0, done.stderr[-3000:]
    expect_complete(tmp_path / "out.ipynb", notebook, "smoke", seed=3)


def bad_overrides(notebook) -> dict:
    """Overrides wrong in every way at once: an unknown field, a type, a bound, and a choice if there is one."""
    bad = {"no_such_field": 1}
    if notebook.experiment is None:
        return bad
    fields = load_object(notebook.experiment).model_json_schema()["properties"]
    low, high, *_ = [name for name, field in fields.items() if "minimum" in field and name != "seed"]
    choices = [name for name, field in fields.items() if "enum" in field]
    bad |= {name: "no such choice" for name in choices[:1]}
    return bad | {low: fields[low]["minimum"] - 1, high: "many"}


def bad_parameters():
    """Notebook, papermill's options, the names that the one line must hold."""
    for name, value in {"sed": "3", "profile": "huge", "seed": "three"}.items():  # the same first cell in all of them
        yield pytest.param(WRITTEN[0], ["-p", name, value], [name], id=f"{WRITTEN[0].id} {name} {value}")
    for notebook in WRITTEN:
        overrides = bad_overrides(notebook)
        options = ["-p", "profile", "smoke", "-y", yaml.safe_dump({"overrides": overrides})]
        yield pytest.param(notebook, options, overrides if notebook.experiment else [], id=f"{notebook.id} overrides")


@pytest.mark.parametrize(("notebook", "options", "named"), list(bad_parameters()))
def test_a_bad_parameter_is_one_line_in_the_first_cell(notebook, options, named, tmp_path):
    out = tmp_path / "out.ipynb"
    done = CliRunner().invoke(cli.papermill, [str(path(notebook)), str(out), "--no-progress-bar", *options])
    assert done.exit_code == 1
    code = [c for c in nbformat.read(out, as_version=4).cells if c.cell_type == "code"]
    injected = next(n for n, cell in enumerate(code) if "injected-parameters" in cell.metadata.get("tags", []))
    failed, later = code[injected + 1], code[injected + 2 :]
    (error,) = failed.outputs
    (line,) = error.traceback
    assert "\n" not in line
    assert error.ename == "ParameterError"
    assert all(f"'{name}'" in line for name in named)
    assert line in str(done.exception)
    assert not [cell.source for cell in later if cell.execution_count is not None or cell.outputs]
