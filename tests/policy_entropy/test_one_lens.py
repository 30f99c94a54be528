"""The comparison: fair tuning, paired differences, corrections and fronts against independent references."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.policy_entropy import one_lens
from entropy_utils.policy_entropy.interventions import INTERVENTIONS
from entropy_utils.policy_entropy.one_lens import METHODS, TASK_NAMES, Comparison, against, holm, pareto

BASE = Comparison(replicas=3, steps=20, exam_samples=4)
START = {"noisy_lookup": 0.8, "digit_sum": 1.8}


def records(seeds, steps=20, exam=0.5):
    """Records of runs whose entropy is 1 - step/steps + seed/100 and whose reward is step/steps."""
    rows = [
        {"step": step, "seed": seed, "entropy": 1 - step / steps + seed / 100, "reward": step / steps,
         "exam_pass_at_1": exam if step == steps - 1 else None}
        for seed in seeds for step in range(steps)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_method_is_tuned_with_the_same_budget_on_other_seeds():
    runs = one_lens.tuning(BASE, START, seeds=8)
    assert len(runs) == 2 * len(METHODS) * 3
    assert {(run.steps, run.prompts, run.keep, run.replicas, run.responses) for run in runs.values()} == {
        (20, BASE.prompts, BASE.keep, 3, BASE.responses)
    }
    final = one_lens.judged(BASE, {key[:2]: key[2] for key in runs}, START, seeds=8)
    assert len(final) == 2 * len(METHODS)
    for run in runs.values():
        assert not {seed for other in final.values() for seed in other.seeds} & set(run.seeds)
    assert {run.replicas for run in final.values()} == {8}


def test_the_comparison_leaves_no_method_out():
    shown = {run.intervention.name for run in one_lens.tuning(BASE, START).values()}
    controls = {"clip_b_random", "quadrants", "signed_reward"}  # shown in notebooks 06 and 08, no methods to recommend
    assert shown == set(INTERVENTIONS) - controls


def test_targets_are_shares_of_the_starting_entropy():
    runs = one_lens.tuning(BASE, START)
    for task in TASK_NAMES:
        target = runs[task, "Entrocraft alg1", 0.5].intervention.target
        assert [target.value(0, 20), target.values[-1]] == pytest.approx([0.5 * START[task], 0.125 * START[task]])
        assert runs[task, "adaptive bonus", 0.25].intervention.target == pytest.approx(0.25 * START[task])


def test_the_best_value_wins_and_ties_go_to_the_first():
    scores = {("noisy_lookup", "A", 0.1): 0.2, ("noisy_lookup", "A", 0.2): 0.5, ("noisy_lookup", "A", 0.3): 0.5,
              ("digit_sum", "A", 0.1): 0.9, ("digit_sum", "A", 0.2): 0.1}  # fmt: skip
    histories = {key: SimpleNamespace(records=records([1, 2], exam=score)) for key, score in scores.items()}
    assert one_lens.tuned(histories) == {("noisy_lookup", "A"): 0.2, ("digit_sum", "A"): 0.1}


def test_what_a_run_ends_with():
    table = one_lens.end(records([3, 7], exam=0.25), rollouts=5)
    np.testing.assert_allclose(table.entropy, [1 - 17 / 20 + 0.03, 1 - 17 / 20 + 0.07])
    np.testing.assert_allclose(table["entropy area"], [1 - 9.5 / 20 + 0.03, 1 - 9.5 / 20 + 0.07])
    np.testing.assert_allclose(table["reward area"], 9.5 / 20)
    assert table.exam_pass_at_1.tolist() == [0.25, 0.25]


def rows(values):
    return pd.DataFrame({"x": pd.Series({(name, seed): v for name, vs in values.items() for seed, v in enumerate(vs)})})


def test_paired_differences_are_scipys_paired_test():
    rng = np.random.default_rng(0)
    base, better, same = rng.normal(size=8), rng.normal(0.8, 1, size=8), rng.normal(size=8)
    found = against(rows({"GRPO": base, "better": better, "same": same}), "x")
    for name, values in (("better", better), ("same", same)):
        reference = scipy.stats.ttest_rel(values, base)
        interval = reference.confidence_interval(0.95)
        row = found.loc[name]
        assert row.difference == pytest.approx((values - base).mean())
        assert (row.low, row.high, row.p) == pytest.approx((interval.low, interval.high, reference.pvalue))


def test_differences_without_any_spread():
    found = against(rows({"GRPO": [1.0, 2, 3], "equal": [1.0, 2, 3], "more": [2.0, 3, 4]}), "x")
    assert found.p.tolist() == [1, 0]
    assert found.loc["more", ["low", "high"]].tolist() == [1, 1]
    with pytest.raises(ValueError, match="at least 2"):
        against(rows({"GRPO": [1.0], "more": [2.0]}), "x")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_holm_is_the_step_down_rule(p):
    """Rejected at level a exactly if all smaller p-values are rejected and p <= a / (number not yet rejected)."""
    corrected = holm(np.array(p))
    assert (corrected >= np.array(p)).all()
    for level in (0.01, 0.05, 0.3):
        rejected, left = set(), sorted(range(len(p)), key=lambda i: p[i])
        while left and p[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        assert {i for i, value in enumerate(corrected) if value <= level} == rejected


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_the_front_is_what_nothing_beats(points):
    table = pd.DataFrame(points, columns=["x", "y"])
    front = pareto(table, "x", "y")

    def beaten(a):
        return any(b[0] >= a[0] and b[1] >= a[1] and b != a for b in points)

    assert {points[i] for i in front} == {point for point in points if not beaten(point)}
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)
