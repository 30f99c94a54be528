"""The peer of the hard-disc bench must be right, too: against the naive engine, what is known, and with too little room."""

from __future__ import annotations

import math

import numpy as np
import pytest

from entropy_utils.boltzmann_gas.calendar_dynamics import HELD, CalendarDiscs
from entropy_utils.boltzmann_gas.dynamics import HardDiscs, maxwellian
from entropy_utils.boltzmann_gas.naive_dynamics import NaiveDiscs
from entropy_utils.lab.errors import ParameterError
from tests.boltzmann_gas.test_dynamics import CASES, assert_same_until_chaos, gas, pairs


@pytest.mark.parametrize(("start", "duration", "least"), CASES.values(), ids=CASES)
def test_the_calendar_gives_the_collisions_of_the_naive_engine(start, duration, least):
    given = gas(**start, seed=3)
    run, plain = CalendarDiscs(*given), NaiveDiscs(*given)
    log = run.run(duration, log=True)
    assert_same_until_chaos(log, plain.run(duration), least)
    assert run.collisions == len(log.times)
    assert run.time == duration


def test_both_fast_engines_end_at_the_same_places():
    given = gas(2000, 0.3, seed=8)
    ours, peer = HardDiscs(*given), CalendarDiscs(*given)
    ours.run(0.05)
    peer.run(0.05)
    assert ours.collisions == peer.collisions > 100
    for name in ("x", "y", "vx", "vy"):
        np.testing.assert_allclose(getattr(peer, name), getattr(ours, name), rtol=0, atol=1e-9)


def test_a_run_in_parts_is_the_run():
    given = gas(64, 0.2, seed=5)
    whole, parts = CalendarDiscs(*given), CalendarDiscs(*given)
    expected = whole.run(0.5, log=True)
    found = [parts.run(0.05, log=True) for _ in range(10)]
    assert [pair for part in found for pair in pairs(part)] == pairs(expected)
    np.testing.assert_allclose(parts.x, whole.x, rtol=0, atol=1e-15)


def test_energy_and_momentum_are_kept_and_nobody_overlaps():
    given = gas(2000, 0.05, seed=1)
    run = CalendarDiscs(*given)
    energy, momentum = run.energy, run.vy.sum()
    run.run(2.0)
    assert run.collisions > 20_000
    assert abs(run.energy / energy - 1) < 1e-12
    assert abs(run.vy.sum() - momentum) < 1e-10
    HardDiscs(run.x, run.y, run.vx, run.vy, given[4])  # refuses what overlaps


@pytest.mark.parametrize(("n", "kn", "time", "chi", "room"), [(4000, 0.1, 2.0, 1.0, 0.015), (4000, 0.01, 0.5, 1.568, 0.03)])
def test_the_collision_frequency_is_that_of_the_gas(n, kn, time, chi, room):
    run = CalendarDiscs(*gas(n, kn))
    run.run(time)
    assert 2 * run.collisions / n / time / (math.sqrt(math.pi / 2) / kn) == pytest.approx(chi, abs=room)


def test_walls_reflect_and_y_is_a_ring():
    lone = CalendarDiscs([0.9, 0.1], [0.1, 1.9], [1.0, -0.5], [-1.0, 0.6], 1e-6, height=2.0)
    lone.run(0.5)
    np.testing.assert_allclose(lone.x, [0.6, 0.15], atol=1e-14)
    np.testing.assert_allclose(lone.y, [1.6, 0.2], atol=1e-14)
    np.testing.assert_array_equal(lone.vx, [-1.0, 0.5])


def test_resting_discs_stay():
    n = 1000
    x, y = np.meshgrid((np.arange(40) + 0.5) / 40, (np.arange(25) + 0.5) / 25)
    run = CalendarDiscs(x.ravel(), y.ravel(), np.zeros(n), np.zeros(n), 0.01)
    run.run(2.0)
    np.testing.assert_array_equal(run.x, x.ravel())
    assert run._ring.shape[1] == 32


def test_lists_that_run_over_get_more_room():
    given = gas(400, 0.1, seed=6)
    run = CalendarDiscs(*given)
    most = int(run._cells[:, 0].max())
    run._cells, run._ring = run._cells[:, : most + 1].copy(), run._ring[:, :3].copy()
    run._hand = np.empty(1000, HELD)
    log = run.run(0.2, log=True)
    assert run._cells.shape[1] > most + 1
    assert run._ring.shape[1] > 3
    expected = CalendarDiscs(*given).run(0.2, log=True)
    assert len(expected.times) > 400  # the log grew, too
    assert pairs(log) == pairs(expected)
    np.testing.assert_array_equal(log.times, expected.times)


def test_a_full_bucket_at_hand_is_cleared():
    given = gas(64, 0.1, seed=3)
    run = CalendarDiscs(*given)
    run._box = run._box._replace(per_time=0.5)  # one bucket takes all
    run._ring = np.zeros((4, 65), np.int32)
    assert_same_until_chaos(run.run(0.5, log=True), NaiveDiscs(*given).run(0.5), 150)


def test_wrong_input_is_refused():
    with pytest.raises(ParameterError, match=r"field 'sigma': got 0\.2 .*a third of the height 0\.5"):
        CalendarDiscs([0.2, 0.7], [0.1, 0.3], [0.0, 0.0], [0.0, 0.0], 0.2, height=0.5)
    with pytest.raises(ParameterError, match="field 'x'"):
        CalendarDiscs([0.2, 1.7], [0.1, 0.3], *maxwellian(2, np.random.default_rng(0)), 0.01)


def test_reversed_velocities_lead_back():
    given = gas(400, 1.0, seed=2, width=0.5)
    run = CalendarDiscs(*given)
    run.run(0.5)
    turned = run.collisions
    run.reverse()
    run.run(0.5)
    assert run.time == pytest.approx(1.0)
    assert run.collisions == pytest.approx(2 * turned, rel=0.1)
    back = (abs(run.x - given[0]) < 1e-6) & (abs(run.vx + given[2]) < 1e-4)
    assert back.mean() > 0.95
