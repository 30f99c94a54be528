"""Phases cover the histories, hysteresis removes flicker, and the survival curve is that of Kaplan and Meier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_utils.cool_cores.cosmology import redshift
from entropy_utils.cool_cores.histories import Histories
from entropy_utils.cool_cores.phases import phases, survival
from entropy_utils.cool_cores.population import Population
from entropy_utils.cool_cores.transformations import smooth
from entropy_utils.lab.errors import ParameterError

T = np.linspace(2.7, 13.7, 80)


def made(*curves) -> Histories:
    return Histories(halo_id=np.arange(len(curves)), t=T, z=redshift(T), K0=10 ** np.array([curve(T) for curve in curves]))


@pytest.fixture(scope="module")
def population() -> Histories:
    return Population(clusters=80, dt=0.02).simulate(2)


def test_a_core_that_rises_through_the_classes():
    found = phases(made(lambda t: 0.8 + 0.15 * (t - 2.7)))
    assert found.phase.tolist() == ["SCC", "WCC", "NCC"]
    assert found.censored.tolist() == [True, False, True]
    first, second = (2.7 + (np.log10(limit) - 0.8) / 0.15 for limit in (22, 150))
    np.testing.assert_allclose(found.t_start, [2.7, first, second], atol=0.06)
    assert found.duration[1] == pytest.approx(second - first, abs=0.06)


@pytest.mark.parametrize("hysteresis", [1.0, 1.2, 2.0])
def test_phases_cover_every_history_once(population, hysteresis):
    found = phases(population, hysteresis=hysteresis)
    grid = smooth(population).t
    np.testing.assert_allclose(found.groupby("cluster").duration.sum(), grid[-1] - grid[0])
    for _, own in found.groupby("cluster"):
        np.testing.assert_allclose(own.t_start[1:], (own.t_start + own.duration)[:-1])
        assert (own.phase.to_numpy()[1:] != own.phase.to_numpy()[:-1]).all()
        assert own.censored.iloc[0]
        assert own.censored.iloc[-1]
        assert not own.censored.iloc[1:-1].any()


def test_hysteresis_ignores_flicker():
    flicker = made(*(lambda t, K=limit: np.log10(K) + 0.05 * np.sin(3.5 * t) for limit in (22, 150)))
    assert phases(flicker).groupby("cluster").size().min() > 8
    assert phases(flicker, hysteresis=1.2).groupby("cluster").size().max() <= 2


def test_more_hysteresis_means_fewer_phases(population):
    counts = [len(phases(population, hysteresis=h)) for h in (1.0, 1.1, 1.3, 1.8)]
    assert all(np.diff(counts) < 0)


def test_an_unknown_end_censors():
    K0 = made(lambda t: 1 + 0.1 * (t - 2.7)).K0
    K0[0, :5] = np.nan
    found = phases(Histories(halo_id=[0], t=T, z=redshift(T), K0=K0, allow_missing=True, max_gap=1.0))
    assert found.censored.tolist() == [True, True] or found.censored.tolist() == [True, False, True]
    assert found.t_start[0] >= T[5] - 1e-9


def kaplan_meier(durations, censored) -> dict[float, float]:
    """Share that lasts longer than each time at which something ended: the product formula as it stands."""
    share, found = 1.0, {}
    for time in sorted(set(durations[~censored])):
        at_risk = (durations >= time).sum()
        share *= 1 - ((durations == time) & ~censored).sum() / at_risk
        found[time] = share
    return found


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_survival_is_the_product_formula(seed, n):
    rng = np.random.default_rng(seed)
    durations, censored = rng.integers(1, 12, n) / 4, rng.random(n) < 0.4
    censored[0] = False
    curve, expected = survival(durations, censored), kaplan_meier(durations, censored)
    np.testing.assert_allclose(curve.time, list(expected))
    np.testing.assert_allclose(curve.share, list(expected.values()), atol=1e-12)
    assert (curve.low <= curve.share + 1e-12).all()
    assert (curve.share <= curve.high + 1e-12).all()


def test_survival_undoes_censoring():
    """Exponential phases of mean 2 that are cut off at random: the mean of what is seen is too small, the curve is not."""
    rng = np.random.default_rng(0)
    true, cut = rng.exponential(2.0, 6000), rng.uniform(0, 6, 6000)
    curve = survival(np.minimum(true, cut), true > cut)
    assert curve.median == pytest.approx(2 * np.log(2), rel=0.05)
    assert curve.mean_up_to(5) == pytest.approx(2 * (1 - np.exp(-2.5)), rel=0.03)
    assert np.minimum(true, cut).mean() < 1.6
    assert (np.exp(-curve.time / 2) >= curve.low).mean() > 0.8


def test_a_median_beyond_the_data_is_infinite():
    curve = survival([1.0, 5.0, 5.0, 5.0], [False, True, True, True])
    assert curve.median == np.inf
    assert curve.mean_up_to(3) == pytest.approx(1 + 2 * 0.75)


def test_wrong_input_is_one_line(population):
    with pytest.raises(ParameterError, match="hysteresis"):
        phases(population, hysteresis=3.0)
    with pytest.raises(ParameterError, match="hysteresis"):
        phases(population, hysteresis=0.5)
    with pytest.raises(ParameterError, match="limits"):
        phases(population, limits=(-1.0, 150.0))
    with pytest.raises(ParameterError, match="durations"):
        survival([1.0, 2.0], [True])
    with pytest.raises(ParameterError, match=r"durations.*-1\.0.*from 0 Gyr on"):
        survival([-1.0, 2.0], [False, False])
    with pytest.raises(ParameterError, match="censored"):
        survival([1.0, 2.0], [True, True])
