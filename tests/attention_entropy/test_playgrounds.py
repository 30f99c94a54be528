"""Every picture behind a slider of notebook 04: at the ends of its controls and in between it draws what it says."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropy_utils.attention_entropy import playgrounds

MEASURED = {16: 12.2, 64: 45.8, 256: 179.0}
CONTROLS = {
    playgrounds.two_levels: {"T": [2, 17, 64], "s": [0.0, 3.1, 16.0], "m": [1, 2, 63]},
    playgrounds.random_attention: {"T": [17, 4096], "std": [0.0, 2.0, 8.0]},
    playgrounds.update_norms: {"log2_width": [4, 8], "disorder": [0.0, 1.0, 8.0]},
    playgrounds.power_steps: {"steps": [0, 7, 60], "width": [8, 128], "second": [0.1, 0.999]},
}


def drawn(draw, **values) -> Figure:
    fig = Figure()
    draw(fig, **({"measured": MEASURED} if draw is playgrounds.update_norms else {}), **values)
    return fig


def title(ax) -> str:
    return ax.get_title(loc="left") + ax.get_title()


@pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)
def test_it_draws_at_all_extremes(draw):
    for values in itertools.product(*CONTROLS[draw].values()):
        for ax in drawn(draw, **dict(zip(CONTROLS[draw], values, strict=True))).axes:
            assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
            assert all(np.isfinite(np.asarray(line.get_ydata(), float)).all() for line in ax.get_lines())
            assert ax.get_xlabel()
            assert ax.get_ylabel()
            assert "nan" not in title(ax)


def test_more_high_keys_than_there_are_is_all_but_one():
    left, _ = drawn(playgrounds.two_levels, T=5, s=1.0, m=40).axes
    assert "4 of 5 keys high" in title(left)


def test_the_bars_are_the_attention():
    left, right = drawn(playgrounds.two_levels, T=17, s=3.0, m=1).axes
    heights = [top for _, (_, top) in left.collections[0].get_segments()]
    assert sum(heights) == pytest.approx(1)
    assert "H = 1.847" in title(right)


def test_order_moves_the_update_between_its_limits():
    norms = [
        float(title(drawn(playgrounds.update_norms, log2_width=8, disorder=x).axes[0]).split()[4][:-1])
        for x in (0.0, 1.0, 50.0)
    ]
    assert norms[0] == pytest.approx(256)
    assert 32 < norms[1] < 256
    assert norms[2] == pytest.approx(32, rel=0.1)
