"""Every picture of notebook 08 draws, at the extremes of its sliders too, and what it draws is finite."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.policy_entropy import entrocraft_exercises, entrocraft_plots, entrocraft_published, entrocraft_runs
from entropy_utils.policy_entropy.coin_flip_bandit import CoinFlipBandit
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.schedule import Schedule

rng = np.random.default_rng(0)


def drawn(function, *arguments, **values) -> Figure:
    fig = Figure(figsize=(7, 4))
    function(fig, *arguments, **values)
    fig.draw_without_rendering()
    for line in (line for ax in fig.axes for line in ax.lines):
        assert np.isfinite(np.asarray(line.get_xdata(), float)).all()
    return fig


def records(**columns):
    rows = [{"step": s, "seed": n, "entropy": 1 - 0.01 * s + 0.1 * n} for s in range(60) for n in range(2)]
    frame = pd.DataFrame(rows).assign(memory=np.tile([-1, 0], 60), accepted=3.0, accuracy=0.5)
    return frame.assign(**columns)


CORNERS = list(itertools.product((0.02, 0.5, 0.98), (0.02, 0.5, 0.98), (1, 2, 3), ("positive", "negative"), (0.1, 3.0)))


@pytest.mark.parametrize("corner", [CORNERS[i] for i in rng.permutation(len(CORNERS))[:12]])
def test_the_triangle(corner):
    drawn(entrocraft_plots.token_triangle, *corner)


@pytest.mark.parametrize("points", [(0.1,) * 5, (1.9,) * 5, (0.1, 1.9, 0.1, 1.9, 0.1)])
@pytest.mark.parametrize(("width", "variant", "luck"), [(0.0, "code", 0.1), (0.5, "alg1", 0.95)])
def test_the_painter(points, width, variant, luck):
    ax = drawn(entrocraft_plots.painted_schedule, *points, width, variant, luck).axes[0]
    title = ax.get_title() or ax.get_title("left")  # where it stands is a matter of style
    assert np.isfinite(float(title.split()[-2]))


def test_scarce_negatives():
    drawn(entrocraft_plots.scarce_negatives, 0.98, 2.2, "alg1")


def test_the_pictures_of_the_runs():
    runs, line = {"a": records(), "b": records()}, Schedule.of("linear:1:0.5")
    pairs = {(setting, side): records() for setting in entrocraft_runs.SETTINGS for side in entrocraft_runs.ONE_SIDED}
    drawn(entrocraft_plots.published_long_run)
    drawn(entrocraft_plots.authority, pairs)
    drawn(entrocraft_plots.one_sided_curves, pairs, "SGD, 1 update")
    drawn(entrocraft_plots.controlled_runs, runs, {"a": line, "b": line}, baseline=records())
    drawn(entrocraft_plots.compared_controllers, runs, line)
    drawn(entrocraft_plots.accepted_over_training, runs)
    drawn(entrocraft_plots.language_model, runs, {"b": line}, 0.1)


def test_the_runs_are_valid_experiments():
    changes = entrocraft_runs.controlled() | entrocraft_runs.TOO_HIGH | entrocraft_runs.CONTROLLERS
    for change in [*changes.values(), *entrocraft_runs.one_sided().values()]:
        CoinFlipBandit.profile("smoke", **change)
    runs, curves, width = entrocraft_runs.language_model(0.8)
    assert width == pytest.approx(0.08)
    for name, change in runs.items():
        method = GRPO.profile("smoke", **change).intervention
        if name in curves:
            assert (method.target.at(0.5), method.variant) == (curves[name].at(0.5), name[-4:])


def test_table_2_has_one_row_that_does_not_average():
    off = {name: abs(np.mean(row[:3]) - row[3]) for name, row in entrocraft_published.BENCHMARKS.items()}
    assert [name for name, error in off.items() if error > 0.06] == ["GRPO + Entrocraft"]
    assert np.mean([79.0, 65.0, entrocraft_published.AIME_25_TABLE_5]) == pytest.approx(53.5)


@pytest.mark.parametrize(
    ("id", "wrong", "hint"),
    [
        ("8.1", lambda p, k: -p / (1 - p[k]) * (np.arange(len(p)) != k), "turned around"),
        ("8.1", lambda p, k: p * (np.arange(len(p)) != k), "do not sum to 1"),
        ("8.1", lambda p, k: p / (1 - p[k]) * (np.arange(len(p)) != k), "ratios of the changes"),
        ("8.1", lambda p, k: 1.0, "one weight per outcome"),
        ("8.2", lambda p, A: p @ A, "constant advantage must give 0"),
        ("8.2", lambda p, A: 0.0, "belongs to the sampled outcome"),
        ("8.3", {"alg1": -8.0, "code": -8.0}, "Algorithm 1 filters"),
        ("8.3", {"alg1": 0.0, "code": 0.0}, "raw rewards"),
        ("8.4", lambda phi, G: G * (1 - phi), "code variant"),
        ("8.4", lambda phi, G: G * phi, "failures that pass"),
        ("8.4", lambda phi, G: 1.0, "Mean number of failures"),
    ],
)
def test_wrong_answers_get_a_hint(id, wrong, hint):
    assert hint in entrocraft_exercises.EXERCISES[id].check(wrong)
