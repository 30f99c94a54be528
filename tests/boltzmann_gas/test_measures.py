"""Numbers read off records, single microstates against the exact curve, and the plan of runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from entropy_utils import lab
from entropy_utils.boltzmann_gas import expansion_runs, measures, theory
from entropy_utils.boltzmann_gas.coarse_graining import Cells
from entropy_utils.boltzmann_gas.expansion import Expansion, KineticExpansion
from entropy_utils.boltzmann_gas.typicality import free_gains, microstates


@pytest.fixture
def planted() -> pd.DataFrame:
    """Two seeds whose gains are dv t / 2, twice as much in the second."""
    rows = []
    for seed in (0, 1):
        for time in np.linspace(0, 2, 21):
            gains = {f"gain_{dv:g}": (1 + seed) * dv * time / 2 for dv in (0.25, 1.0, 0.5)}
            parts = {f"streaming_{dv:g}": gains[f"gain_{dv:g}"] / 3 for dv in (0.25, 1.0)}
            rows.append({"seed": seed, "time": time, **gains, **parts, "gain_hydrodynamic": time})
    return pd.DataFrame(rows)


def test_widths_curves_and_gains_at_a_time(planted):
    assert measures.widths(planted) == [1.0, 0.5, 0.25]
    assert measures.widths(planted, "streaming_") == [1.0, 0.25]
    table = measures.curve(planted, 0.5)
    assert list(table.columns) == [0, 1]
    np.testing.assert_allclose(table[1], 0.5 * table.index)
    gains = measures.at(planted, 0.52)
    assert list(gains.columns) == [1.0, 0.5, 0.25]
    np.testing.assert_allclose(gains[1.0], [0.25, 0.5])
    np.testing.assert_allclose(measures.at(planted, 1.0, "streaming_")[0.25], [1 / 24, 1 / 12])
    np.testing.assert_allclose(measures.sensitivity(planted), [0.375, 0.75])


def test_times_that_differ_by_rounding_are_one(planted):
    planted.loc[planted.seed == 1, "time"] *= 1 + 1e-15
    assert len(measures.curve(planted, 0.5)) == 21


def test_rates_and_their_law(planted):
    planted.loc[planted.time < 0.2, ["gain_1", "gain_0.5", "gain_0.25"]] = 9.0  # the first moments do not count
    rates = measures.rates(planted)
    np.testing.assert_allclose(rates, [[0.5, 0.25, 0.125], [1, 0.5, 0.25]])
    assert measures.power_law(rates.columns, rates.loc[1]) == pytest.approx((1, 1))
    assert measures.power_law([1, 2, 4], [3, 12, 48]) == pytest.approx((2, 3))


def test_microstates_gather_around_the_exact_gain():
    cells = Cells(nx=16, dv=1.0, dvy=2.0)
    table = microstates((1000, 30_000), (0.25, 0.5), cells, range(4))
    assert len(table) == 2 * 2 * 4
    exact = theory.finite_cell_gain(0.5, 16, 1.0)
    late = table[table.time == 0.5].groupby("n")[["factorial", "plug_in", "miller_madow"]].agg(["mean", "std"])
    assert late.loc[30_000, ("miller_madow", "mean")] == pytest.approx(exact, abs=0.006)
    assert late.loc[1000, ("plug_in", "mean")] < late.loc[30_000, ("plug_in", "mean")]
    for n in (1000, 30_000):
        means = late.loc[n].xs("mean", level=1)
        assert means["factorial"] < means["plug_in"] < means["miller_madow"]
    assert late.loc[30_000, ("plug_in", "std")] < late.loc[1000, ("plug_in", "std")]


def test_discs_alone_in_their_cells_have_no_entropy_to_gain():
    gains = free_gains(50, (0.5, 1.0), Cells(nx=200, dv=0.01, dvy=1.0), np.random.default_rng(1))["factorial"]
    assert np.abs(gains).max() < 0.03


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_the_plan_holds_what_the_notebook_asks_for(profile):
    plan = expansion_runs.plan(profile, range(3, 6), Expansion.profile(profile, turn_back_at=0.5, shown=7))
    assert {seed for _, _, seed in plan} == {3, 4, 5}
    for (kind, kn, seed), run in plan.items():
        assert run.seed == seed
        assert run.replicas == 1
        assert (run.kn is None) == math.isinf(kn)
        assert run.kn in (None, kn)
        if kind in ("discs", "twin"):
            assert run.duration == expansion_runs.COMPARED[kn]
            assert (run.nx, run.dv) == (32, (1.0, 0.5, 0.25))
        if kind == "discs":
            assert (run.turn_back_at, run.shown) == (0, 0)
            assert plan["twin", kn, seed].particles == run.discs
            np.testing.assert_array_equal(run.times(), plan["twin", kn, seed].times())
        if kind == "gas":
            assert 1.0 in run.times()
        if kind == "scaling":
            nu = theory.collision_frequency(kn)
            assert run.dv[0] / nu == pytest.approx(expansion_runs.RATIO)
            assert np.isclose(nu * run.times(), 0.5).any()
    assert all(plan["gas", math.inf, seed].duration == 4 for seed in range(3, 6))
    assert all(plan["gas", 1.0, seed].duration == (1 if profile == "smoke" else 4) for seed in range(3, 6))
    assert {kn for kind, kn, _ in plan if kind == "split"} == set(expansion_runs.SPLIT)


def test_merged_records_are_those_of_one_kind_and_kn():
    runs = {
        (kind, kn, seed): KineticExpansion(particles=100, nx=2, kn=kn, records=1, seed=seed)
        for kind in ("gas", "split")
        for kn in (1.0, 2.0)
        for seed in (0, 1)
    }
    histories = {name: lab.collect(run, progress=False) for name, run in runs.items()}
    merged = expansion_runs.merged(histories, "gas", 2.0)
    assert merged.seed.tolist() == [0, 0, 1, 1]
    assert merged.gain_1.tolist() == [*histories["gas", 2.0, 0].records.gain_1, *histories["gas", 2.0, 1].records.gain_1]
