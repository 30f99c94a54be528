"""Pictures of notebook 06 at the ends of their sliders; its exercises; the two small experiments on the language model."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.policy_entropy import dynamics, dynamics_plots
from entropy_utils.policy_entropy.clipped_tokens import ClippedTokens
from entropy_utils.policy_entropy.dynamics_exercises import EXERCISES
from entropy_utils.policy_entropy.quadrant_step import QUADRANTS, QuadrantStep
from entropy_utils.policy_entropy.shared_features import SharedFeatures
from entropy_utils.policy_entropy.tasks import TASKS

CONTROLS = {
    dynamics_plots.single_logit: {"token": [1, 3, 6], "eps": [-3.0, 0.0, 3.0], "spread": [0.2, 3.0]},
    dynamics_plots.thresholds: {"p": [0.01, 0.5, 0.99], "favourite": [0.1, 0.98], "others": [2, 200]},
    dynamics_plots.painter: {"rewarded_probable": [True, False], "punished_rare": [True, False], "score": ["S", "D"]},
}


@pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)
def test_it_draws_at_the_ends_of_its_sliders(draw):
    for values in itertools.product(*CONTROLS[draw].values()):
        fig = Figure()
        draw(fig, **dict(zip(CONTROLS[draw], values, strict=True)))
        for ax in fig.axes:
            assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
            assert all(np.isfinite(np.asarray(line.get_ydata(), float)).all() for line in ax.get_lines())


def test_nothing_painted_says_so():
    fig = Figure()
    dynamics_plots.painter(fig, *[False] * 4)
    assert "nothing" in fig.axes[0].get_title() + fig.axes[0].get_title(loc="left")
    assert len(fig.axes[0].get_lines()) == 1


def test_the_thresholds_tell_where_the_theorems_part():
    for p, favourite, words in (
        (0.2, 0.6, ("falls", "rises")),
        (0.01, 0.6, ("rises", "rises")),
        (0.8, 0.6, ("falls", "falls")),
    ):
        fig = Figure()
        dynamics_plots.thresholds(fig, p, favourite)
        title = fig.axes[0].get_title() + fig.axes[0].get_title(loc="left")
        assert f"{words[0]} if its logit moves alone, {words[1]} under" in title


def test_outliers_are_those_below_the_threshold():
    s, A = np.append(np.zeros(99), -1.0), np.append(np.ones(98), [-1.0, -1.0])
    fig = Figure()
    dynamics_plots.outliers(fig, {"one": (s, A)}, "one", 2.5)
    assert "1 of 2 punished" in fig.axes[0].get_title() + fig.axes[0].get_title(loc="left")


def test_runs_are_drawn():
    records = pd.DataFrame(SharedFeatures(replicas=2, steps=3).run())
    for draw, argument in (
        (dynamics_plots.entropy_and_reward, {"one": records, "no seed": records[records.seed == 0].drop(columns="seed")}),
        (dynamics_plots.four_masks, {"toy": {"GRPO": records, "++": records}}),
        (dynamics_plots.batch_means, records),
        (dynamics_plots.live_toy, [("one", records), ("empty", records[:0])]),
    ):
        fig = Figure()
        draw(fig, argument)
        assert any(ax.get_lines() for ax in fig.axes)


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("6.1", [0.03955, -0.35595], [0.19775, -0.19775]),
        ("6.2", lambda p, k: 1 - 2 * p[k] + p @ p, lambda p, k: 1 - p[k]),
        ("6.3", -3 / 32, -3 / 16),
    ],
)
def test_exercises(id, right, wrong):
    assert EXERCISES[id].check(right) is None
    assert EXERCISES[id].check(wrong)


def test_one_step_on_one_kind_of_token(monkeypatch):
    """Every odd first token is right: no warm-up finds a right answer as quickly as this test wants it."""
    monkeypatch.setattr(TASKS["noisy_lookup"], "reward", lambda task, prompts, tokens: (tokens[..., 0] % 2).float())
    tiny = {"batches": 1, "replicas": 2, "prompts": 32, "warm_up": {"hidden": 16, "layers": 1, "heads": 2, "steps": 60}}
    experiment = QuadrantStep(**tiny)
    records = pd.DataFrame(experiment.run())
    assert len(records) == experiment.length()
    assert np.isfinite(records.entropy_change).all()
    shares = records.groupby(["seed", "score"]).share.sum()
    assert shares.between(0, 1 + 1e-6).all()
    assert set(records.quadrant) == set(QUADRANTS)
    some = records[records.share > 0.05]
    assert len(some)
    assert (np.sign(some.entropy_change) == some.quadrant.map(QUADRANTS)).mean() > 0.7


def test_clipped_tokens_lie_below_the_largest_probability_that_can_be_clipped():
    tiny = {"steps": 2, "replicas": 2, "prompts": 32, "warm_up": {"hidden": 16, "layers": 1, "heads": 2, "steps": 200}}
    experiment = ClippedTokens(lr=3e-3, **tiny)
    records = pd.DataFrame(experiment.run())
    assert len(records) == experiment.length()
    upper = records[records.side == "upper"].dropna()
    assert (upper.largest <= 1 / 1.2 + 1e-6).all()
    assert ((records.share == 0) == records.largest.isna()).all()
    assert dynamics.log_ratio_change(np.log([0.7, 0.2, 0.1])).argmax() == 2
