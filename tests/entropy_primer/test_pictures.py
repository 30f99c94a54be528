"""Every playground of the notebook, at the ends of its sliders and at random: nothing raised, everything finite."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropy_utils import lab
from entropy_utils.entropy_primer import paper_map, pictures
from entropy_utils.entropy_primer.mixing import Mixing
from tests.collection import CATALOGUE, stored

CALLS = [cell.source for cell in stored("00_entropy_primer.ipynb").cells if cell.source.startswith("lab.Playground(")]


def playground(call: str) -> lab.Playground:
    return eval(call, {"lab": lab, "pictures": pictures})


def ends(control) -> list:
    return list(control.options) if hasattr(control, "options") else [control.min, control.max]


def anywhere(control, rng: random.Random):
    if hasattr(control, "options"):
        return rng.choice(control.options)
    steps = round((control.max - control.min) / control.step)
    return min(control.max, control.min + control.step * rng.randint(0, steps))


def assert_finite(figure):
    for ax in figure.axes:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        for line in ax.lines:
            assert np.isfinite(np.asarray(line.get_xydata(), float)).all()
        for patch in ax.patches:
            assert np.isfinite(patch.get_path().vertices).all()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.split("pictures.")[1].split(",")[0])
def test_a_playground_draws_at_every_setting(call):
    play, rng = playground(call), random.Random(0)
    corners = [dict(zip(play.controls, c, strict=True)) for c in itertools.product(*map(ends, play.controls.values()))]
    others = [{name: anywhere(w, rng) for name, w in play.controls.items()} for _ in range(200)]
    for number, values in enumerate(corners + others):
        figure = Figure()
        play._draw(figure, **values)
        assert_finite(figure)
        if number % 20 == 0:  # the whole way to the picture now and then
            play.set(**values)
            assert bytes(play.png)[:4] == b"\x89PNG"


def test_there_is_a_playground_for_every_quantity():
    names = " ".join(CALLS)
    for name in ("counting", "surprise", "belief", "temperature", "cells", "heat_or_squeeze"):
        assert f"pictures.{name}," in names


@pytest.mark.parametrize(("counts", "words"), [([2, 1], "W = 3"), ([1] * 6, "W = 720"), ([500, 500], "$10^{299}$")])
def test_ways_are_said_in_words(counts, words):
    assert words in pictures.ways(counts)


def test_runs_of_a_workbench_are_drawn_even_while_they_grow():
    records = lab.collect(Mixing(balls=20, cells=3, sweeps=2, replicas=2), progress=False).records
    for some in ([], [("one", records.head(1))], [("a", records), ("b", records.head(7))]):
        figure = Figure()
        pictures.runs(figure, some)
        assert_finite(figure)


def test_the_map_shows_every_notebook_under_its_title():
    figure = Figure(figsize=(9, 6.4), layout="none")
    paper_map.draw(figure)
    words = {text.get_text() for text in figure.axes[0].texts}
    for notebook in CATALOGUE.notebooks[1:]:
        assert notebook.id in words
        assert notebook.title.replace(" unlearning", "") in words
