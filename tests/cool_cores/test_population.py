"""The population model: compiled steps against the plain ones, limits with known answers, and the real catalogue."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from entropy_utils import lab
from entropy_utils.cool_cores import cosmology, merger_rate, population
from entropy_utils.cool_cores.classes import by_cooling_time
from entropy_utils.cool_cores.cooling import cooling_time
from entropy_utils.cool_cores.population import Population, catalogue_like, snapshot_redshifts, spread
from entropy_utils.cool_cores.population_batch import simulate_batch
from entropy_utils.cool_cores.population_steps import Planned, Rules, core_temperature, follow, follow_plain, virial_entropy
from entropy_utils.cool_cores.transformations import find_transformations
from entropy_utils.lab.errors import ParameterError

QUIET = {"p_heat": 0.0, "agn": False, "K_start_dex": 0.0, "noise": 0.0}


@pytest.fixture(scope="module")
def clusters() -> Path:
    if not os.environ.get("ENTROPY_DATA_DIR"):
        pytest.skip("ENTROPY_DATA_DIR is not set")
    return Path(os.environ["ENTROPY_DATA_DIR"]) / "clusters"


def planned(n: int, steps: int, dt: float, rng) -> tuple:
    """Cores with everything that can happen to them, in the form that both versions of the steps take."""
    lnK, mass = np.log(rng.uniform(4, 300, n)), 10 ** rng.uniform(14, 15.3, n)
    heat = np.where(rng.random((n, steps)) < 0.1, rng.exponential(0.1, (n, steps)), 0)
    drawn = Planned(heat, rng.random((n, steps)) < 0.3, rng.random((n, steps)), rng.random((n, steps)))
    z = cosmology.redshift(3 + dt * np.arange(steps))
    at = np.concatenate([[0], np.sort(rng.choice(np.arange(1, steps), 5, replace=False)), [steps]])
    return lnK, rng.random(n) < 0.5, mass, rng.uniform(0.45, 1.6, n), z, drawn, at


@pytest.mark.parametrize(
    "changes", [{}, {"agn": False}, {"cooling": False}, {"dt": 0.05, "pulse": 0.02, "g_on": 6.0, "K_min": 1.0}]
)
def test_compiled_steps_follow_the_plain_ones(changes):
    model = Population(**changes)
    rules = Rules(**{name: getattr(model, name) for name in Rules._fields})
    *start, drawn, at = planned(40, 120, rules.dt, np.random.default_rng(len(changes)))
    lnK, pulses = follow(*start, drawn, rules, at)
    plain, plain_pulses = follow_plain(*start, drawn, rules, at)
    np.testing.assert_allclose(lnK, plain, atol=1e-9)
    np.testing.assert_array_equal(pulses, plain_pulses)
    assert lnK.shape == (40, 7)
    assert (pulses.sum() > 0) == model.agn


def test_cooling_alone_solves_its_differential_equation():
    """One core of constant mass; the reference is an adaptive solver."""
    rules = Rules(**{name: getattr(Population(agn=False), name) for name in Rules._fields} | {"dt": 0.001})
    steps, zeros = 3000, np.zeros((1, 3000))
    z = np.zeros(steps)
    state = [np.log([150.0]), np.array([False]), np.array([4e14]), np.zeros(1)]
    lnK, _ = follow(*state, z, Planned(zeros, zeros > 1, zeros, zeros), rules, np.array([0, 1500, 3000]))
    solved = integrate.solve_ivp(
        lambda t, y: -1 / cooling_time(np.exp(y), core_temperature(4e14, np.exp(y))), (0, 3), state[0], rtol=1e-10,
        t_eval=(0, 1.5, 3.0),
    )  # fmt: skip
    np.testing.assert_allclose(lnK[0], solved.y[0], atol=2e-3)
    assert lnK[0, -1] < lnK[0, 0] - 0.3


def test_pulses_replace_on_average_what_cooling_takes():
    """With g = 1 whether on or off and hardly any floor, the mean of ln K stays, and pulses come at 1 / (pulse t_cool)."""
    alike = {"g_on": 1.0, "g_off": 1.0, "K_floor": 1.0}
    model = Population(clusters=20_000, dt=0.02, ceiling=3.0, K_start=200.0, **alike, **QUIET | {"agn": True})
    found = model.simulate(z=[0.02, 0.01, 0.0])
    t_cool = found.t_cool[:, 0]
    expected = ((found.t[-1] - found.t[0]) / (0.08 * t_cool)).mean()
    free = 1 - 200 / (3 * virial_entropy(found.m500c, 0.01))
    drift = 0.08 * found.pulses.sum(1) * free - (found.t[-1] - found.t[0]) / t_cool
    assert found.pulses.sum(1).mean() == pytest.approx(expected, rel=0.04)
    assert np.log(found.K0[:, -1] / 200).mean() == pytest.approx(drift.mean(), abs=0.002)


def test_a_pulse_never_adds_more_than_its_size():
    found = Population(clusters=60, dt=0.02, cooling=False, **QUIET | {"agn": True}).simulate()
    gained = np.diff(np.log(found.K0), axis=1)
    assert (gained >= -1e-9).all()
    assert (gained <= 0.08 * found.pulses + 1e-9).all()
    assert found.pulses.sum() > 100


def test_without_heating_all_cores_fall_to_the_floor():
    found = Population(clusters=100, dt=0.02, **QUIET).simulate()
    assert found.K0[:, 0] == pytest.approx(19)
    assert found.K0[:, -1] == pytest.approx(3.0)
    assert (np.diff(found.K0, axis=1) <= 0).all()


def test_mergers_come_at_their_rate_with_their_ratios():
    sample = pd.DataFrame({"log10_m500c_msun": np.full(1500, 14.6), "z_form": np.full(1500, 0.5)})
    found = Population(clusters=1500, dt=0.02, **QUIET).simulate(3, sample)
    t = np.linspace(found.t[0], found.t[-1], 4001)
    z = cosmology.redshift(t)
    rate = merger_rate.merger_rate(population.FOF * 10**14.6 * np.exp(-np.log(2) / 0.5 * z), z, 0.01)
    expected = 1500 * np.trapezoid(rate, t)
    assert abs(len(found.mergers) - expected) < 4 * np.sqrt(expected) + 0.002 * expected  # the step has an error, too
    late = (found.mergers.t > 10).mean()
    assert late == pytest.approx(np.trapezoid(np.where(t > 10, rate, 0), t) / np.trapezoid(rate, t), abs=0.01)
    for least in (0.1, 0.25):
        share = merger_rate.integral(least) / merger_rate.integral(0.01)
        assert (found.mergers.xi >= least).mean() == pytest.approx(share, abs=4 * np.sqrt(share / expected))
    assert (found.mergers.xi >= 0.01).all()


def test_merger_heat_adds_up():
    """Without cooling, AGN and ceiling, ln K rises by the jumps; each is spread over the mixing time."""
    heats = QUIET | {"p_heat": 1.0, "xi_heat": 0.01, "jump": 0.1, "lag": 0.0}
    model = Population(clusters=400, dt=0.02, cooling=False, ceiling=3.0, K_start=4.0, **heats)
    found = model.simulate(1)
    rise = np.log(found.K0[:, -1] / found.K0[:, 0])
    heats = 1 - np.exp(-found.mergers.xi / 0.01)
    assert rise.sum() == pytest.approx(0.1 * heats.sum(), rel=0.06)


def test_spread():
    rng = np.random.default_rng(0)
    row, begin, values = rng.integers(0, 4, 30), rng.integers(0, 25, 30), rng.random(30)
    expected = np.zeros((4, 20))
    for i, j, value in zip(row, begin, values, strict=True):
        expected[i, j : j + 6] += value
    np.testing.assert_allclose(spread(values, row, begin, 6, (4, 20)), expected, atol=1e-12)


def test_a_seed_says_it_all_and_chunks_do_not_show(monkeypatch):
    model = Population(clusters=30, dt=0.05)
    one, same, other = model.simulate(5), model.simulate(5), model.simulate(6)
    np.testing.assert_array_equal(one.K0, same.K0)
    assert one.mergers.equals(same.mergers)
    assert not np.allclose(one.K0, other.K0)
    monkeypatch.setattr(population, "CHUNK", 7)
    parts = model.simulate(5)
    assert parts.mergers.cluster.max() > 20
    np.testing.assert_array_equal(parts.m500c, one.m500c)
    assert parts.K0.shape == one.K0.shape
    assert [len(h) for h in model.replace(seeds=3).populations()] == [30] * 3


def test_real_clusters_are_taken_as_they_are():
    sample = catalogue_like(25, np.random.default_rng(0))
    found = Population(clusters=25, dt=0.05).simulate(0, sample)
    np.testing.assert_allclose(np.log10(found.m500c), sample.log10_m500c_msun)
    np.testing.assert_array_equal(found.z_form, sample.z_form)
    drawn = Population(clusters=60, dt=0.05).simulate(0, sample)
    assert set(np.round(np.log10(drawn.m500c), 9)) <= set(np.round(sample.log10_m500c_msun, 9))


def test_wrong_input_is_one_line():
    model = Population(clusters=5)
    assert model.simulate(z=[1.0, 0.0]).K0.shape == (5, 2)
    for z in ([0.0, 1.0], [2.0], [12.0, 1.0], [1.0, np.nan], [[2.0, 1.0]]):
        with pytest.raises(ParameterError, match="'z'"):
            model.simulate(z=z)
    for broken in (pd.DataFrame({"z_form": [1.0]}), pd.DataFrame({"log10_m500c_msun": [14.0], "z_form": [np.nan]})):
        with pytest.raises(ParameterError, match="catalogue"):
            model.simulate(catalogue=broken)
    with pytest.raises(ParameterError, match="'dt'"):
        Population(clusters=5, dt=0.05).simulate(z=[1.0, 0.5, 0.4999, 0.0])
    with pytest.raises(ParameterError, match="'g_on'"):
        Population(g_on=-1.0)


def test_records_are_what_the_histories_say():
    model = Population(clusters=40, dt=0.05, seeds=2)
    records = lab.collect(model, progress=False).records
    assert len(records) == model.length() == 2 * 72
    second = records[records.seed == 1].reset_index(drop=True)
    found = model.simulate(1)
    events = find_transformations(found)
    np.testing.assert_allclose(second.K50, np.median(found.K0, axis=0))
    np.testing.assert_allclose(second.pulses[1:], found.pulses.mean(0))
    np.testing.assert_allclose(second.ncc, (by_cooling_time(found.t_cool) == 2).mean(0))
    for direction in ("up", "down"):
        assert second[direction].sum() * 40 == pytest.approx((events.direction == direction).sum())
        assert (second[f"{direction}_merged"] <= second[direction] + 1e-12).all()
        assert second[f"{direction}_expected"].sum() <= second[direction].sum()


def test_smoke_population_meets_the_briefs_bounds():
    found = Population.profile("smoke").simulate()
    events = find_transformations(found)
    assert 2.1 <= len(events) / len(found) <= 2.7
    assert (events.direction == "up").mean() >= 0.72


def test_snapshots_and_description_are_like_the_real_ones(clusters):
    real = pd.read_csv(clusters / "tng_snapshots_z_28_99.csv")
    assert np.abs(snapshot_redshifts() - real.redshift).max() < 0.04
    catalogue = pd.read_csv(clusters / "tng_cluster_z0_catalog_352.csv")
    drawn = catalogue_like(20_000, np.random.default_rng(0))
    for name in ("log10_m500c_msun", "z_form"):
        assert stats.ks_2samp(drawn[name], catalogue[name]).pvalue > 0.01
    one = Population(clusters=3000, dt=0.02).simulate(0)
    two = Population(clusters=3000, dt=0.02).simulate(1, catalogue, real.redshift)
    assert stats.ks_2samp(one.K0[:, -1], two.K0[:, -1]).pvalue > 1e-3


def test_batch_has_the_same_distributions():
    model = Population(clusters=2500, dt=0.04)
    ours, batch = model.simulate(1), simulate_batch(model)
    for column in (0, 20, -1):
        assert stats.ks_2samp(ours.K0[:, column], batch.K0[:, column]).pvalue > 1e-3
    assert len(batch.mergers) == pytest.approx(len(ours.mergers), rel=0.02)
    assert stats.ks_2samp(ours.mergers.xi, batch.mergers.xi).pvalue > 1e-3
    assert stats.ks_2samp(ours.mergers.t, batch.mergers.t).pvalue > 1e-3
    assert batch.pulses.sum() == pytest.approx(ours.pulses.sum(), rel=0.03)
    events, others = find_transformations(ours), find_transformations(batch)
    assert len(others) == pytest.approx(len(events), rel=0.06)
    assert (others.direction == "up").mean() == pytest.approx((events.direction == "up").mean(), abs=0.03)


def test_batch_without_agn_and_mergers_is_the_same_path():
    model = Population(clusters=20, dt=0.02, **QUIET)
    np.testing.assert_allclose(simulate_batch(model).K0, model.simulate().K0, rtol=2e-3)
    hot = model.replace(cooling=False)
    np.testing.assert_allclose(simulate_batch(hot).K0, 19, rtol=1e-4)
