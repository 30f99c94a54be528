"""Every picture behind a slider of notebook 02: at the ends of its controls and in between it draws what it says."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import gammaln

from entropy_utils.last_mile import playgrounds
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc

ROUTE = synthetic_almrrc(3, 1).route(2)
CONTROLS = {
    playgrounds.fragmentation: {"N": [2, 40, 304], "M": [1, 148, 240], "concentration": [0.0, 1.0, 4.0]},
    playgrounds.pick_up_points: {"alpha": [0.0, 0.5, 1.0], "K": [1, 20], "chi": [0.0, 0.4, 1.0]},
    playgrounds.pooled_days: {"rate": [0.01, 0.12, 2.0], "w": [1, 14]},
    playgrounds.distance_scaling: {"setting": ["fixed area", "fixed density"], "area": [10.0, 200.0], "stem": [0.0, 40.0]},
    playgrounds.zone_order: {"zone_by_zone": [False, True], "order": ["at random", "short"]},
}


def drawn(draw, **values) -> Figure:
    fig = Figure()
    draw(fig, **({"route": ROUTE} if draw in (playgrounds.pick_up_points, playgrounds.zone_order) else {}), **values)
    return fig


def title(ax) -> str:
    return ax.get_title(loc="left") + ax.get_title()


def last_number(text: str) -> float:
    return float(re.findall(r"-?\d+\.\d+", text)[-1])


@pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)
def test_it_draws_at_all_extremes(draw):
    for values in itertools.product(*CONTROLS[draw].values()):
        fig = drawn(draw, **dict(zip(CONTROLS[draw], values, strict=True)))
        for ax in fig.axes:
            assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
            assert "nan" not in title(ax)
            assert not ax.axison or (ax.get_ylabel() or ax.get_yticklabels())
        fig.canvas.draw()


@pytest.mark.parametrize(("N", "M", "c"), [(240, 148, 0.0), (240, 148, 0.7), (10, 30, 2.0), (304, 40, 4.0), (7, 1, 1.0)])
def test_loads_are_all_parcels(N, M, c):
    n = playgrounds.loads(N, M, c)
    assert (n.sum(), len(n), n.min()) == (N, min(N, M), n.min())
    assert n.min() >= 1
    assert (np.diff(n) <= 0).all()
    if c == 0:
        assert n.max() - n.min() <= 1


def test_fragmentation_says_the_entropy():
    left, right = drawn(playgrounds.fragmentation, N=240, M=120, concentration=0.0).axes
    assert "largest load 2" in title(left)
    assert "η = 0.923, J = 1.000" in title(right)


def test_pick_up_points_balance():
    ax, bars, curve = drawn(playgrounds.pick_up_points, alpha=1.0, K=1, chi=1.0).axes
    assert f"{len(ROUTE.n)} of {len(ROUTE.n)} stops fetch, 0 trips" in title(ax)
    assert "carrier -100 %, total -100 %" in title(bars)
    ax, bars, curve = drawn(playgrounds.pick_up_points, alpha=0.6, K=5, chi=0.0).axes
    widths = [patch.get_width() for patch in bars.patches]
    line, dot = curve.get_lines()[0], curve.get_lines()[-1]
    assert sum(widths[1:]) - widths[0] == pytest.approx(dot.get_ydata()[0])
    assert line.get_ydata()[0] == pytest.approx(dot.get_ydata()[0])  # the curve meets the drawn scenario
    even = last_number(title(curve))
    assert np.interp(even, line.get_xdata(), line.get_ydata()) == pytest.approx(0, abs=5)


def test_the_opening_figure_balances_as_play_2():
    fig = Figure()
    playgrounds.opening(fig, ROUTE, 0.6, 5)
    whole, points, bars = fig.axes
    play = drawn(playgrounds.pick_up_points, alpha=0.6, K=5, chi=0.0).axes
    assert title(bars) == title(play[1])
    assert title(whole) == f"{ROUTE.n.sum()} parcels, {len(ROUTE.n)} stops"
    assert title(points).startswith("5 pick-up points, ")


def test_pooled_days_dots_lie_on_the_curves():
    ax = drawn(playgrounds.pooled_days, rate=0.12, w=5).axes[0]
    lines = ax.get_lines()
    for curve, dot in zip(lines[::2], lines[1::2], strict=True):
        assert np.interp(5, *curve.get_data()) == pytest.approx(dot.get_ydata()[0], abs=0.02)


def test_exponents():
    flat = last_number(title(drawn(playgrounds.distance_scaling, setting="fixed area", area=60.0, stem=0.0).axes[0]))
    steep = last_number(title(drawn(playgrounds.distance_scaling, setting="fixed density", area=60.0, stem=0.0).axes[0]))
    assert (flat, steep) == pytest.approx((0.37, 0.76), abs=0.05)


def test_orders_and_tours():
    km = {}
    for zones, order in itertools.product((False, True), ("at random", "short")):
        ax, bars = drawn(playgrounds.zone_order, zone_by_zone=zones, order=order).axes
        tour = ax.get_lines()[0]
        assert len(tour.get_xdata()) == (ROUTE.zone >= 0).sum() + 1
        km[zones, order] = float(re.findall(r"(\d+) km", title(ax))[0])
    assert km[False, "short"] <= km[True, "short"] < km[True, "at random"] < km[False, "at random"]
    M = (ROUTE.zone >= 0).sum()
    assert f"{gammaln(M + 1):.0f}" in [text.get_text() for text in bars.texts]


def test_zone_by_zone_really_is():
    xy = np.random.default_rng(0).random((len(ROUTE.n), 2))
    for visits in (playgrounds._random(ROUTE.zone, True), playgrounds._short(xy, ROUTE.zone, True)):
        zones = ROUTE.zone[visits]
        assert sorted(visits) == list(range(len(ROUTE.n)))
        assert (np.diff(zones) != 0).sum() + 1 == len(set(zones))
