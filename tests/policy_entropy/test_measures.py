"""The numbers behind the claims, on records whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from entropy_utils.policy_entropy import measures
from entropy_utils.policy_entropy.comparison import METHODS, ON_POLICY
from entropy_utils.policy_entropy.grpo import GRPO


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two seeds of 100 rollouts: entropy falls as exp(-step / 20) from 1 and 2, accuracy follows a law exactly."""
    rows = []
    for seed, start in ((0, 1.0), (1, 2.0)):
        for step in range(100):
            entropy = start * np.exp(-step / 20)
            accuracy = -0.1 * np.exp(entropy) + 0.9 if step % 4 == 0 else None
            change = -entropy / 20
            rows.append(
                {
                    "step": step, "seed": seed, "entropy": entropy, "accuracy": accuracy, "reward": entropy / 4,
                    "entropy_change": change, "predicted_change": 2 * change + 0.1, "group_covariance": -change + 1,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_final_is_the_mean_of_the_last_rollouts_and_skips_missing_values(runs):
    expected = np.exp(-np.arange(80, 100) / 20).mean()
    assert measures.final(runs, "entropy")[0] == pytest.approx(expected)
    assert measures.final(runs, "accuracy").notna().all()


def test_remaining_entropy_is_relative_to_each_seeds_own_start(runs):
    assert measures.remaining_entropy(runs).nunique() == 1
    assert measures.remaining_entropy(runs)[0] == pytest.approx(np.exp(-np.arange(80, 100) / 20).mean())


def test_early_share_of_a_straight_line_is_a_third():
    line = pd.DataFrame({"step": range(301), "seed": 0, "entropy": np.linspace(1, 0, 301)})
    assert measures.early_share(line, "entropy")[0] == pytest.approx(1 / 3, abs=0.02)


def test_the_law_is_recovered_per_seed_and_predicts_the_end(runs):
    for fit in measures.law_fits(runs).values():
        assert (fit.a, fit.b) == pytest.approx((0.1, 0.9))
        assert fit.r_squared == pytest.approx(1)
    assert measures.coefficient_spread([runs, runs]) == pytest.approx(0, abs=1e-9)
    assert measures.prediction_errors(runs).abs().max() < 1e-9


def test_coefficient_spread_sees_one_run_that_differs(runs):
    other = runs.assign(accuracy=-0.2 * np.exp(runs.entropy) + 0.9)
    assert measures.coefficient_spread([runs, other]) == pytest.approx(1 / 3)


def test_agreement_and_trend_have_the_right_sign_and_slope(runs):
    agreement = measures.lemma_agreement(runs)
    assert agreement.slope.tolist() == pytest.approx([0.5, 0.5])
    assert agreement.correlation.tolist() == pytest.approx([1, 1])
    assert measures.covariance_trend(runs).tolist() == pytest.approx([1, 1])
    assert measures.covariance_trend(runs, 8).tolist() == pytest.approx([1, 1])


def test_removed_share_compares_with_the_full_step():
    rows = [("none", 0.0, -0.4), ("none", 0.0, -0.2), ("top", 0.1, -0.1), ("top", 0.1, -0.05)]
    records = pd.DataFrame([{"left_out": w, "share": s, "seed": 3, "entropy_change": c} for w, s, c in rows])
    assert measures.removed_share(records, "top", 0.1)[3] == pytest.approx(0.75)


def test_every_run_of_the_comparison_is_a_valid_experiment():
    settings = [GRPO(**change).model_dump_json() for change in (*METHODS.values(), ON_POLICY)]
    assert len(set(settings)) == len(METHODS) + 1
