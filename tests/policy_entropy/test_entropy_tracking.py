"""Numbers about a controlled run, on records made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropy_utils.policy_entropy.entropy_tracking import (
    accepted_when_rejecting,
    in_band,
    response,
    tracking_correlation,
    tracking_error,
)
from entropy_utils.policy_entropy.schedule import Schedule


def run(entropy, memory=None, accepted=None, seed=0):
    n = len(entropy)
    columns = {"entropy": entropy, "memory": memory or [0] * n, "accepted": accepted or [8.0] * n}
    return pd.DataFrame({"step": range(n), "seed": seed, **columns})


def test_error_and_correlation_from_a_step_on():
    target = Schedule.of("linear:1:0")
    exact, off = target.curve(10), target.curve(10) + 0.2
    records = pd.concat([run(exact), run(off, seed=1)])
    records.loc[records.step < 4, "entropy"] = 9.0  # before `after`: does not count
    assert tracking_error(records, target, after=4).tolist() == pytest.approx([0, 0.2])
    assert tracking_correlation(records, target, after=4).tolist() == pytest.approx([1, 1])
    assert in_band(records, target, 0.1, after=4).tolist() == [1, 0]


def test_a_constant_target_has_no_correlation():
    assert tracking_correlation(run([1.0, 0.9, 0.8]), Schedule.of(1.0), after=0).isna().all()


def test_the_response_belongs_to_the_step_that_was_decided():
    records = run([1.0, 1.3, 1.2, 1.2, 1.0], memory=[-1, 1, -1, 1, -1])
    up, down = response(records, -1).loc[0], response(records, 1).loc[0]
    assert (up.change, up.rises, up.steps) == pytest.approx((0.15, 0.5, 2))  # +0.3 and 0.0; the last step has no after
    assert (down.change, down.rises, down.steps) == pytest.approx((-0.15, 0.0, 2))
    assert np.isnan(response(records, 0).loc[0].change)


def test_accepted_counts_only_rejecting_steps():
    records = run([1.0] * 4, memory=[0, -1, 0, 0], accepted=[8.0, 3.0, 8.0, 8.0])
    parts = accepted_when_rejecting(records, windows=2)[0]
    assert parts[0] == 3
    assert np.isnan(parts[1])
