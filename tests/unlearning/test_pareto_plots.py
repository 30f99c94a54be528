"""The pictures of notebook 09's runs: every run has its line, at its place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.unlearning import pareto_plots as plots
from entropy_utils.unlearning import published


def run(end: float, utility: float = 0.5, steps=(0, 10)) -> pd.DataFrame:
    rows = [
        {"step": step, "seed": seed, "forget_prob": end, "fact_prob": end / 2, "utility": utility + 0.01 * seed,
         "privleak": -50.0 * seed, "request": i + 1}
        for i, step in enumerate(steps) for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


REFERENCES = pd.concat([run(0.9).assign(model="full"), run(0.4).assign(model="gold")])


def labels(fig: Figure) -> list[str]:
    return [text.get_text() for legend in [*fig.legends, *(ax.get_legend() for ax in fig.axes)] if legend
            for text in legend.get_texts()]  # fmt: skip


def test_a_method_is_found_by_the_longest_name():
    assert plots.method_of("SimNPO+RT 0.001") == "SimNPO"
    assert plots.method_of("NPO 0.001") == "NPO"
    assert plots.method_of("random tokens") == "random tokens"


def test_published_points_stand_where_they_were_printed():
    fig = Figure(figsize=(9, 4))
    plots.published_front(fig)
    points = {tuple(np.ravel(line.get_xydata())) for line in fig.axes[0].get_lines()}
    assert points == {(utility, forget) for forget, utility, _ in published.TABLE_1.values()}
    assert {text.get_text() for text in fig.axes[0].texts} == set(published.TABLE_1)
    (grid, *_) = fig.axes[1].get_lines()
    assert grid.get_ydata().tolist() == [forget for forget, _ in published.SHARES_1B.values()]


def test_the_front_joins_the_means_of_a_method_and_draws_no_zero():
    fig = Figure(figsize=(10, 4))
    groups = {"SHRED": {10: run(0.8), 25: run(0.0, 0.3)}, "NPO+RT": {"a": run(0.1)}}
    plots.front(fig, groups, REFERENCES)
    assert labels(fig) == ["SHRED", "NPO+RT", "before", "retrained"]
    left, right = fig.axes
    assert left.get_lines()[0].get_xydata() == pytest.approx(np.array([[0.505, 0.8], [0.305, 0.0]]))
    assert right.get_lines()[0].get_ydata() == pytest.approx([0.4, plots.LEAST])
    assert right.get_yscale() == "log"


def test_a_run_that_was_not_made_leaves_no_gap():
    fig = Figure(figsize=(10, 4))
    plots.ablations(fig, {"K": {2: run(0.5), 4: None, 8: run(0.3)}, "P (%)": {10: run(0.1)}}, REFERENCES)
    assert [text.get_text() for text in fig.axes[0].get_xticklabels()] == ["2", "8"]
    assert fig.axes[0].get_lines()[0].get_ydata().tolist() == [0.5, 0.3]


def test_every_run_has_its_row_and_curve():
    named = {"SHRED": run(0.2), "UNDIAL+RT": run(0.3), "retrained": run(0.0)}
    fig = Figure(figsize=(9, 4))
    plots.rows(fig, named, {"privleak": "PrivLeak (%)"}, {"privleak": 0.0})
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == list(named)
    assert [bar.get_width() for bar in fig.axes[0].patches] == [-25.0] * 3
    fig = Figure(figsize=(9, 4))
    plots.curves(fig, {"SHRED": named["SHRED"]}, REFERENCES)
    assert labels(fig) == ["SHRED", "retrained"]
    fig = Figure(figsize=(9, 4))
    plots.relearning(fig, {"half": named, "retained": named})
    assert labels(fig) == list(named)
    fig = Figure(figsize=(9, 4))
    plots.sequential(fig, {"SHRED": run(0.2, steps=(30, 50))})
    assert fig.axes[0].get_lines()[0].get_xdata().tolist() == [1, 2]


def test_a_live_run_without_marked_facts_shows_the_answers():
    fig = Figure(figsize=(9, 4))
    plots.live_run(fig, [("a", run(0.2).drop(columns="fact_prob"))])
    assert fig.axes[0].get_ylabel() == plots.NAMES["forget_prob"]
    plots.live_run(Figure(figsize=(9, 4)), [])


def test_the_dashboard_referenced_anew():
    leak = published.PRIV_LEAK
    assert published.re_referenced(leak["dashboard, 7B retrained"], leak["dashboard, 7B retrained"]) == 0
    assert published.re_referenced(leak["dashboard, 7B"], leak["dashboard, 7B retrained"]) == pytest.approx(48, abs=0.5)
