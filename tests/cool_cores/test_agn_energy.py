"""Injected energy from cumulative values: differences, and what mergers of black holes add."""

from __future__ import annotations

import numpy as np
import pytest

from entropy_utils.cool_cores.agn_energy import ERG, injected_energy
from entropy_utils.lab.errors import ParameterError

CUMULATIVE = [[1.0, 1.5, 4.5, 5.0], [2.0, 2.0, 1.0, 3.0]]
PROGENITORS = [[1, 1, 2, 2], [1, 1, 1, 1]]


def test_unit_is_code_mass_times_velocity_squared():
    assert pytest.approx(1e10 * 1.989e33 / 0.6774 * 1e5**2) == ERG


def test_differences_mergers_and_swaps():
    nan = np.nan
    np.testing.assert_allclose(injected_energy(CUMULATIVE) / ERG, [[0.5, 3, 0.5], [0, nan, 2]])
    np.testing.assert_allclose(injected_energy(CUMULATIVE, PROGENITORS) / ERG, [[0.5, nan, 0.5], [0, nan, 2]])
    brought = [[0, 2.6, 0], [0, 0, nan]]
    np.testing.assert_allclose(injected_energy(CUMULATIVE, PROGENITORS, brought) / ERG, [[0.5, 0.4, 0.5], [0, nan, nan]])


def test_injections_sum_to_what_was_released():
    """Two black holes that merge: with what the second brought, only their own injections count."""
    rng = np.random.default_rng(0)
    main, second = rng.random((2, 5))
    total = np.cumsum(main)
    total[3:] += second[:3].sum()
    brought = np.zeros((1, 4))
    brought[0, 2] = second[:3].sum()
    np.testing.assert_allclose(injected_energy(total[None], None, brought)[0] / ERG, main[1:])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(([1.0, 2.0],), "cumulative"), ((CUMULATIVE, [1, 2]), "progenitors"), ((CUMULATIVE, None, [[1.0]]), "brought")],
)
def test_wrong_shapes(arguments, name):
    with pytest.raises(ParameterError, match=name):
        injected_energy(*arguments)
