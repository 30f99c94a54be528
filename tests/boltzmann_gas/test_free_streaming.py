"""Free motion between two walls: exact, reversible, and the gas it starts from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from entropy_utils.boltzmann_gas.free_streaming import start, stream
from entropy_utils.lab.errors import ParameterError

POSITIONS = st.floats(0, 1)
VELOCITIES = st.floats(-20, 20)
DURATIONS = st.floats(-10, 10)


def for_all(*strategies):
    """Try the test on 200 draws, the same in every run."""
    return lambda test: settings(deadline=None, max_examples=200, derandomize=True)(given(*strategies)(test))


def bounced(x, v, time):
    """The same, wall after wall."""
    while True:
        wall = 1.0 if v > 0 else 0.0
        until = (wall - x) / v
        if until >= time:
            return x + v * time, v
        x, v, time = wall, -v, time - until


def test_particles_bounce_from_wall_to_wall():
    rng = np.random.default_rng(0)
    x, v = rng.random(300), rng.normal(size=300)
    moved = stream(x, v, 7.3)
    np.testing.assert_allclose(np.transpose(moved), [bounced(*one, 7.3) for one in zip(x, v, strict=True)], atol=1e-12)
    assert (moved[1] != v).any()


def test_one_particle_by_hand():
    for time, x, v in ((0.25, 1.0, 1.0), (0.5, 0.75, -1.0), (1.5, 0.25, 1.0), (-1.0, 0.25, -1.0), (2.0, 0.75, 1.0)):
        assert [float(a) for a in stream(0.75, 1.0, time)] == [x, v]


def test_reversed_velocities_lead_back_to_the_start():
    rng = np.random.default_rng(3)
    x, vx, _ = start(2000, rng)
    later, v = stream(x, vx, 9.7)
    back, v = stream(later, -v, 9.7)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(-v, vx)
    assert np.abs(later - x).max() > 0.5


@for_all(POSITIONS, VELOCITIES, DURATIONS, DURATIONS)
def test_two_times_add_up(x, v, first, second):
    there, _ = stream(*stream(x, v, first), second)
    at_once, v_at_once = stream(x, v, first + second)
    assert there == pytest.approx(at_once, abs=1e-11)
    assert 0 <= at_once <= 1
    assert abs(v_at_once) == abs(v)


@for_all(POSITIONS, VELOCITIES, DURATIONS)
def test_the_mirror_image_moves_as_the_mirror_image(x, v, time):
    assert stream(1 - x, -v, time)[0] == pytest.approx(1 - stream(x, v, time)[0], abs=1e-12)


def test_the_arrays_given_are_left_alone():
    x, v = np.array([0.9, 0.2]), np.array([1.0, -1.0])
    new = stream(x, v, 0.0)
    for old, fresh, value in zip((x, v), new, ([0.9, 0.2], [1, -1]), strict=True):
        assert not np.shares_memory(old, fresh)
        np.testing.assert_array_equal(old, value)
        np.testing.assert_array_equal(fresh, value)


def test_many_at_once_in_any_shape():
    x, v = np.random.default_rng(5).random((2, 3, 4))
    moved = stream(x, v, 2.2)
    assert moved[0].shape == moved[1].shape == (3, 4)
    np.testing.assert_array_equal(moved[0][1, 2], stream(x[1, 2], v[1, 2], 2.2)[0])


@pytest.mark.parametrize(
    ("profile", "filled"),
    [("step", lambda x: np.clip(2 * x, 0, 1)), ("cosine", lambda x: x + np.sin(np.pi * x) / np.pi)],
)
def test_the_start_has_its_profile_and_is_maxwellian(profile, filled):
    x, vx, vy = start(40_000, np.random.default_rng(8), profile)
    assert x.shape == vx.shape == vy.shape == (40_000,)
    assert kstest(x, filled).pvalue > 0.01
    assert kstest(vx, "norm").pvalue > 0.01
    assert kstest(vy, "norm").pvalue > 0.01
    assert np.abs(np.corrcoef([x, vx, vy]) - np.eye(3)).max() < 4 / 200


def test_the_step_fills_the_left_half_and_a_seed_repeats_it():
    one, same, other = (start(1000, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert 0 <= one[0].min() < one[0].max() <= 0.5
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


X, V = [0.1, 0.2], [1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: stream([0.1, 1.1], V, 1), "field 'x': got 1.1 (float), allowed: numbers from 0 to 1"),
        (lambda: stream([-0.1, 1], V, 1), "field 'x': got -0.1"),
        (lambda: stream([np.nan, 1], V, 1), "field 'x': got nan"),
        (lambda: stream(X, [np.inf, 1], 1), "field 'vx': got inf (float), allowed: finite numbers"),
        (lambda: stream(X, [1.0], 1), "shape of field 'vx': got (1,) (tuple), allowed: one shape for all"),
        (lambda: stream([], [], 1), "shape of field 'x': got (0,)"),
        (lambda: stream(["a", "b"], V, 1), "field 'x': got ['a', 'b'] (list), allowed: real numbers"),
        (lambda: stream(X, V, np.nan), "field 'time': got nan (float), allowed: finite number"),
        (lambda: stream(X, V, V), "field 'time': got [1.0, 2.0]"),
        (lambda: stream(X, V, "1"), "field 'time': got '1'"),
        (lambda: start(0, np.random.default_rng(0)), "field 'n': got 0 (int), allowed: integer from 1"),
        (lambda: start(1e3, np.random.default_rng(0)), "field 'n': got 1000.0"),
        (
            lambda: start(5, np.random.default_rng(0), "ramp"),
            "field 'profile': got 'ramp' (str), allowed: 'step' or 'cosine'",
        ),
    ],
)
def test_wrong_input_is_named_in_one_line(call, named):
    with pytest.raises(ParameterError) as caught:
        call()
    assert str(caught.value).startswith(named)
    assert "\n" not in str(caught.value)
