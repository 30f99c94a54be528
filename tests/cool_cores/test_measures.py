"""The measures of notebook 03, and the brief's bounds for the laptop profile, over its seeds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entropy_utils.cool_cores import measures, runs
from entropy_utils.cool_cores.histories import read_coolcore_criteria
from entropy_utils.cool_cores.merger_control import recent_merger
from entropy_utils.cool_cores.population import Population
from entropy_utils.cool_cores.transformations import find_transformations


@pytest.fixture(scope="module")
def real() -> pd.DataFrame | None:
    folder = os.environ.get("ENTROPY_DATA_DIR")
    return pd.read_csv(Path(folder) / "clusters" / "tng_cluster_z0_catalog_352.csv") if folder else None


@pytest.fixture(scope="module")
def populations(real):
    return runs.plan()[runs.FIDUCIAL].populations(real)


@pytest.fixture(scope="module")
def table(populations, real) -> pd.DataFrame:
    return measures.summary(populations, None if real is None else real.k0_kev_cm2)


def test_the_plan_is_the_base_and_its_ablations():
    plan = runs.plan(Population.profile("smoke", seed=3))
    assert list(plan) == [runs.FIDUCIAL, *runs.ABLATIONS]
    assert all(one.seeds == 1 and one.seed == 3 and one.dt == 0.02 for one in plan.values())
    assert runs.plan()[runs.FIDUCIAL].seeds == 8
    assert runs.plan()["no AGN"].seeds == 4
    assert not runs.plan()["no AGN"].agn
    assert runs.plan(Population(seeds=2))["no cooling"].seeds == 2


def test_laptop_populations_meet_the_briefs_bounds(table):
    mean = table.mean()
    assert mean.events == pytest.approx(2.35, abs=0.20)
    assert mean.up_share == pytest.approx(0.80, abs=0.05)
    assert 1.0 < mean.up_median < 1.4
    assert mean.scc == pytest.approx(0.25, abs=0.08)
    assert mean.ncc == pytest.approx(0.14, abs=0.06)
    assert (table.scc_phase < table.ncc_phase).all()
    assert (table.up_z > 5).all()
    assert abs(mean.down_z) < 4
    assert mean.down_z <= 0
    assert 0.05 < mean.rho_mergers < 0.35
    assert mean.agn_up > mean.agn_control > mean.agn_down
    assert mean.K_z2 < mean.K_z1 < mean["K_z0.5"] < mean.K_median


def test_model_and_real_catalogue_at_z_0(table, real):
    if real is None:
        pytest.skip("ENTROPY_DATA_DIR is not set")
    assert table.ks.mean() < 0.13


def test_without_the_link_the_test_finds_none(real):
    cut = measures.summary(runs.plan()["no merger coupling"].populations(real))
    assert (cut.up_z.abs() < 3).all()
    assert abs(cut.up_z.mean()) < 1.5


def test_a_wrong_reference_loses_and_a_wrong_control_gains(populations):
    tests = measures.merger_tests(populations[:3])
    up = tests[tests.direction == "up"].groupby("test").z.mean()
    assert up["wrong reference: t_start"] < up["same times, other clusters"] - 3
    assert up["wrong control: random times"] > up["same times, other clusters"] + 2
    assert abs(up["same times, clusters of like mass"] - up["same times, other clusters"]) < 2
    assert set(tests.test) == set(runs.TESTS)
    assert len(tests) == 2 * 3 * len(runs.TESTS)


def test_counts_depend_on_the_finder_and_direction_does_not(populations):
    found = measures.sensitivity(populations[:3])
    assert list(found.index) == list(runs.SENSITIVITY)
    assert found.events.max() / found.events.min() > 1.8
    assert found.up_share.min() > 0.65
    assert found.events["change 0.30 dex"] < found.events["default"] < found.events["change 0.15 dex"]
    np.testing.assert_allclose(found.up / found.events, found.up_share)


def test_numbers_of_one_population(populations):
    one = populations[0]
    found, events = measures.measure(one, one.K0[:, -1]), find_transformations(one)
    up = events[events.direction == "up"]
    assert found["ks"] == 0
    assert found["events"] == len(events) / 352
    assert found["up_events"] == len(up)
    assert found["none"] == pytest.approx(np.mean([i not in set(events.cluster) for i in range(352)]))
    observed = recent_merger(one, up.cluster.to_numpy(), up.t_peak.to_numpy()).mean()
    assert found["up_observed"] == observed
    counts = [((one.mergers.cluster == i) & (one.mergers.xi >= 0.1)).sum() for i in range(352)]
    np.testing.assert_array_equal(measures.merger_counts(one), counts)
    assert found["rho_mergers"] == pytest.approx(stats.spearmanr(counts, one.K0[:, -1]).statistic)
    scc = one.t_cool[:, -1] < 1
    pairs = np.subtract.outer(np.array(counts)[~scc], np.array(counts)[scc])
    assert found["auc"] == pytest.approx((pairs > 0).mean() + 0.5 * (pairs == 0).mean())
    most = np.argsort(-np.array(counts), kind="stable")[:35]
    assert found["K_many"] == pytest.approx(np.median(one.K0[most, -1]) / np.median(one.K0[:, -1]))
    down = events[events.direction == "down"]
    followed = [((down.cluster == event.cluster) & (down.t_start >= event.t_end)).any() for event in up.itertuples()]
    assert found["returned"] == pytest.approx(np.mean(followed))
    assert found["scc"] + found["wcc"] + found["ncc"] == pytest.approx(1)
    assert set(measures.TUNED) <= set(found)


def test_what_cannot_be_had_is_left_out(populations):
    bare = replace(populations[0], t_cool=None, pulses=None, z_form=None, mergers=populations[0].mergers.iloc[:0])
    found = measures.measure(bare)
    assert {"scc", "up_z", "agn_up", "rho_z_form", "ks"}.isdisjoint(found)
    K0 = bare.K0.copy()
    K0[::5, -1] = np.nan
    holes = measures.measure(replace(populations[0], K0=K0, allow_missing=True))
    assert np.isfinite(list(holes.values())).all()
    assert holes["K_median"] == np.nanmedian(K0[:, -1])
    still = measures.measure(replace(bare, K0=np.full(bare.K0.shape, 40.0)))
    assert still["events"] == 0
    assert np.isnan(still["up_share"])


def test_counts_of_events_and_phases_of_all(populations):
    counts = measures.event_counts(populations[:2])
    assert counts.sum() == pytest.approx(1)
    mean = sum(len(find_transformations(one)) for one in populations[:2]) / 704
    assert counts @ counts.index == pytest.approx(mean)
    table = measures.all_phases(populations[:2])
    assert set(table.population) == {0, 1}
    curves = measures.phase_survival(table)
    assert curves["SCC"].median < curves["NCC"].median
    assert curves["NCC"].mean_up_to(8) > table[table.phase == "NCC"].duration.mean()


def test_a_file_of_real_histories_goes_the_same_way(populations, tmp_path):
    """The layout of the simulation's supplementary file, written from a population: same events, same numbers."""
    one, snap = populations[0], np.arange(28, 100)
    arrays = {"centralEntropy": one.K0, "centralCoolingTime": one.t_cool}
    wide = {name: np.concatenate([np.full((352, 28), np.nan), values], axis=1) for name, values in arrays.items()}
    np.savez(tmp_path / "criteria.npz", HaloIDs=one.halo_id, **wide)
    table = pd.DataFrame({"snap": snap, "redshift": one.z, "age_gyr": one.t})
    read = read_coolcore_criteria(tmp_path / "criteria.npz", table)
    pd.testing.assert_frame_equal(find_transformations(read), find_transformations(one))
    ours, theirs = measures.measure(one), measures.measure(read)
    assert {"events", "up_share", "ncc_phase", "scc"} <= set(theirs)
    assert all(theirs[name] == pytest.approx(ours[name]) for name in theirs)


def test_untuned_parameters_stay_in_their_box():
    drawn, base = runs.untuned(60, seed=1), Population.profile("smoke")
    for name in runs.FITTED:
        ratio = np.array([getattr(one, name) for one in drawn]) / getattr(base, name)
        assert 0.5 <= ratio.min() < 0.65
        assert 1.5 < ratio.max() <= 2.0 + 1e-9
    assert len({one.seed for one in drawn}) == 60
    assert drawn[3] == runs.untuned(5, seed=1)[3]
    assert all(one.model_dump(include={"mixing", "lag"}) == base.model_dump(include={"mixing", "lag"}) for one in drawn)


def test_other_parameters_fit_too(real):
    """The direction of every claim is the same with them."""
    other = measures.summary(Population(dt=0.02, seeds=3, **runs.ALTERNATIVE).populations(real)).mean()
    assert other.up_z > 5
    assert other.down_z <= 0
    assert other.scc_phase < other.ncc_phase
    assert other.agn_up > other.agn_control > other.agn_down
    assert 0.65 < other.up_share < 0.9


def test_mean_and_sd():
    found = measures.mean_and_sd(pd.DataFrame({"a": [1.0, 3.0]}))
    assert found.loc["a"].tolist() == [2.0, pytest.approx(np.sqrt(2))]
    assert measures.mean_and_sd(pd.DataFrame({"a": [1.0]})).sd["a"] == 0
