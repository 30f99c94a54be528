"""The windowed engine against the naive one, against what is known exactly, and at its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from entropy_utils.boltzmann_gas import dynamics, event_kernels
from entropy_utils.boltzmann_gas.dynamics import HardDiscs, maxwellian, place
from entropy_utils.boltzmann_gas.naive_dynamics import NaiveDiscs
from entropy_utils.lab.errors import ParameterError


def gas(n: int, kn: float, seed: int = 0, height: float = 1.0, width: float = 1.0) -> tuple:
    """x, y, vx, vy, sigma, height of n discs at random, in the part x < width of the box."""
    rng = np.random.default_rng(seed)
    sigma = height / (2 * math.sqrt(2) * n * kn)
    centres = place(n, sigma, rng, width, height)
    return *centres.T, *maxwellian(n, rng), sigma, height


def pairs(collisions) -> list[tuple[int, int]]:
    return [tuple(sorted(pair)) for pair in zip(collisions.first, collisions.second, strict=True)]


def assert_same_until_chaos(ours, plain, least: int) -> None:
    """The same pairs at the same times, to 1e-10, for at least so many collisions."""
    both = min(len(ours.times), len(plain.times))
    same = next((k for k, (a, b) in enumerate(zip(pairs(ours), pairs(plain), strict=False)) if a != b), both)
    assert same >= least
    np.testing.assert_allclose(ours.times[:least], plain.times[:least], rtol=0, atol=1e-10)


# the two engines

DENSE = {"n": 64, "kn": 0.06, "height": 1.0}  # packing fraction 0.43
CASES = {
    "moderate": ({"n": 64, "kn": 0.1}, 0.5, 150),
    "dense": (DENSE, 0.1, 60),
    "dilute": ({"n": 64, "kn": 2.0}, 2.0, 15),
    "high box": ({"n": 60, "kn": 0.3, "height": 3.0}, 1.0, 60),
    "flat box": ({"n": 60, "kn": 0.3, "height": 0.4}, 1.0, 30),
    "from one half": ({"n": 64, "kn": 0.3, "width": 0.5}, 1.0, 50),
}


@pytest.mark.parametrize(("start", "duration", "least"), CASES.values(), ids=CASES)
def test_both_engines_give_the_same_collisions(start, duration, least):
    given = gas(**start, seed=3)
    assert_same_until_chaos(HardDiscs(*given).run(duration, log=True), NaiveDiscs(*given).run(duration), least)


def test_a_run_in_parts_is_the_run():
    given = gas(64, 0.2, seed=5)
    whole, parts = HardDiscs(*given), HardDiscs(*given)
    expected = whole.run(0.5, log=True)
    found = [parts.run(0.05, log=True) for _ in range(10)]
    assert parts.time == pytest.approx(0.5, abs=1e-14)
    joined = dynamics.Collisions(*(np.concatenate(column) for column in zip(*found, strict=True)))
    assert_same_until_chaos(joined, expected, 60)


class Skipping(NaiveDiscs):
    """A faulty engine: one collision in a hundred does nothing."""

    skipped = 0

    def bounce(self, i, j):
        self.skipped += 1
        if self.skipped % 100:
            super().bounce(i, j)


def test_an_engine_that_skips_one_collision_in_a_hundred_is_found_out():
    start, duration, least = CASES["moderate"]
    given = gas(**start, seed=3)
    ours = HardDiscs(*given).run(duration, log=True)
    with pytest.raises(AssertionError):
        assert_same_until_chaos(ours, Skipping(*given).run(duration), least)


# what is known exactly


def test_two_discs_meet_head_on_and_exchange_velocities():
    pair = HardDiscs([0.2, 0.6], [0.5, 0.5], [1.0, -1.0], [0.0, 0.0], 0.1)
    log = pair.run(0.3, log=True)
    np.testing.assert_allclose(log.times, [0.15], atol=1e-15)
    np.testing.assert_allclose([pair.x, pair.vx], [[0.2, 0.6], [-1.0, 1.0]], atol=1e-15)


def test_an_oblique_collision_turns_the_part_along_the_centres():
    # touching at 30 degrees: the line of the centres is (cos, sin) of -30 degrees from the resting disc's side
    k, sigma = np.array([math.cos(math.pi / 6), math.sin(math.pi / 6)]), 0.1
    start = np.array([0.5, 0.5]) - sigma * k - [0.2, 0.0]
    pair = HardDiscs([start[0], 0.5], [start[1], 0.5], [1.0, 0.0], [0.0, 0.0], sigma)
    pair.run(0.25)
    np.testing.assert_allclose([pair.vx[1], pair.vy[1]], k[0] * k, atol=1e-12)
    np.testing.assert_allclose([pair.vx[0], pair.vy[0]], [1, 0] - k[0] * k, atol=1e-12)


def test_the_walls_reflect_centres_and_y_is_a_ring():
    lone = HardDiscs([0.9, 0.1], [0.1, 1.9], [1.0, -0.5], [-1.0, 0.6], 1e-6, height=2.0)
    lone.run(0.5)
    np.testing.assert_allclose(lone.x, [0.6, 0.15], atol=1e-14)
    np.testing.assert_allclose(lone.y, [1.6, 0.2], atol=1e-14)
    np.testing.assert_allclose(lone.vx, [-1.0, 0.5])
    assert lone.wall_hits == 2


def test_discs_meet_through_the_ring():
    pair = HardDiscs([0.5, 0.5], [0.05, 0.95], [0.0, 0.0], [-1.0, 1.0], 0.02)
    assert pair.run(0.1, log=True).times == pytest.approx([0.04])


def test_energy_and_momentum_are_kept_and_nobody_overlaps():
    run = HardDiscs(*gas(2000, 0.05, seed=1))
    energy, momentum = run.energy, run.vy.sum()
    run.run(2.0)
    assert run.collisions > 20_000
    assert abs(run.energy / energy - 1) < 1e-12
    assert abs(run.vy.sum() - momentum) < 1e-10
    assert ((run.x >= 0) & (run.x <= 1) & (run.y >= 0) & (run.y < 1)).all()
    HardDiscs(run.x, run.y, run.vx, run.vy, run.sigma)  # refuses what overlaps


@pytest.mark.parametrize(("n", "kn", "time", "chi", "room"), [(4000, 0.1, 2.0, 1.0, 0.015), (4000, 0.01, 0.5, 1.568, 0.03)])
def test_the_collision_frequency_is_that_of_the_gas(n, kn, time, chi, room):
    run = HardDiscs(*gas(n, kn))
    run.run(time)
    assert 2 * run.collisions / n / time / (math.sqrt(math.pi / 2) / kn) == pytest.approx(chi, abs=room)


def test_reversed_velocities_lead_back():
    given = gas(400, 1.0, seed=2, width=0.5)
    run = HardDiscs(*given)
    run.run(0.5)
    assert (run.x > 0.5).mean() > 0.2
    assert run.collisions > 50
    run.reverse()
    run.run(0.5)
    back = (abs(run.x - given[0]) < 1e-6) & (abs(run.vx + given[2]) < 1e-4)  # the rest met too often for 16 digits
    assert back.mean() > 0.95


# its limits


def test_single_precision_loses_no_pair(monkeypatch):
    given = gas(300, 0.3, seed=4)
    expected = HardDiscs(*given).run(0.3, log=True)
    window = event_kernels.window

    def all_pairs(*arguments):  # the eighth argument is the room for rounding: now nothing is sorted out beforehand
        return window(*arguments[:7], 1e9, *arguments[8:])

    monkeypatch.setattr(event_kernels, "window", all_pairs)
    found = HardDiscs(*given).run(0.3, log=True)
    assert pairs(found) == pairs(expected)
    np.testing.assert_array_equal(found.times, expected.times)


def shrink(run: HardDiscs, size: int) -> None:
    """Buffers for so many events."""
    run._times, run._pairs = run._times[:size], run._pairs[:size]
    run._heap_times, run._heap = run._heap_times[:size], run._heap[:size]


@pytest.mark.parametrize("size", [3, 10, 40])
def test_events_that_do_not_fit_halve_the_window(size):
    given = gas(100, 0.2, seed=6)
    run, plain = HardDiscs(*given), NaiveDiscs(*given)
    shrink(run, size)
    found = run.run(0.3, log=True)
    assert len(run._times) == size
    assert_same_until_chaos(found, plain.run(0.3), 60)


def test_a_window_far_too_long_is_halved_until_it_fits(monkeypatch):
    given = gas(400, 0.1, seed=6)
    monkeypatch.setattr(HardDiscs, "_window_length", lambda self: 0.2 / self._numbers[event_kernels.FASTEST])
    found = HardDiscs(*given).run(0.1, log=True)
    monkeypatch.undo()
    assert_same_until_chaos(found, HardDiscs(*given).run(0.1, log=True), 200)


def test_cells_grow_with_a_crowd():
    n = 600
    centres = place(n, 0.001, np.random.default_rng(0), 0.05, 0.05)  # all in one corner of the box
    velocities = maxwellian(n, np.random.default_rng(1))
    run = HardDiscs(*centres.T, *velocities, 0.001)
    assert_same_until_chaos(run.run(2e-4, log=True), NaiveDiscs(*centres.T, *velocities, 0.001).run(2e-4), 5)
    assert run._members.shape[1] > 4 * run._room


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(monkeypatch):
    given = gas(500, 0.1, seed=7)
    expected, run = HardDiscs(*given), HardDiscs(*given)
    expected.run(0.2)
    window, calls = HardDiscs._window, []

    def interrupted(self, dt, *log):
        calls.append(dt)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return window(self, dt, *log)

    monkeypatch.setattr(HardDiscs, "_window", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(0.2)
    monkeypatch.undo()
    assert 0 < run.time < 0.2
    run.run(0.2 - run.time)
    np.testing.assert_allclose(run.x, expected.x, atol=1e-9)
    assert run.collisions == expected.collisions


def test_resting_discs_stay():
    run = HardDiscs([0.2, 0.7], [0.1, 0.3], [0.0, 0.0], [0.0, 0.0], 0.01)
    run.run(10.0)
    np.testing.assert_array_equal(run.x, [0.2, 0.7])
    assert run.time == 10.0


# placement and errors


def test_placement_is_uniform_and_free_of_overlap():
    centres = place(20_000, 0.002, np.random.default_rng(3), 0.5, 1.0)
    assert ((centres >= 0) & (centres < [0.5, 1.0])).all()
    counts, _, _ = np.histogram2d(*centres.T, bins=10, range=[[0, 0.5], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
    HardDiscs(*centres.T, *maxwellian(20_000, np.random.default_rng(0)), 0.002)


def test_velocities_have_momentum_zero_and_temperature_one():
    vx, vy = maxwellian(1000, np.random.default_rng(0))
    assert abs(vx.sum()) + abs(vy.sum()) < 1e-10
    assert (vx**2 + vy**2).sum() / 2000 == pytest.approx(1.0, abs=1e-12)
    assert stats.kstest(vx, "norm").pvalue > 1e-3


FINE = {"x": [0.2, 0.7], "y": [0.5, 0.5], "vx": [1.0, 0.0], "vy": [0.0, 1.0], "sigma": 0.01}
WRONG = {
    "overlap": ({"x": [0.2, 0.205]}, r"field 'x, y': got 'discs 0 and 1' .*centres at least sigma = 0\.01 apart"),
    "overlap through the ring": ({"x": [0.2, 0.2], "y": [0.001, 0.999]}, "discs 0 and 1"),
    "too dense": ({"sigma": 0.8}, r"field 'sigma': got 0\.8 .*packing fraction up to 0\.7; 2 such discs have 1\.01"),
    "no size": ({"sigma": 0.0}, "field 'sigma': got 0.0 .*allowed: a finite number above 0"),
    "one disc": ({"x": [0.2], "y": [0.2], "vx": [0.0], "vy": [0.0]}, r"field 'x': got 'shape \(1,\)'.*at least 2 discs"),
    "outside": ({"x": [0.2, 1.2]}, r"field 'x': got 1\.2 .*numbers from 0 to 1"),
    "nowhere": ({"y": [0.2, math.nan]}, r"field 'y': got nan .*numbers from 0 to 1"),
    "infinitely fast": ({"vx": [math.inf, 0.0]}, "field 'vx': got inf .*finite numbers"),
    "lengths": ({"vy": [0.0]}, r"field 'vy': got 'shape \(1,\)'"),
    "height": ({"height": -1.0}, r"field 'height': got -1\.0"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(change, message):
    with pytest.raises(ParameterError, match=message):
        HardDiscs(**FINE | change)


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf])
def test_a_wrong_duration_is_refused(duration):
    with pytest.raises(ParameterError, match="field 'duration'"):
        HardDiscs(**FINE).run(duration)


def test_a_crowd_that_finds_no_room_is_told_how_many_did():
    with pytest.raises(ParameterError, match=r"field 'n': got 700 .*about \d+ discs of diameter 0\.034"):
        place(700, 0.034, np.random.default_rng(0))  # packing fraction 0.64
    with pytest.raises(ParameterError, match=r"packing fraction up to 0\.7"):
        place(1000, 0.034, np.random.default_rng(0))
