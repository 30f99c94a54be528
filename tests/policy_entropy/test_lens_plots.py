"""Pictures of notebook 10: sliders at their ends, and figures that show the numbers they are given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.figure import Figure

from entropy_utils.policy_entropy import lens_plots
from entropy_utils.policy_entropy.one_lens import BASE, TASK_NAMES, against

rng = np.random.default_rng(0)
NAMES = [BASE, "A", "B", "C"]


@pytest.mark.parametrize("method", lens_plots.MENU)
def test_the_lens_draws_every_method_at_the_ends(method):
    for scale, drift, right in ((0.5, 0.0, 0.1), (4.0, 0.6, 0.9), (2.0, 0.15, 0.4)):
        fig = Figure()
        lens_plots.lens(fig, method=method, scale=scale, drift=drift, right=right)
        widths = [bar.get_width() for bar in fig.axes[0].patches]
        assert len(widths) == 10
        assert np.isfinite(widths).all()
        assert sum(widths[:4]) == pytest.approx(widths[4], abs=1e-9)


def test_power_is_that_of_the_paired_t_test():
    samples = rng.normal(0.05, 0.04, (4000, 8))
    p = scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue
    fig = Figure()
    lens_plots.power(fig, difference=0.05, spread=0.04, seeds=8, compared=15)
    one, many = (line.get_ydata()[0] for line in fig.axes[0].get_lines() if line.get_marker() == "o")
    assert one == pytest.approx((p < 0.05).mean(), abs=0.025)
    assert many == pytest.approx((p < 0.05 / 15).mean(), abs=0.03)
    for values in ({"difference": 0.2, "spread": 0.01}, {"difference": 0.01, "spread": 0.2, "seeds": 2, "compared": 30}):
        lens_plots.power(fig := Figure(), **values)
        assert all(np.isfinite(line.get_ydata()).all() for line in fig.axes[0].get_lines())


def table():
    index = pd.MultiIndex.from_product([NAMES, range(5)])
    return pd.DataFrame(rng.random((20, 3)), index=index, columns=["exam_pass_at_1", "exam_pass_at_16", "entropy"])


def test_forest_fills_only_what_survives_the_correction():
    tables = {task: against(table(), "exam_pass_at_1") for task in TASK_NAMES}
    tables["digit_sum"].loc["B", "p Holm"] = 0.01
    tables["digit_sum"].loc[["A", "C"], "p Holm"] = 0.2
    lens_plots.forest(fig := Figure(), tables, "difference")
    dots = [line for line in fig.axes[1].get_lines() if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() != "white" for dot in dots] == [False, True, False]
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in dots], tables["digit_sum"].difference)


def test_reward_and_diversity_numbers_every_method_where_it_is():
    tables = {task: table() for task in TASK_NAMES}
    columns = dict.fromkeys(TASK_NAMES, ("exam_pass_at_16", "diversity"))
    lens_plots.reward_and_diversity(fig := Figure(), tables, columns, {("digit_sum", "A", 0.1): tables["digit_sum"].iloc[0]})
    numbers = [str(number) for number in range(1, len(NAMES) + 1)]
    assert [text.get_text() for text in fig.axes[0].texts] == numbers
    *shown, legend = (text.get_text() for text in fig.axes[1].texts)
    assert shown == numbers
    assert [line.split(maxsplit=1) for line in legend.splitlines()] == [[*pair] for pair in zip(numbers, NAMES, strict=True)]
    for ax, rows in zip(fig.axes, tables.values(), strict=True):
        means = rows.groupby(level=0).mean()
        for text, name in zip(ax.texts, NAMES, strict=False):
            assert text.xy == pytest.approx((means.exam_pass_at_16[name], means.exam_pass_at_1[name]))


def test_panels_show_each_method_beside_plain_grpo():
    def run(level):
        rows = [{"step": s, "seed": seed, "entropy": level - s / 20} for s in range(10) for seed in range(2)]
        return SimpleNamespace(records=pd.DataFrame(rows))

    histories = {(task, name): run(1 + i) for task in TASK_NAMES for i, name in enumerate(NAMES)}
    lens_plots.panels(fig := Figure(), histories, "entropy", "H", relative=True)
    assert [ax.get_title() + ax.get_title(loc="left") for ax in fig.axes] == NAMES
    for ax in fig.axes:
        curves = [line for line in ax.get_lines() if len(line.get_xdata())]
        assert len(curves) == 4
        np.testing.assert_allclose([line.get_ydata()[0] for line in curves], 1, atol=0.06)


def test_estimators_show_the_mean_over_batches():
    rows = [{"seed": s, "batch": b, "estimator": e, "pearson": 0.1 * s + 0.01 * b + 0.2 * (e == "x")}
            for s in range(3) for b in range(2) for e in ("x", "y")]  # fmt: skip
    lens_plots.estimators(fig := Figure(), {task: pd.DataFrame(rows) for task in TASK_NAMES})
    np.testing.assert_allclose([bar.get_width() for bar in fig.axes[0].patches], [0.305, 0.105])
