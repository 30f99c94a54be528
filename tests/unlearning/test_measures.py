"""The claims' numbers from records small enough to check by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from entropy_utils.unlearning import measures


def run(**ends) -> pd.DataFrame:
    """Records of two seeds at steps 0 and 10; `ends`: per column the two end values."""
    rows = [{"step": 0, "seed": seed, **dict.fromkeys(ends, 0.5)} for seed in (3, 4)]
    rows += [{"step": 10, "seed": seed, **{name: pair[i] for name, pair in ends.items()}} for i, seed in enumerate((3, 4))]
    return pd.DataFrame(rows[::-1])  # the order of the records does not matter


def test_the_end_is_the_last_step_of_every_seed():
    assert measures.at_end(run(utility=(0.7, 0.8))).utility.to_dict() == {3: 0.7, 4: 0.8}


def test_the_smallest_fall_is_negative_where_a_seed_rises():
    runs = [run(utility=pair) for pair in ((0.9, 0.9), (0.7, 0.8), (0.6, 0.85))]
    assert measures.smallest_fall(runs, "utility").to_dict() == pytest.approx({3: 0.1, 4: -0.05})


def test_only_runs_that_forgot_compete_for_the_best_utility():
    runs = [run(utility=(0.9, 0.9), fact_prob=(0.5, 0.01)), run(utility=(0.6, 0.7), fact_prob=(0.05, 0.06))]
    assert measures.best_utility(runs).to_dict() == {3: 0.6, 4: 0.9}
    assert measures.best_utility(runs[1:]).to_dict() == {3: 0.6, 4: 0.0}


def test_an_order_is_judged_in_every_seed():
    series = [pd.Series({3: 0.1, 4: 0.3}), pd.Series({3: 0.2, 4: 0.2}), pd.Series({3: 0.6, 4: 0.5})]
    assert measures.smallest_step(series).to_dict() == pytest.approx({3: 0.1, 4: -0.1})


def test_a_measure_that_is_not_a_number_at_the_end_stays_one():
    assert measures.at_end(run(privleak=(float("nan"), -20.0))).privleak.isna().to_dict() == {3: True, 4: False}
