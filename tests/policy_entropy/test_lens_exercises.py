"""Exercises of notebook 10: right answers pass, wrong ones get the hint that fits, and no hint gives the answer away."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from entropy_utils.policy_entropy import tabular
from entropy_utils.policy_entropy.lens_exercises import EXERCISES


def half_push():
    """The same token by a real step of the tabular policy: half a push less, per unit of step."""
    logits, step = np.log([0.6, 0.3, 0.1]), 1e-6
    full, half = (tabular.entropy(logits + tabular.sampled_step(logits, 2, a, step)) for a in (-1.0, -0.5))
    return (half - full) / step


def front(points):
    return sorted({a for a in points if not any(b[0] >= a[0] and b[1] >= a[1] and b != a for b in points)})


SEEDS = next(n for n in range(2, 99) if scipy.stats.t.ppf(0.975, n - 1) * 0.05 / n**0.5 <= 0.03)
RIGHT = {"10.1": half_push(), "10.2": front, "10.3": SEEDS}
WRONG = {
    "10.1": [(-half_push(), "Does taking push away"), (0.5, "once with")],
    "10.2": [(lambda points: front(points)[::-1], "sort"), (lambda points: sorted(set(points)), "beaten"),
             (lambda points: front(points)[:1], "missing")],
    "10.3": [(11, "Student"), (SEEDS - 1, "Too few"), (SEEDS + 5, "Fewer"), (12.5, "whole")],
}  # fmt: skip


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    assert str(SEEDS) not in hint or id != "10.3"
