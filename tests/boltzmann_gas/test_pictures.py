"""The figures of notebook 01 show the data they are given, and its playgrounds draw at every setting."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils import lab
from entropy_utils.boltzmann_gas import expansion_runs, pictures, playgrounds, theory
from entropy_utils.boltzmann_gas.coarse_graining import Cells
from entropy_utils.boltzmann_gas.expansion import Expansion, KineticExpansion, snapshot
from entropy_utils.boltzmann_gas.free_streaming import stream
from entropy_utils.boltzmann_gas.measures import at, curve, rates
from entropy_utils.boltzmann_gas.typicality import microstates
from tests.collection import stored

WIDTHS = (1.0, 0.5, 0.25)
CALLS = [cell.source for cell in stored("01_boltzmann_gas.ipynb").cells if "lab.Playground(" in cell.source]
CALLS = [source[source.index("lab.Playground(") :] for source in CALLS]


def records(experiment) -> pd.DataFrame:
    return lab.collect(experiment, progress=False).records


def kinetic(kn=1.0, **changes) -> pd.DataFrame:
    small = {"particles": 4000, "nx": 8, "dv": WIDTHS, "duration": 1.0, "records": 10, "replicas": 2}
    return records(KineticExpansion(kn=kn, **{**small, **changes}))


@pytest.fixture(scope="module")
def film() -> pd.DataFrame:
    return records(Expansion(discs=200, duration=2.0, records=20, nx=8, shown=150))


@pytest.fixture(scope="module")
def free() -> pd.DataFrame:
    return kinetic(None, dv=expansion_runs.WIDTHS, duration=2.0, records=20)


def drawn(draw, *args, **kwargs) -> list:
    """The axes of a figure; every one has labels, finite limits and finite lines."""
    figure = Figure()
    draw(figure, *args, **kwargs)
    assert figure.axes
    for ax in figure.axes:
        assert ax.get_xlabel() or ax.get_ylabel()
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        for line in ax.lines:
            assert np.isfinite(np.asarray(line.get_xydata(), float)).all()
    return figure.axes


def shows(ax, x, y, **look) -> bool:
    """Whether a line of the axes has these points (and this colour)."""
    points = np.column_stack([x, y])
    lines = [line for line in ax.lines if not look or line.get_color() == look["color"]]
    return any(line.get_xydata().shape == points.shape and np.allclose(line.get_xydata(), points) for line in lines)


def title(ax) -> str:
    return ax.get_title(loc="left") + ax.get_title()


def test_the_opening_shows_discs_where_they_are_and_every_observers_curve(film):
    times = (0, 0.5, 1.0)
    *pairs, right = drawn(pictures.opening, film, times)
    left = snapshot(film.snapshot.iloc[0])[0] < 0.25
    assert 0 < left.sum() < len(left)
    for above, below, time in zip(pairs[::2], pairs[1::2], times, strict=True):
        x, y, vx = snapshot(film[np.isclose(film.time, time)].snapshot.iloc[0])
        assert shows(above, x[left], y[left], color=pictures.BLUE)
        assert shows(above, x[~left], y[~left], color=pictures.ORANGE)
        assert shows(below, x[left], vx[left], color=pictures.BLUE)
        assert f"{time:.2g}" in title(above)
    for dv in WIDTHS:
        assert shows(right, film.time, film[f"gain_{dv:g}"], color=pictures.colour(dv))
    assert {text.get_text() for text in right.get_legend().get_texts()} == {"Δv = 1", "Δv = 0.5", "Δv = 0.25"}


def test_cells_are_where_the_observer_has_them():
    ax = Figure().subplots()
    pictures.cells(ax, 0.5, 4)
    across, along = (np.array(lines.get_segments()) for lines in ax.collections)
    assert sorted(set(across[..., 1].ravel())) == [v / 2 for v in range(-8, 9)]
    assert sorted(set(along[..., 0].ravel())) == [0, 0.25, 0.5, 0.75, 1]


def test_free_motion_has_gains_rates_and_the_collapse(free):
    one, two, three = drawn(pictures.free_motion, free, 8)
    W = np.linspace(0, 2, 300)
    assert shows(three, W, theory.blurred_gain(W))
    for dv in expansion_runs.WIDTHS:
        mean = curve(free, dv).mean(axis=1)
        assert shows(one, mean.index[::2], mean[::2], color=pictures.colour(dv))
        assert shows(three, dv * mean.index[1:], mean[1:], color=pictures.colour(dv))
        (rate,) = (line for line in two.lines if line.get_label() == f"Δv = {dv:g}")
        assert set(rate.get_xdata()) == {dv}
        np.testing.assert_allclose(rate.get_ydata(), rates(free)[dv])
    assert shows(two, expansion_runs.WIDTHS, np.array(expansion_runs.WIDTHS) / 2, color="black")


def test_differences_of_discs_and_boltzmann_are_discs_minus_boltzmann(free):
    twin = kinetic(records=5)
    discs = twin.assign(gain_1=twin.gain_1 + 0.01)
    above, below = drawn(pictures.discs_and_boltzmann, {1.0: (discs, twin)}, bound=0.008)
    times = sorted(twin.time.unique())
    assert shows(below, times, np.full(6, 0.01), color=pictures.colour(1.0))
    assert shows(below, times, np.zeros(6), color=pictures.colour(0.5))
    assert shows(above, times, curve(twin, 0.25).mean(axis=1), color=pictures.colour(0.25))


def test_the_headline_puts_no_collisions_last(free):
    runs = {math.inf: free, 10.0: kinetic(10.0), 0.1: kinetic(0.1)}
    rare, dense, last = drawn(pictures.headline, runs, rare=10.0, dense=0.1)
    assert shows(rare, *curve(runs[10.0], 1.0).mean(axis=1).reset_index().to_numpy().T)
    assert shows(dense, *pictures.hydrodynamic(runs[0.1]), color="black")
    assert [tick.get_text() for tick in last.get_xticklabels()] == ["0.1", "10", "∞"]
    D = [(at(runs[kn], 1.0)[1.0] - at(runs[kn], 1.0)[0.25]).mean() for kn in (0.1, 10.0, math.inf)]
    assert shows(last, last.get_xticks(), D)
    assert list(last.get_xticks()) == sorted(last.get_xticks())


def test_the_approach_measures_from_the_scaling_form():
    runs = {}
    for kn in (5.0, 10.0):
        nu = float(theory.collision_frequency(kn))
        runs[kn] = kinetic(kn, dv=(nu,), duration=1 / nu, records=4)
    left, right = drawn(pictures.approach, runs, ratio=1.0, tau=0.5)
    form = theory.scaling_gain(0.5, 1.0)
    for kn, part in runs.items():
        nu = float(theory.collision_frequency(kn))
        mean = curve(part, nu).mean(axis=1)
        assert shows(left, nu * mean.index, mean)
        assert shows(right, [kn, kn], np.abs(at(part, 0.5 / nu).iloc[:, 0] - form))


def test_the_workbench_shows_the_newest_run_and_the_curves_of_all(film):
    older, newest = film[:3], film[:8]
    box, phase, curves = drawn(pictures.live_expansion, [("older", older), ("newest", newest)])
    left, (x, y, vx) = snapshot(film.snapshot.iloc[0])[0] < 0.25, snapshot(newest.snapshot.iloc[-1])
    assert shows(box, x[left], y[left], color=pictures.BLUE)
    assert shows(phase, x[~left], vx[~left], color=pictures.ORANGE)
    for part in (older, newest):
        assert shows(curves, part.time, part.gain_1, color=pictures.colour(1.0))
    assert title(curves) == "newest"
    assert f"{newest.time.iloc[-1]:.2f}" in title(box)


def test_the_workbench_draws_whatever_there_is(film):
    two_seeds = pd.concat([film, film[:4].assign(seed=1)], ignore_index=True)
    box, *_ = drawn(pictures.live_expansion, [("two seeds", two_seeds)])
    assert "0.30" in title(box)
    figure = Figure()
    pictures.live_expansion(figure, [])
    pictures.live_expansion(figure, [("nothing yet", film[:0])])
    assert not figure.axes
    pictures.live_expansion(figure, [("places not kept", film.drop(columns="snapshot"))])
    assert figure.axes[2].lines


# playgrounds


@pytest.fixture(scope="module")
def given(free) -> dict:
    """What the notebook has computed when it makes its playgrounds, smaller."""
    times = np.linspace(0, 4, 21)
    short = {"nx": 16, "dv": WIDTHS, "records": 22, "shown": 100}
    turns = [(1.0, 0.25), (1.0, 3.0), (0.1, 0.1), (0.1, 1.0)]
    return {
        "lab": lab,
        "playgrounds": playgrounds,
        "crowd": microstates((100, 1000, 10_000, 100_000), times[::5], Cells(nx=32, dv=0.5), range(6)),
        "exact": pd.Series(theory.finite_cell_gain(times, 32, 0.5), times),
        "table": {math.inf: free, **{kn: kinetic(kn, dv=expansion_runs.WIDTHS) for kn in (10.0, 0.1)}},
        "gas_at": [math.inf, 10.0, 0.1],
        "inf": math.inf,
        "widths": expansion_runs.WIDTHS,
        "shares": {kn: kinetic(kn, split=True, records=2, particles=500, replicas=1) for kn in expansion_runs.SPLIT},
        "back": {
            (kn, t): records(Expansion(discs=100, kn=kn, turn_back_at=t, duration=2.2 * t, **short)) for kn, t in turns
        },
    }


def ends(control) -> list:
    return list(control.options) if hasattr(control, "options") else bool_or_ends(control)


def bool_or_ends(control) -> list:
    return [control.min, control.max] if hasattr(control, "min") else [True, False]


def test_there_are_all_playgrounds():
    names = ["filaments", "blur", "scaling", "one_microstate", "curves", "producers", "reversal"]
    assert sorted(call.split("playgrounds.")[1].split(",")[0].split("(")[0] for call in CALLS) == sorted(names)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.split("playgrounds.")[1].split(",")[0].split("(")[0])
def test_a_playground_draws_at_every_setting(call, given):
    play, rng = eval(call, given), random.Random(0)
    settings = list(itertools.product(*map(ends, play.controls.values())))
    for values in rng.sample(settings, min(30, len(settings))):
        drawn(play._draw, **dict(zip(play.controls, values, strict=True)))
    assert play.png[:4] == b"\x89PNG"


@pytest.mark.parametrize(("time", "dv"), [(0.0, 0.5), (1.6, 0.5), (7.3, 0.15)])
def test_filaments_are_free_motion_and_its_mean_over_cells(time, dv):
    particles, seen, gain = drawn(playgrounds.filaments, time, dv)
    x, vx = playgrounds.free_gas()
    left = x < 0.25
    here, speed = stream(x, vx, time)
    assert shows(particles, here[left], speed[left], color=pictures.BLUE)
    (image,) = seen.images
    table = image.get_array()
    rows = table.shape[0]
    weight = np.diff(
        [math.erf(edge / math.sqrt(2)) / 2 for edge in (np.arange(rows + 1) - rows / 2) * dv]
    )  # of the rows in the gas: a half of it is there at first
    assert (table.mean(1) * weight).sum() == pytest.approx(0.5, abs=0.03)
    counts, *_ = np.histogram2d(speed, here, [(np.arange(rows + 1) - rows / 2) * dv, np.linspace(0, 1, 9)])
    coarse = (table.reshape(rows, 8, -1).mean(-1) * weight[:, None] / 4)[np.abs(np.arange(rows) - rows / 2 + 0.5) * dv < 1.5]
    found = (counts / len(x))[np.abs(np.arange(rows) - rows / 2 + 0.5) * dv < 1.5]
    assert np.abs(found - coarse).max() < 0.012 + 0.03 * dv
    assert shows(gain, [time], [theory.finite_cell_gain(time, playgrounds.CELLS, dv)], color=pictures.ORANGE)


def test_the_blur_shows_profile_width_and_gain():
    profile, gain = drawn(playgrounds.blur, 1.5, 0.6)
    y = np.linspace(-1, 1, 801)
    assert shows(profile, y, theory.blurred_profile(y, 1.5, 0.6), color=pictures.BLUE)
    assert shows(profile, [-0.75, 0.75], [1.1, 1.1])
    assert shows(gain, [1.5], [theory.blurred_gain(1.5, 0.6)], color=pictures.ORANGE)
    assert f"gain {theory.blurred_gain(1.5, 0.6):.4f}" in title(gain)


@pytest.mark.parametrize("against", ["collisions", "blur"])
def test_the_scaling_form_lies_above_both_its_limits(against):
    (ax,) = drawn(playgrounds.scaling, 0.3, against)
    collisions, motion, both = (line.get_ydata() for line in ax.lines[:3])
    grid = ax.lines[0].get_xdata()
    tau = grid if against == "collisions" else grid / 10**0.3
    np.testing.assert_allclose(both, theory.scaling_gain(tau, 10**0.3))
    np.testing.assert_allclose(motion, theory.blurred_gain(10**0.3 * tau))
    np.testing.assert_allclose(collisions, theory.collision_gain(tau))
    assert (both > motion - 0.01).all()


def test_one_microstate_is_the_chosen_one(given):
    crowd = given["crowd"]
    (ax,) = drawn(playgrounds.one_microstate, crowd, given["exact"], 1000, 4)
    chosen = crowd[(crowd.n == 1000) & (crowd.seed == 4)]
    for name in ("factorial", "plug_in", "miller_madow"):
        assert shows(ax, chosen.time, chosen[name])
    assert shows(ax, given["exact"].index, given["exact"], color="black")


def test_curves_over_each_time(given):
    table = given["table"]
    nu = float(theory.collision_frequency(10.0))
    for against, unit in (("t", 1.0), ("Δv t", 0.5), ("ν t", nu)):
        (ax,) = drawn(playgrounds.curves, table, 10.0, 0.5, against)
        mean = curve(table[10.0], 0.5).mean(axis=1)
        assert shows(ax, unit * mean.index, mean)
        fine = np.linspace(0, 1, 121)
        assert shows(ax, unit * fine, theory.scaling_gain(nu * fine, 0.5 / nu))
    (ax,) = drawn(playgrounds.curves, table, math.inf, "all", "ν t")
    assert "no collisions" in " ".join(text.get_text() for text in ax.texts)


def test_producers_are_stacked_to_the_gain(given):
    part = given["shares"][1.0]
    (ax,) = drawn(playgrounds.producers, given["shares"], 1.0, 0.5)
    assert shows(ax, part.time, part["gain_0.5"], color="black")
    lower = ax.collections[0].get_paths()[0].vertices
    assert lower[:, 1].max() == pytest.approx(part["streaming_0.5"].max())
    assert f"free motion {part['streaming_0.5'].iloc[-1]:.3f}" in title(ax)


def test_the_reversal_shows_the_turn_and_the_way_home(given):
    run = given["back"][1.0, 0.25]
    gain, turn, home = drawn(playgrounds.reversal, given["back"], 0.3, 1.0)
    assert shows(gain, run.time, run.gain_1)
    left = snapshot(run.snapshot.iloc[0])[0] < 0.25
    for ax, time in ((turn, 0.25), (home, 0.5)):
        row = run.iloc[(run.time - time).abs().argmin()]
        x, y, _ = snapshot(row.snapshot)
        assert shows(ax, x[left], y[left], color=pictures.BLUE)
        assert f"{100 * row.left:.1f} %" in title(ax)
    assert "100.0 %" in title(home)
