"""Direct simulation of hard discs: both forms against kinetic theory, against each other and against free motion."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from entropy_utils import information
from entropy_utils.boltzmann_gas import dsmc
from entropy_utils.boltzmann_gas.dsmc import DSMC, scatter
from entropy_utils.boltzmann_gas.dsmc_torch import TorchDSMC
from entropy_utils.lab.errors import ParameterError

FORMS = pytest.mark.parametrize("form", [DSMC, TorchDSMC])


def velocities(n: int, seed: int, t_x: float = 1.0, t_y: float = 1.0) -> np.ndarray:
    """Maxwellian with exactly these temperatures and zero momentum, so that no fluctuation of the start is left."""
    v = np.random.default_rng([seed, 1]).standard_normal((2, n))
    v -= v.mean(1, keepdims=True)
    return v / np.sqrt((v**2).mean(1, keepdims=True)) * np.sqrt([[t_x], [t_y]])


def gas(form=DSMC, n=100_000, kn=0.1, seed=0, filled=1.0, t_x=1.0, t_y=1.0, **changes):
    x = np.random.default_rng([seed, 0]).random(n) * filled
    return form(x, *velocities(n, seed, t_x, t_y), kn, seed=seed, **changes)


def state(simulation) -> np.ndarray:
    return np.array([np.asarray(a) for a in (simulation.x, simulation.vx, simulation.vy)])


def velocity_entropy(simulation, dv=0.25) -> float:
    """Entropy of the shares of cells dv x dv, in nats, Miller-Madow."""
    cells = np.floor(state(simulation)[1:] / dv).astype(int) + 64
    return information.miller_madow_entropy(np.bincount(128 * cells[0] + cells[1]))


def profile(simulation, bins=16) -> np.ndarray:
    return np.histogram(state(simulation)[0], bins=bins, range=(0, 1))[0]


# Collisions one by one


def hits(form, n=400_000, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Relative velocities before and after (complex) of the pairs that collide once in a short time at rest."""
    simulation = gas(form, n=n, seed=seed, cells=2)
    order = np.argsort(np.minimum(state(simulation)[0] * 2, 1).astype(int), kind="stable")
    if form is TorchDSMC:  # stores the particles as they were given
        order = np.arange(n)
    x, *before = state(simulation)[:, order]
    before = before[0] + 1j * before[1]
    simulation.collide(0.02 / simulation.nu)
    after = state(simulation)[1] + 1j * state(simulation)[2]
    np.testing.assert_array_equal(state(simulation)[0], x)
    moved = np.flatnonzero(after != before)
    change = (after - before)[moved]
    key = np.abs(change.real)
    moved, change = moved[np.argsort(key)], change[np.argsort(key)]
    # Neighbours in this order with opposite changes collided with each other; the few that collided twice drop out.
    first = np.flatnonzero(np.abs(change[:-1] + change[1:]) < 1e-12)
    i, j = moved[first], moved[first + 1]
    assert simulation.collisions >= len(first) > 0.9 * simulation.collisions
    return before[i] - before[j], after[i] - after[j]


def angle_p_value(before: np.ndarray, after: np.ndarray) -> float:
    """Kolmogorov-Smirnov test of the angles of deflection against hard discs, P(chi) = sin(chi / 2) / 4 on (0, 2 pi)."""
    chi = np.angle(after / before) % (2 * np.pi)
    return stats.kstest(chi, lambda chi: (1 - np.cos(chi / 2)) / 2).pvalue


@FORMS
def test_pairs_are_deflected_as_hard_discs_are(form):
    before, after = hits(form)
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-9)
    assert angle_p_value(before, after) > 1e-3
    cosine = np.cos(np.angle(after / before))
    assert abs(cosine.mean() + 1 / 3) < 4 * cosine.std() / math.sqrt(len(cosine))


@FORMS
def test_pairs_collide_in_proportion_to_their_relative_speed(form):
    g = np.abs(hits(form, seed=1)[0])
    error = g.std() / math.sqrt(len(g))
    assert abs(g.mean() - 4 / math.sqrt(math.pi)) < 4 * error  # <g^2> / <g>; unweighted it would be sqrt(pi)
    assert abs(g.mean() - math.sqrt(math.pi)) > 20 * error


def rotated(gx, gy, b):
    """A wrong kernel: the impact parameter taken for the angle, uniform in direction."""
    turned = (gx + 1j * gy) * np.exp(1j * np.pi * (1 + b))
    return (gx - turned.real) / 2, (gy - turned.imag) / 2


@pytest.mark.parametrize(("kernel", "right"), [(scatter, True), (rotated, False)])
def test_the_angles_of_a_kernel_and_that_a_wrong_one_would_be_found(kernel, right):
    b = np.random.default_rng(3).uniform(-1, 1, 5000)
    gx, gy = np.random.default_rng(4).standard_normal((2, 5000))
    dx, dy = kernel(gx, gy, b)
    before, after = gx + 1j * gy, gx - 2 * dx + 1j * (gy - 2 * dy)
    np.testing.assert_allclose(np.abs(after), np.abs(before))
    assert bool(angle_p_value(before, after) > 1e-3) is right
    assert bool(abs(np.cos(np.angle(after / before)).mean() + 1 / 3) < 0.04) is right


def test_a_head_on_collision_exchanges_and_a_grazing_one_leaves():
    assert scatter(2.0, -1.0, 0.0) == (2.0, -1.0)
    assert scatter(2.0, -1.0, 1.0) == (0.0, 0.0)
    dx, dy = scatter(1.0, 0.0, 0.6)  # k = (0.8, 0.6)
    assert (dx, dy) == pytest.approx((0.8 * 0.8, 0.8 * 0.6))


def test_the_random_numbers_are_those_of_splitmix64():
    """The published sequence from 1234567."""
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    counters = np.uint64(1234567) + dsmc.GAMMA * np.arange(1, 4, dtype=np.uint64)
    assert [dsmc.uniform(counter) for counter in counters] == [(word >> 11) * 2.0**-53 for word in words]


# How often


@pytest.mark.parametrize(
    ("form", "n", "kn", "cells", "time"),
    [
        (DSMC, 200_000, 0.1, None, 0.4),
        (DSMC, 200_000, 0.1, 2, 0.4),
        (DSMC, 200_000, 0.1, 1000, 0.4),
        (DSMC, 200_000, 10.0, None, 8.0),
        (DSMC, 4000, 0.1, 1000, 10.0),  # four particles in a cell: n (n - 1), not n^2
        (TorchDSMC, 50_000, 0.3, None, 0.5),
        (TorchDSMC, 50_000, 0.3, 2, 0.5),
        (TorchDSMC, 4000, 0.3, 1000, 3.0),
    ],
)
def test_collisions_are_as_many_as_in_a_uniform_gas_whatever_the_cells(form, n, kn, cells, time):
    simulation = gas(form, n=n, kn=kn, cells=cells, seed=5)
    found = simulation.run(time)
    expected = (n - 1) * simulation.nu / 2 * time
    assert simulation.nu == pytest.approx(math.sqrt(math.pi / 2) / kn)
    assert abs(found - expected) < 4 * math.sqrt(expected)
    assert (found, time) == (simulation.collisions, simulation.time)
    assert stats.chisquare(profile(simulation)).pvalue > 1e-3


@FORMS
def test_the_time_of_collisions_may_be_long(form):
    simulation = gas(form, n=40_000, cells=2)
    assert abs(simulation.collide(2 / simulation.nu) - 40_000) < 4 * 200


@FORMS
def test_particles_of_different_cells_do_not_collide(form):
    x = np.linspace(0, 1, 804)[1:]
    left = x < 0.5  # an odd number of particles
    simulation = form(x, *np.where(left, 0, velocities(803, 0)), 0.01, cells=2)
    assert simulation.collide(0.1) > 1000
    x, vx, vy = state(simulation)
    assert (((vx == 0) & (vy == 0)) == (x < 0.5)).all()
    assert left.sum() == 401


@FORMS
def test_energy_and_momentum_along_the_walls_are_conserved(form):
    simulation = gas(form, n=20_000, filled=0.5)
    before = state(simulation)
    assert simulation.run(0.3) > 20_000
    x, vx, vy = state(simulation)
    assert (vx**2 + vy**2).sum() == pytest.approx((before[1:] ** 2).sum(), rel=1e-12)
    assert abs(vy.sum() - before[2].sum()) < 1e-12 * np.abs(before[2]).sum()
    assert x.min() >= 0
    assert x.max() <= 1
    assert abs((vx - before[1]).sum()) > 100  # the walls take momentum across


# How a gas relaxes


@FORMS
def test_entropy_gain_of_an_anisotropic_gas(form):
    """T_x = 1.5, T_y = 0.5 with cells of 0.25; in the end (1/2) ln(1 / (T_x T_y)) less the blur of the cells."""
    simulation = gas(form, n=200_000, kn=0.3, t_x=1.5, t_y=0.5, cells=64)
    start, gained, before = velocity_entropy(simulation), {}, 0.0
    for nu_t in (0.251, 1.003, 4.011) if form is DSMC else (0.251, 1.003):
        simulation.run((nu_t - before) / simulation.nu)
        gained[nu_t], before = velocity_entropy(simulation) - start, nu_t
    assert gained[0.251] == pytest.approx(0.0581, abs=0.003)
    assert gained[1.003] == pytest.approx(0.1222, abs=0.006)
    assert gained.get(4.011, 0.1421) == pytest.approx(0.1421, abs=0.002)


@pytest.mark.parametrize(("form", "n"), [(DSMC, 2_000_000), (TorchDSMC, 1_000_000)])
def test_a_small_anisotropy_decays_with_the_collision_frequency(form, n):
    """In first Sonine order the rate is nu (scattering in all directions alike would give 0.94); the rest is slower."""
    simulation = gas(form, n=n, kn=1.0, t_x=1.3, t_y=0.7)
    simulation.run(0.5 / simulation.nu)
    vx, vy = state(simulation)[1:]
    rate = -math.log((vx**2 - vy**2).mean() / 0.6) / 0.5
    error = 2 / math.sqrt(n) / 0.6 / math.exp(-0.5) / 0.5
    assert abs(rate - 1) < 0.01 + 3 * error


def test_the_error_is_of_second_order_in_the_step():
    """Collisions of an expanding gas: with the motion all before the collisions they would lag by several per cent."""
    found = [gas(n=400_000, kn=1.0, filled=0.5, dt=dt, seed=2).run(0.5) for dt in (0.1, 0.01)]
    assert abs(found[0] - found[1]) < 4 * math.sqrt(sum(found))


def test_an_expanding_gas_follows_exact_discs():
    """Event-driven runs of 1e5 discs, Kn = 1, gained 0.236, 0.232 and 0.237 by t = 1/2 (32 cells in x, 0.5 x 1 in v)."""

    def entropy():
        x, vx, vy = state(simulation)
        cell = [np.minimum(x * 32, 31).astype(int), np.floor(vx / 0.5).astype(int) + 20, np.floor(vy).astype(int) + 10]
        return information.miller_madow_entropy(np.bincount(np.ravel_multi_index(cell, (32, 40, 20))))

    simulation = gas(n=400_000, kn=1.0, filled=0.5)
    start = entropy()
    simulation.run(0.5)
    assert entropy() - start == pytest.approx(0.235, abs=0.003)


def test_both_forms_expand_alike():
    ours, other = (gas(form, n=100_000, kn=0.5, filled=0.5, seed=seed) for seed, form in enumerate((DSMC, TorchDSMC)))
    found = [simulation.run(0.4) for simulation in (ours, other)]
    assert abs(found[0] - found[1]) < 4 * math.sqrt(sum(found))
    assert stats.chi2_contingency([profile(ours), profile(other)]).pvalue > 1e-3
    for a, b in zip(state(ours), state(other), strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-3


# Free motion


@FORMS
@given(dt=st.floats(1e-6, 50), v=st.floats(-50, 50), x=st.floats(0, 1))
def test_free_motion_is_the_motion_between_two_mirrors(form, dt, v, x):
    free = form([x, 0.5], [v, 0.0], [0.3, 0.1], math.inf)
    free.stream(dt)
    unfolded = x + v * dt
    places, speeds, across = state(free)
    assert places[0] == pytest.approx(math.acos(math.cos(math.pi * unfolded)) / math.pi, abs=1e-6)
    assert places[1] == 0.5
    assert 0 <= places[0] <= 1
    if abs(unfolded - round(unfolded)) > 1e-9:
        assert speeds[0] == v * (-1) ** math.floor(unfolded)
    assert (*across,) == (0.3, 0.1)


@FORMS
def test_without_collisions_a_run_is_free_motion(form):
    free, once = (gas(form, n=1000, kn=math.inf) for _ in range(2))
    assert free.nu == 0
    assert free.run(3.0) == 0
    once.stream(3.0)
    np.testing.assert_allclose(state(free), state(once), atol=1e-12)
    assert (free.time, once.time, free.collisions) == (3.0, 3.0, 0)


# Time, cells, seeds


def test_a_step_has_the_length_asked_for():
    simulation = gas(n=1000, kn=0.1)
    assert simulation.dt == pytest.approx(0.1 / simulation.nu)
    simulation.step()
    assert simulation.time == pytest.approx(simulation.dt)
    simulation.step(0.25)
    assert simulation.time == pytest.approx(simulation.dt + 0.25)
    simulation.collide(0.1)
    assert simulation.time == pytest.approx(simulation.dt + 0.25)  # only motion takes time
    assert simulation.run(0) == 0
    assert gas(n=1000, kn=50.0).dt == 0.1


@pytest.mark.parametrize(
    ("n", "kn", "cells"), [(10_000, math.inf, 64), (10_000, 0.1, 64), (10_000, 0.03, 100), (10_000, 1e-4, 1000), (19, 1, 2)]
)
def test_cells_are_narrow_but_not_too_empty(n, kn, cells):
    assert gas(n=n, kn=kn).cells == cells


@FORMS
def test_a_seed_gives_a_run_and_another_seed_another(form):
    one, again, other = (gas(form, n=2000) for _ in range(3))
    other = form(one.x, one.vx, one.vy, 0.1, seed=1)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    untouched = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one.run(10 * one.dt)
    for simulation in (again, other):
        for _ in range(2):
            simulation.run(5 * one.dt)
    np.testing.assert_array_equal(np.random.get_state()[1], untouched[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), untouched[1])
    np.testing.assert_allclose(state(one), state(again), atol=1e-9)
    assert one.collisions == again.collisions
    assert not np.allclose(np.sort(state(one)[1]), np.sort(state(other)[1]))


@FORMS
def test_the_first_state_may_come_from_the_same_seed(form):
    """Positions as keys of the random order, or velocities deciding about collisions, would show in the first step."""
    n, kn, generator = 100_000, 1.0, torch.Generator().manual_seed(0)
    by_torch = torch.rand(n, generator=generator), *torch.randn(2, n, generator=generator)
    rng = np.random.default_rng(0)
    for start in (by_torch, (rng.random(n), *rng.standard_normal((2, n)))):
        simulation = form(*start, kn, seed=0)
        found = simulation.collide(0.1 / simulation.nu)
        assert abs(found - 0.05 * n) < 4 * math.sqrt(0.05 * n)


@FORMS
def test_what_was_given_is_left_alone(form):
    given = [np.random.default_rng(0).random(200), *velocities(200, 0)]
    given = [torch.from_numpy(a) for a in given] if form is TorchDSMC else given
    kept = copy.deepcopy(given)
    form(*given, 0.1).run(0.1)
    for a, b in zip(given, kept, strict=True):
        assert (a == b).all()


def test_single_precision_conserves_as_well_as_it_can():
    simulation = gas(TorchDSMC, n=20_000, dtype=torch.float32)
    energy = (simulation.vx.double() ** 2 + simulation.vy.double() ** 2).sum()
    assert simulation.run(0.1) > 8000
    assert simulation.vx.dtype == torch.float32
    assert float((simulation.vx.double() ** 2 + simulation.vy.double() ** 2).sum() / energy) == pytest.approx(1, abs=1e-6)


@FORMS
def test_lonely_and_resting_particles_do_not_collide(form):
    assert form([0.1, 0.9], [1.0, -1.0], [0.0, 0.0], 0.01, cells=2).collide(1.0) == 0
    assert form([0.1, 0.2, 0.3], [0.0] * 3, [0.0] * 3, 0.01).collide(1.0) == 0


# What cannot be used

NAN, INF = math.nan, math.inf


@FORMS
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kn": 0.0}, "field 'kn': got 0.0"),
        ({"kn": -0.1}, "field 'kn': got -0.1"),
        ({"kn": NAN}, "field 'kn': got nan"),
        ({"kn": True}, "field 'kn': got True"),
        ({"kn": "1"}, "field 'kn': got '1'"),
        ({"cells": 3}, "field 'cells': got 3 .* even integer from 2 to 4"),
        ({"cells": 0}, "field 'cells': got 0"),
        ({"cells": 6}, "field 'cells': got 6"),
        ({"cells": 2.5}, "field 'cells': got 2.5"),
        ({"cells": INF}, "field 'cells': got inf"),
        ({"dt": 0}, "field 'dt': got 0"),
        ({"dt": -0.1}, "field 'dt': got -0.1"),
        ({"dt": INF}, "field 'dt': got inf"),
        ({"seed": -1}, "field 'seed': got -1"),
        ({"seed": 0.5}, "field 'seed': got 0.5"),
        ({"x": [0.1, 0.2, 0.3, 1.1]}, "field 'x': got 1.1 .* from 0 to 1"),
        ({"x": [0.1, 0.2, -0.1, 0.3]}, "field 'x': got -0.1"),
        ({"x": [0.1, NAN, 0.2, 0.3]}, "field 'x': got nan"),
        ({"vx": [0.0, 1.0, NAN, 0.0]}, "field 'vx': got nan .* finite"),
        ({"vy": [0.0, 1.0, -INF, 0.0]}, "field 'vy': got -inf"),
        ({"vy": [0.0, 1.0, 0.0]}, r"shape of 'vy': got \(3,\)"),
        ({"vx": [[0.0, 1.0], [0.0, 1.0]]}, r"shape of 'vx': got \(2, 2\)"),
        ({"vx": ["a", 0.0, 0.0, 0.0]}, "field 'vx'"),
        ({"x": [0.5], "vx": [0.0], "vy": [0.0]}, r"shape of 'x': got \(1,\) .* at least 2"),
    ],
)
def test_wrong_input_is_named_in_one_line(form, changes, named):
    right = {"x": [0.1, 0.2, 0.3, 1.0], "vx": [0.0, 1, -1, 0], "vy": [0.0] * 4, "kn": 1.0}
    form(**right)
    with pytest.raises(ParameterError, match=named) as caught:
        form(**right | changes)
    assert "\n" not in str(caught.value)


@FORMS
@pytest.mark.parametrize("call", ["stream", "collide", "step", "run"])
@pytest.mark.parametrize("dt", [-0.1, NAN, INF, "1", 0.0])
def test_a_wrong_time_is_named_and_nothing_moves(form, call, dt):
    simulation = gas(form, n=10)
    if call == "run" and dt == 0:
        return
    before = state(simulation)
    with pytest.raises(ParameterError, match=f"'{'duration' if call == 'run' else 'dt'}': got {dt!r}"):
        getattr(simulation, call)(dt)
    np.testing.assert_array_equal(state(simulation), before)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"device": "moon"}, "'device': got 'moon'"), ({"dtype": torch.int64}, "'dtype': got torch.int64")],
)
def test_a_wrong_device_or_type_is_named(changes, named):
    with pytest.raises(ParameterError, match=named):
        gas(TorchDSMC, n=10, **changes)
