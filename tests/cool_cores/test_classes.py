"""Classes at and around their limits, counts, and the table of two criteria against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropy_utils.cool_cores import classes
from entropy_utils.lab.errors import ParameterError


def test_limits():
    assert classes.by_cooling_time([0.99, 1.0, 7.7, 7.71, np.nan]).tolist() == [0, 1, 1, 2, -1]
    assert classes.by_entropy([21.9, 22.0, 22.1, 150, 150.1, np.nan]).tolist() == [0, 0, 1, 1, 2, -1]
    assert classes.by_entropy([40, 60], limits=(50, 55)).tolist() == [0, 2]
    assert classes.by_cooling_time([-3.0, 0.0, 0.5]).tolist() == [-1, -1, 0]
    assert classes.by_entropy([-3.0, 0.0, 10]).tolist() == [-1, 0, 0]
    for limits in ((2, 1), (0, 1), (1, 1)):
        with pytest.raises(ParameterError, match="limits"):
            classes.by_entropy([1.0], limits)


def test_counts_and_fractions_leave_out_the_unknown():
    assert classes.counts([0, 0, 1, -1]).tolist() == [2, 1, 0]
    np.testing.assert_allclose(classes.fractions([0, 0, 1, -1]), [2 / 3, 1 / 3, 0])


def test_cross_table():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 200))
    expected = pd.crosstab(a, b).to_numpy()
    np.testing.assert_array_equal(classes.cross_table(a, b), expected)
    a[0] = -1
    assert classes.cross_table(a, b).to_numpy().sum() == 199
    with pytest.raises(ParameterError, match="columns"):
        classes.cross_table(a, b[1:])
