"""The expansion as experiments: what is recorded, against numbers measured elsewhere, turned around, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest

from entropy_utils.boltzmann_gas.calendar_dynamics import CalendarDiscs
from entropy_utils.boltzmann_gas.dynamics import HardDiscs
from entropy_utils.boltzmann_gas.expansion import Expansion, KineticExpansion, packed, snapshot
from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import collect

GAINS = ["gain_1", "gain_0.5", "gain_0.25"]


def records(experiment):
    return collect(experiment, progress=False).records


def at(experiment) -> np.ndarray:
    """The gains in cells of 1, 0.5 and 0.25 at the observed times after the start, mean of the seeds."""
    return records(experiment).query("time > 0").groupby("time")[GAINS].mean().to_numpy()


def test_discs_gain_what_an_earlier_study_measured():
    # 100 000 discs, one microstate each there (scatter 0.005); the mean of two here
    rare = at(Expansion(discs=100_000, kn=1.0, duration=1.0, records=2, replicas=2))
    np.testing.assert_allclose(rare, [[0.307, 0.229, 0.192], [0.597, 0.520, 0.486]], atol=0.01)
    dense = at(Expansion(discs=100_000, kn=0.1, duration=0.5, records=2, replicas=2))
    np.testing.assert_allclose(dense, [[0.154, 0.125, 0.116], [0.403, 0.377, 0.369]], atol=0.01)


def test_boltzmanns_equation_gains_what_an_earlier_study_measured():
    # there the time step cost up to 0.008, see test_dsmc
    rare = at(KineticExpansion(particles=500_000, kn=1.0, duration=1.0, records=2))
    np.testing.assert_allclose(rare, [[0.316, 0.240, 0.207], [0.601, 0.530, 0.499]], atol=0.01)
    free = at(KineticExpansion(particles=500_000, kn=None, duration=1.0, records=2))
    np.testing.assert_allclose(free, [[0.241, 0.124, 0.063], [0.481, 0.248, 0.125]], atol=0.003)


def test_streaming_and_collisions_sum_to_the_gain_in_the_shares_that_an_earlier_study_measured():
    seen = records(KineticExpansion(particles=200_000, kn=1.0, nx=32, duration=1.0, records=2, split=True))
    for dv, streaming, collisional in (("1", 0.343, 0.257), ("0.5", 0.156, 0.371), ("0.25", 0.070, 0.426)):
        parts = seen[f"streaming_{dv}"], seen[f"collisional_{dv}"]
        np.testing.assert_allclose(parts[0] + parts[1], seen[f"gain_{dv}"], atol=1e-12)
        assert parts[0].iloc[-1] == pytest.approx(streaming, abs=0.015)
        assert parts[1].iloc[-1] == pytest.approx(collisional, abs=0.02)


@pytest.mark.parametrize(
    ("kn", "turn", "there", "back", "room"),
    [(1.0, 0.5, 0.233, 0.005, 0.02), (1.0, 1.0, 0.512, 0.135, 0.04), (0.1, 0.25, 0.130, 0.040, 0.02)],
)
def test_turned_around_the_gas_finds_home_as_far_as_digits_last(kn, turn, there, back, room):
    gas = Expansion(discs=20_000, kn=kn, nx=16, dv=(0.5,), duration=2 * turn, records=2, turn_back_at=turn, replicas=2)
    seen = records(gas).groupby("time")["gain_0.5"].mean()
    assert seen.iloc[1] == pytest.approx(there, abs=0.015)
    assert seen.iloc[2] == pytest.approx(back, abs=room)


def test_records_of_a_run():
    gas = Expansion(discs=400, kn=0.5, duration=0.4, records=4, turn_back_at=0.25, shown=7, replicas=2, seed=3)
    seen = records(gas)
    assert len(seen) == gas.length() == 10
    assert seen.seed.tolist() == [3] * 5 + [4] * 5
    np.testing.assert_allclose(seen.time[:5], [0, 0.1, 0.2, 0.3, 0.4])
    assert (seen.iloc[[0, 5]][[*GAINS, "gain_hydrodynamic"]] == 0).all(axis=None)
    assert (seen.energy_error.abs() < 1e-12).all()
    assert seen.left[0] == 1
    assert seen.left[2] > seen.left[4] - 0.2
    x, y, vx = snapshot(seen.snapshot[0])
    assert len(x) == len(y) == len(vx) == 7
    assert (x <= 0.5).all()


def test_a_run_does_not_depend_on_how_often_it_is_looked_at():
    often, once = (records(Expansion(discs=300, kn=1.0, duration=0.3, records=n)) for n in (6, 1))
    np.testing.assert_allclose(often[GAINS].iloc[-1], once[GAINS].iloc[-1], atol=1e-9)


@pytest.mark.parametrize(
    ("discs", "kn", "engine"), [(4000, 0.03, CalendarDiscs), (4000, 0.1, HardDiscs), (400, 1.0, HardDiscs)]
)
def test_a_dense_gas_gets_the_engine_for_it(discs, kn, engine):
    assert type(Expansion(discs=discs, kn=kn).gas(0)) is engine


def test_snapshots_keep_four_digits():
    rng = np.random.default_rng(0)
    given = rng.random(50), rng.random(50), np.clip(3 * rng.normal(size=50), -6, 6)
    for before, after, width in zip(given, snapshot(packed(*given)), (1, 1, 12), strict=True):
        np.testing.assert_allclose(after, before, atol=width / 65535)


WRONG = {
    "crowded": (
        Expansion,
        {"discs": 4000, "kn": 0.005},
        r"fill 2 of their half, allowed: at most 0\.45",
    ),
    "no size": (Expansion, {"kn": 0.0}, "field 'kn': got 0.0 .*above 0"),
    "one disc": (Expansion, {"discs": 1}, "field 'discs': got 1 .*from 2"),
    "no edge at the wall": (Expansion, {"nx": 31}, "even number"),
    "turned too late": (Expansion, {"duration": 1.0, "turn_back_at": 1.0}, "turn_back_at 1, allowed: below duration 1"),
    "no width": (KineticExpansion, {"dv": ()}, "field 'dv'"),
    "negative width": (KineticExpansion, {"dv": (0.5, -1.0)}, "dv"),
    "negative kn": (KineticExpansion, {"kn": -1.0}, "field 'kn': got -1.0"),
}


@pytest.mark.parametrize(("kind", "fields", "message"), WRONG.values(), ids=WRONG)
def test_wrong_parameters_are_one_line_before_any_work(kind, fields, message):
    with pytest.raises(ParameterError, match=message):
        kind(**fields)
