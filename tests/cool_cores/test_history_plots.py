"""The figures of histories show what they are given, and the playgrounds draw at the ends of their controls."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils import lab
from entropy_utils.cool_cores import history_plots, measures, playgrounds
from entropy_utils.cool_cores.agn import activity_before
from entropy_utils.cool_cores.merger_control import Excess, merger_control
from entropy_utils.cool_cores.population import Population
from entropy_utils.cool_cores.transformations import find_transformations

MODEL = Population(clusters=60, dt=0.02, seeds=2)


@pytest.fixture(scope="module")
def populations():
    return MODEL.populations()


@pytest.fixture(scope="module")
def events(populations):
    return find_transformations(populations[0])


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return lab.collect(MODEL, progress=False).records


def drawn(draw, *args, **values) -> Figure:
    """The figure; every axis that shows has finite limits, and lines without infinities."""
    fig = Figure()
    draw(fig, *args, **values)
    for ax in fig.axes:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        assert not any(np.isinf(np.asarray(line.get_ydata(), float)).any() for line in ax.get_lines())
        assert "nan" not in title(ax)
    return fig


def title(ax) -> str:
    return ax.get_title() + ax.get_title(loc="left")


def test_histories_show_points_curve_events_and_mergers(populations, events):
    one = populations[0]
    fig = drawn(history_plots.histories, one, [3, 4, 5, 6], events)
    ax = fig.axes[0]
    points, curve, ticks = ax.get_lines()
    np.testing.assert_array_equal(points.get_ydata(), one.K0[3])
    assert curve.get_ydata().min() > one.K0[3].min() - 1
    own = one.mergers[(one.mergers.cluster == 3) & (one.mergers.xi >= 0.1)]
    np.testing.assert_array_equal(ticks.get_xdata(), own.t)
    mine = events[events.cluster == 3]
    assert len(ax.patches) == 3 + len(mine)  # classes and events
    assert title(ax) == f"cluster 3: {(mine.direction == 'up').sum()} up, {(mine.direction == 'down').sum()} down"
    assert [ax.get_visible() for ax in fig.axes] == [True] * 4 + [False] * 2


def test_drift_and_live_are_means_over_the_seeds(records):
    left, middle, right = drawn(history_plots.drift, records).axes
    np.testing.assert_allclose(left.get_lines()[0].get_ydata(), records.groupby("t").K50.mean())
    np.testing.assert_allclose(middle.get_lines()[1].get_ydata(), records.groupby("t").ncc.mean())
    assert right.get_legend_handles_labels()[1] == ["up", "down"]
    _, middle, right = drawn(
        history_plots.live, [("first", records), ("second, with a very long name indeed", records)]
    ).axes
    assert middle.get_lines()[0].get_ydata()[-1] == pytest.approx(records.up.sum() / 2)
    assert right.get_lines()[0].get_ydata()[-1] == pytest.approx(records.up_merged.sum() / records.up.sum())
    assert right.get_lines()[1].get_ydata()[-1] == pytest.approx(records.up_expected.sum() / records.up.sum())
    drawn(history_plots.live, [("nothing yet", pd.DataFrame())])
    drawn(history_plots.live, [("one seed, some snapshots", records.iloc[:5])])


def test_final_entropies(populations):
    (ax,) = drawn(history_plots.final_entropies, populations, populations[1].K0[:, -1]).axes
    assert ax.get_legend_handles_labels()[1] == ["model, one line per seed", "TNG-Cluster catalogue"]
    curves = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
    np.testing.assert_allclose(curves[1].get_xdata()[1:], np.sort(populations[1].K0[:, -1]))


def test_phase_survival(populations):
    table = measures.all_phases(populations)
    curves = measures.phase_survival(table)
    left, right = drawn(history_plots.phase_survival, curves, table).axes
    assert left.get_legend_handles_labels()[1] == ["SCC", "WCC", "NCC"]
    complete, everything, kaplan_meier = (line.get_xdata()[0] for line in right.get_lines()[:3])
    assert complete == table[(table.phase == "SCC") & ~table.censored].duration.mean()
    assert everything == table[table.phase == "SCC"].duration.mean()
    assert kaplan_meier == curves["SCC"].mean_up_to(history_plots.HORIZON)


def test_controls_and_excesses(populations, events):
    outcome = merger_control(events, populations[0])
    up, down = drawn(history_plots.controls, outcome, "a test").axes
    assert title(up) == f"up: {outcome['up'].observed:.2f}, control {outcome['up'].expected:.2f}, z = {outcome['up'].z:+.1f}"
    assert up.patches[0].get_data().values.sum() == 300
    assert title(down).startswith("down")
    alone = drawn(history_plots.controls, {"up": Excess(9, 0.2, np.array([0.1, 0.3]))}).axes
    assert title(alone[1]) == "down: too few events"
    tests = measures.merger_tests(populations)
    (ax,) = drawn(history_plots.excesses, tests).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(dict.fromkeys(tests.test))


def test_tables_of_finders_and_ablations(populations):
    table = measures.sensitivity(populations)
    bars, share, _ = drawn(history_plots.finder_sensitivity, table).axes
    assert sum(patch.get_width() for patch in bars.patches) == pytest.approx(table.events.sum())
    np.testing.assert_array_equal(share.get_lines()[0].get_xdata(), table.up_share)
    some, none = measures.summary(populations), measures.summary(MODEL.replace(agn=False).populations())
    axes = drawn(history_plots.ablations, {"fiducial": some, "no AGN": none}).axes
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["fiducial", "no AGN"]


def test_agn_and_mergers(populations, events):
    rates = activity_before(events, populations[0])
    (ax,) = drawn(history_plots.agn_before, rates).axes
    labels = ax.get_legend_handles_labels()[1]
    assert labels[0].startswith(f"up: median {rates[rates.kind == 'up'].rate.median():.0f} per Gyr")
    counts, K = measures.merger_counts(populations[0]), populations[0].K0[:, -1]
    (ax,) = drawn(history_plots.mergers_and_entropy, counts, K).axes
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), K)


def test_one_core_at_all_extremes():
    for values in itertools.product((1.0, 6.0), (0.2, 4.0), (2.6, 13.5), (0.0, 2.0), (39,)):
        core, power = drawn(playgrounds.one_core, *values).axes
        assert "median K" in title(core)
        assert power.patches


def test_the_merger_heats_all_fates_of_the_core():
    without, late = (playgrounds.core_fates(2.9, 1.3, 7.0, jump) for jump in (0.0, 1.5))
    before, after = without.t < 7.0, np.abs(without.t - 8.0).argmin()
    np.testing.assert_array_equal(without.K0[:, before], late.K0[:, before])
    assert np.median(late.K0[:, after]) > 2 * np.median(without.K0[:, after])
    assert len(without.mergers) == 0
    assert (late.mergers.t == 7.0).all()


def test_finder_and_control_test_at_all_extremes(populations, events):
    one = populations[0]
    for sigma, change, rate in itertools.product((0.05, 0.6), (0.05, 0.6), (0.02, 0.4)):
        _, right = drawn(playgrounds.finder, one, sigma, change, rate, 7).axes
        found = find_transformations(one, sigma=sigma, change=change, rate=rate)
        assert sum(bar.get_height() for bar in right.patches) == pytest.approx(len(found) / 60)
    for window, xi, reference, control in itertools.product(
        (0.2, 3.0), (0.01, 0.5), ("t_peak", "t_start"), ("clusters", "matched", "times")
    ):
        up, _ = drawn(playgrounds.control_test, one, events, window, xi, reference, control).axes
        assert title(up).startswith("up: ")
