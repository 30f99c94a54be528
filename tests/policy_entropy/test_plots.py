"""Every picture behind a slider: at all extremes and at random settings it draws, and what it draws is finite."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropy_utils.policy_entropy import law, plots, published

rng = np.random.default_rng(0)
TOKENS = {"logp": -rng.exponential(1.0, 300), "advantages": rng.choice([-0.35, 2.47, -1.2, 0.8], 300)}
CONTROLS = {
    plots.triangle: {
        "p1": (0.02, 0.98), "p2": (0.02, 0.98), "rewarded": [1, 2, 3], "lr": (0.1, 5.0),
        "rule": ["natural gradient", "policy gradient"],
    },
    plots.step_size: {"lr": (0.01, 3.0), "actions": [2, 8, 50], "seed": [0, 20]},
    plots.law_explorer: {
        "model": list(published.LAW_POINTS), "form": list(law.FORMS), "first": [20, 55, 100],
        "a": (0.0, 40.0), "b": (10.0, 80.0),
    },
    plots.who_is_clipped: {
        "method": ["Clip-Cov", "KL-Cov"], "share": (0.002, 0.3), "low": (0.0, 5.0), "high": (0.5, 20.0),
    },
}  # fmt: skip


def settings(controls: dict) -> list[dict]:
    """A selection of 60 corners and 50 random points of the controls."""
    names, spans = list(controls), list(controls.values())
    corners = [dict(zip(names, values, strict=True)) for values in itertools.product(*spans)]
    corners = [corners[i] for i in rng.permutation(len(corners))[:60]]
    return corners + [{name: inside(span) for name, span in controls.items()} for _ in range(50)]


def inside(span):
    return rng.uniform(*span) if isinstance(span, tuple) else span[rng.integers(len(span))]


def title(ax) -> str:
    return ax.get_title(loc="left") + ax.get_title()  # where it stands is a matter of style


@pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)
def test_it_draws_at_extremes_and_at_random(draw):
    fixed = TOKENS if draw is plots.who_is_clipped else {}
    for values in settings(CONTROLS[draw]):
        fig = Figure()
        draw(fig, **fixed, **values)
        (ax,) = fig.axes
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        heights = [np.asarray(line.get_ydata(), float) for line in ax.get_lines()]
        assert all(np.isfinite(height).any() for height in heights if height.size)
        assert "nan" not in title(ax)


def test_the_triangle_tells_rise_from_fall():
    for p1, expected in ((0.9, "falls"), (0.05, "rises")):
        fig = Figure()
        plots.triangle(fig, p1=p1, p2=0.06, rewarded=1)
        assert expected in title(fig.axes[0])
