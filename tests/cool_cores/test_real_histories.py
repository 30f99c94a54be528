"""Notebook 03's cell on real histories, run on a small model and on files written from it."""

from __future__ import annotations

import os
import tempfile

import nbformat
import numpy as np
import pandas as pd
import pytest

from entropy_utils import lab
from entropy_utils.cool_cores.population import Population
from entropy_utils.cool_cores.transformations import find_transformations
from tests.collection import ROOT


@pytest.fixture(scope="module")
def model():
    return Population.profile("smoke", clusters=30).simulate(0)


@pytest.fixture
def run(model, monkeypatch):
    cells = nbformat.read(ROOT / "notebooks" / "03_cool_cores.ipynb", as_version=4).cells
    (source,) = (cell.source for cell in cells if 'get("ENTROPY_COOLCORE_FILE")' in cell.source)

    def of(path: str):
        monkeypatch.setenv("ENTROPY_COOLCORE_FILE", path)
        lesson = lab.open("03", profile="smoke")
        names = {"os": os, "tempfile": tempfile, "np": np, "pd": pd, "find_transformations": find_transformations}
        exec(source, names | {"model": [model], "events": find_transformations(model), "lesson": lesson})
        return next(verdict for verdict in lesson.claims_table().verdicts if verdict.id == "03.real")

    return of


def test_a_file_is_measured_and_what_is_left_out_is_counted(run, model, tmp_path, capsys):
    K0 = np.pad(model.K0, ((0, 0), (100 - len(model.t), 0)), constant_values=np.nan)
    K0[0, 99] = -1  # bad
    K0[1, 98] = np.nan  # missing for less than max_gap: kept
    np.savez(path := tmp_path / "theirs.npz", HaloIDs=model.halo_id, centralEntropy=K0)
    verdict = run(str(path))
    assert "(29 clusters, 1 left out)" in capsys.readouterr().out
    assert verdict.value == pytest.approx(len(find_transformations(model.select(slice(1, None)))) / 29, abs=0.1)
    assert verdict.verdict == ("reproduced" if 2 <= verdict.value <= 3 else "not reproduced")


def test_without_a_file_it_cannot_be_tested(run):
    assert run("").verdict == "not testable here"


def test_a_wrong_path_is_one_clear_line(run, tmp_path):
    with pytest.raises(lab.DataUnavailable, match=r"none\.hdf5 is not there; needed:"):
        run(str(tmp_path / "none.hdf5"))
