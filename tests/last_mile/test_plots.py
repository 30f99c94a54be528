"""The figures of notebook 02 draw what they are given: numbers in titles and labels, finite axes, no label over another."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import collect
from entropy_utils.last_mile import bearings, consolidation_plots, entropy_plots, maps, structural_entropy
from entropy_utils.last_mile.scenarios import Consolidation, Distances
from entropy_utils.last_mile.spatial import spatial_consolidation
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc
from entropy_utils.last_mile.temporal import pooling_table

TABLE = synthetic_almrrc(60, 2)
FOUND = structural_entropy.route_entropies(TABLE)


def title(ax) -> str:
    return ax.get_title(loc="left") + ax.get_title()


def drawn(draw, *given, size=(10, 4)) -> Figure:
    fig = Figure(figsize=size, layout="constrained")
    draw(fig, *given)
    fig.canvas.draw()
    for ax in fig.axes:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        assert "nan" not in title(ax)
        for axis in (ax.xaxis, ax.yaxis):
            boxes = [text.get_window_extent() for text in axis.get_ticklabels() if text.get_text() and text.get_visible()]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes) if ax.name != "polar")
    return fig


def records() -> pd.DataFrame:
    return pd.DataFrame(Consolidation(draws=1).sweep(TABLE.select(slice(6))))


def test_routes_show_every_stop_and_zone():
    chosen = [TABLE.route(i) for i in range(3)]
    fig = drawn(maps.routes, chosen, size=(11, 4))
    for ax, route in zip(fig.axes, chosen, strict=True):
        assert len(ax.collections[0].get_offsets()) == len(route.n)
        zones = len(set(route.zone.tolist()) - {-1})
        assert f"{route.n.sum()} parcels" in title(ax)
        assert [text.get_text() for text in ax.texts] == [f"{k + 1}" for k in range(zones)]
        path = ax.get_lines()[0].get_xydata()
        np.testing.assert_allclose(path, ax.collections[0].get_offsets())


def test_neighbouring_zones_differ_in_colour():
    for route in (TABLE.route(i) for i in range(10)):
        colours = maps.zone_colours(route.zone)
        own = dict(zip(route.zone.tolist(), colours, strict=True))
        order = maps._zones_in_order(route.zone)
        assert all(own[a] != own[b] for a, b in itertools.pairwise(order))


def test_city_and_tours():
    fig = drawn(lambda fig: maps.city(fig.subplots(), TABLE, "DLA"))
    with pytest.raises(ParameterError, match=r"'metro'.*DLA"):
        drawn(lambda fig: maps.city(fig.subplots(), TABLE, "XYZ"))
    assert title(fig.axes[0]) == f"DLA: {min(40, (TABLE.metro == 'DLA').sum())} routes"
    fig = drawn(maps.driven_and_shortest, TABLE.route(0))
    driven, short = (float(title(ax).split(": ")[1].split()[0]) for ax in fig.axes)
    assert short < driven


def test_pick_up_points_draw_a_spoke_for_every_adopter():
    route = TABLE.route(0)
    adopts = np.arange(len(route.n)) % 3 == 0
    fig = drawn(lambda fig: maps.pick_up_points(fig.subplots(), route, np.arange(len(route.n)) % 4, adopts))
    ends = sum(len(line.get_xdata()) // 3 for line in fig.axes[0].get_lines() if np.isnan(line.get_xdata()).any())
    assert ends == adopts.sum()


def test_compass():
    degrees = bearings.leg_bearings(TABLE)
    fig = drawn(maps.compass, {"all": degrees, "north": np.zeros(5)}, {"all": "A", "north": "B"})
    assert sum(patch.get_height() for patch in fig.axes[0].patches) == pytest.approx(1)
    assert [ax.get_title() for ax in fig.axes] == ["A", "B"]


def test_entropies():
    fig = drawn(entropy_plots.fragmentation, {"synthetic": FOUND, "few": FOUND[:5]})
    assert f"synthetic: {FOUND.eta.mean():.3f}" in [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    fig = drawn(entropy_plots.by_metro, FOUND, TABLE.metro)
    assert len(fig.axes[0].texts) == len(np.unique(TABLE.metro))
    kinds = {kind: structural_entropy.route_entropies(TABLE, kind).eta for kind in structural_entropy.DEFINITIONS}
    drawn(entropy_plots.definitions, {"synthetic": pd.DataFrame(kinds)})


def test_duality_lines_hold_the_errors():
    routes, shannon, series = drawn(entropy_plots.duality, FOUND).axes[0].get_lines()
    assert shannon.get_ydata()[0] == pytest.approx(1 / 0.820 - 1, abs=2e-3)  # one parcel per stop: S is 0.820 N H
    assert (np.diff(series.get_ydata()) < 0).all()
    assert len(routes.get_xdata()) == len(FOUND)


def test_distance_says_the_exponent():
    S = np.random.default_rng(0).uniform(400, 1200, 300)
    fig = drawn(entropy_plots.against_distance, {"S": S, "S²": S**2}, 2 * S**0.5)
    assert ["b = 0.50" in title(fig.axes[0]), "b = 0.25" in title(fig.axes[1])] == [True, True]
    tours = collect(Distances.profile("smoke"), progress=False).records
    drawn(entropy_plots.scaling, tours)
    drawn(entropy_plots.scaling, tours, "order")
    fig = drawn(entropy_plots.longer_than_shortest, {"real": np.array([1.1, 1.3])})
    assert fig.axes[0].get_yticklabels()[0].get_text() == "real: mean 1.20"


def test_sweep_figures():
    found = records()
    fig = drawn(consolidation_plots.carrier_and_total, found, size=(11, 4))
    assert len(fig.axes) == 4
    curve = fig.axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(curve, 100 * found[(found.points == 1) & (found.chi == 0)].carrier_change)
    drawn(consolidation_plots.break_even, found)
    drawn(consolidation_plots.live_sweep, [("first", found[:50]), ("2: alpha", found[:7])])
    drawn(consolidation_plots.live_sweep, [("first", found[:1])])


def test_balance_and_conservation():
    route = TABLE.route(0)
    xy = np.column_stack([route.lng, route.lat])
    outcomes = [spatial_consolidation(route.n, xy, alpha, 3, 0.0) for alpha in (0.0, 0.5, 1.0)]
    for outcome in outcomes:
        fig = drawn(lambda fig, outcome=outcome: consolidation_plots.balance(fig.subplots(), outcome))
        before, *after = (patch.get_width() for patch in fig.axes[0].patches)
        assert (before, sum(after)) == pytest.approx((outcome.before, outcome.total))
    table = pd.DataFrame([{"alpha": a, **o._asdict()} for a, o in zip((0.0, 0.5, 1.0), outcomes, strict=True)])
    line = drawn(consolidation_plots.conservation, table).axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_ydata(), outcomes[0].before)


def test_temporal():
    table = pooling_table((0.1, 0.5), (1, 2, 7), days=28, addresses=500)
    assert (table[table.w == 1][["events", "order", "entropy"]] == 1).all(axis=None)
    events, order, entropy = drawn(consolidation_plots.temporal, table).axes
    for ax in (events, entropy):
        dots, curve = ax.get_lines()[:2]
        assert np.interp(7, *curve.get_data()) == pytest.approx(dots.get_ydata()[-1], abs=0.02)
    assert order.get_ylim()[1] > 1
