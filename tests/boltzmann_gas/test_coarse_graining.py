"""Cells and counts: what is counted where, what the estimates of entropy do, and how they follow the theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

from entropy_utils.boltzmann_gas import theory
from entropy_utils.boltzmann_gas.coarse_graining import Cells, count_change, entropy, hydrodynamic_entropy_of
from entropy_utils.boltzmann_gas.free_streaming import start, stream
from entropy_utils.lab.errors import ParameterError

ESTIMATORS = ("plug_in", "miller_madow", "factorial")


def for_all(*strategies):
    """Try the test on 60 draws, the same in every run."""
    return lambda test: settings(deadline=None, max_examples=60, derandomize=True)(given(*strategies)(test))


@st.composite
def gases(draw):
    """A few particles: positions and velocities of any seed, slow or fast."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 60))
    return rng.random(n), *rng.normal(scale=draw(st.sampled_from([0.1, 1.0, 5.0])), size=(2, n))


def gains(cells, n, time, rng, profile="step"):
    """Entropy gained in free motion from one start, by every estimator."""
    x, vx, vy = start(n, rng, profile)
    before, after = cells.occupations(x, vx, vy), cells.occupations(*stream(x, vx, time), vy)
    return [entropy(after, estimator) - entropy(before, estimator) for estimator in ESTIMATORS]


# What is counted where


def test_counts_are_a_histogram():
    rng = np.random.default_rng(2)
    cells = Cells(nx=6, dv=0.7, dvy=1.5, largest=4)
    assert cells.shape == (6, 12, 6)  # up to 4.2 along x, 4.5 along y
    x, vx, vy = rng.random(5000), *rng.normal(scale=3, size=(2, 5000))
    edges = [np.arange(7) / 6, np.arange(-6, 7) * 0.7, np.arange(-3, 4) * 1.5]
    inside = [x, np.clip(vx, -4.1, 4.1), np.clip(vy, -4.4, 4.4)]
    counts = cells.occupations(x, vx, vy)
    np.testing.assert_array_equal(counts, np.histogramdd(inside, bins=edges)[0])
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("particle", "cell"),
    [
        ((0.0, 0.0, 0.0), (0, 2, 1)),
        ((0.4999999, -1e-300, -1e-300), (1, 1, 0)),  # the wall and v = 0 are edges
        ((0.5, 0.5, 0.99), (2, 3, 1)),
        ((1.0, -0.5, -0.01), (3, 1, 0)),
        ((0.99, 1e9, -1e9), (3, 3, 0)),
        ((0.3, -7.0, 7.0), (1, 0, 1)),
    ],
)
def test_edges_and_outermost_cells(particle, cell):
    counts = Cells(nx=4, dv=0.5, dvy=1.0, largest=1.0).occupations(*([value] for value in particle))
    assert counts.shape == (4, 4, 2)
    assert [tuple(where) for where in np.argwhere(counts)] == [cell]


def test_widths_that_are_no_binary_fractions_fit_as_often_as_they_should():
    assert Cells(nx=2, dv=0.3, dvy=0.15, largest=2.1).shape == (2, 14, 28)
    assert Cells(nx=2, dv=0.1, dvy=0.3, largest=1e-12).shape == (2, 2, 2)


@for_all(gases(), st.randoms(use_true_random=False))
def test_the_names_of_the_particles_do_not_matter(gas, random):
    order = list(range(len(gas[0])))
    random.shuffle(order)
    cells = Cells(nx=4)
    np.testing.assert_array_equal(cells.occupations(*gas), cells.occupations(*(column[order] for column in gas)))
    shuffled = hydrodynamic_entropy_of(*(column[order] for column in gas), 4)
    assert shuffled == pytest.approx(hydrodynamic_entropy_of(*gas, 4), abs=1e-9)


@for_all(gases())
def test_the_mirror_image_has_mirrored_counts(gas):
    cells = Cells(nx=6, dv=0.3)
    mirrored = cells.occupations(1 - gas[0], -gas[1], -gas[2])
    np.testing.assert_array_equal(mirrored, cells.occupations(*gas)[::-1, ::-1, ::-1])
    for estimator in ESTIMATORS:
        assert entropy(mirrored, estimator) == pytest.approx(entropy(cells.occupations(*gas), estimator), abs=1e-12)


@for_all(gases())
def test_finer_cells_refine_the_counts_and_never_lower_the_entropy(gas):
    coarse, fine = (cells.occupations(*gas) for cells in (Cells(nx=4, dv=1.0, dvy=2.0), Cells(nx=8, dv=0.5, dvy=2.0)))
    nx, nvx, nvy = coarse.shape
    np.testing.assert_array_equal(coarse, fine.reshape(nx, 2, nvx, 2, nvy).sum((1, 3)))
    gained = entropy(fine, "plug_in") - entropy(coarse, "plug_in")
    assert -1e-12 <= gained <= math.log(4) + 1e-12
    assert entropy(fine, "factorial") >= entropy(coarse, "factorial") - 1e-12


# The estimates


@for_all(gases())
def test_entropy_lies_between_0_and_the_log_of_the_cells(gas):
    cells = Cells(nx=2, dv=2.0, dvy=6.0)
    counts = cells.occupations(*gas)
    factorial, plug_in, corrected = (entropy(counts, name) for name in ("factorial", "plug_in", "miller_madow"))
    assert 0 <= factorial <= plug_in <= min(math.log(counts.size), math.log(len(gas[0]))) + 1e-12
    assert corrected - plug_in == pytest.approx(((counts > 0).sum() - 1) / (2 * len(gas[0])))


@for_all(gases(), gases())
def test_the_factorial_entropy_changes_as_boltzmanns(gas, other):
    n = min(len(gas[0]), len(other[0]))
    before, after = (Cells(nx=2).occupations(*(column[:n] for column in some)) for some in (gas, other))
    boltzmann = (gammaln(before + 1).sum() - gammaln(after + 1).sum()) / n
    assert entropy(after, "factorial") - entropy(before, "factorial") == pytest.approx(boltzmann, abs=1e-12)


def test_entropy_of_a_few_counts():
    counts = np.array([[3, 0], [1, 0]])
    shares = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert entropy(counts, "plug_in") == pytest.approx(shares)
    assert entropy(counts) == entropy(counts, "miller_madow") == pytest.approx(shares + 1 / 8)
    assert entropy(counts, "factorial") == pytest.approx(math.log(4) / 4)


@for_all(st.lists(st.integers(0, 4), min_size=2, max_size=6), st.data())
def test_the_change_by_one_collision_is_exact(counts, data):
    counts = np.array([*counts, 2])
    cell = st.integers(0, len(counts) - 1)
    leave = data.draw(st.permutations(np.repeat(np.arange(len(counts)), counts)).map(lambda all_: all_[:2]))
    enter = data.draw(st.lists(cell, min_size=2, max_size=2))
    after = counts.copy()
    np.subtract.at(after, leave, 1)
    np.add.at(after, enter, 1)
    exact = counts.sum() * (entropy(after, "factorial") - entropy(counts, "factorial"))
    assert count_change(counts, leave, enter) == pytest.approx(exact, abs=1e-11)


def test_the_change_by_one_collision_of_particles():
    x, vx, vy = start(5000, np.random.default_rng(11))
    cells, pair = Cells(nx=4), [17, 4321]
    before, leave = cells.occupations(x, vx, vy), cells.index(x, vx, vy)[pair]
    vx[pair], vy[pair] = vx[pair[::-1]], vy[pair] + [0.7, -0.7]
    after, enter = cells.occupations(x, vx, vy), cells.index(x, vx, vy)[pair]
    exact = 5000 * (entropy(after, "factorial") - entropy(before, "factorial"))
    assert count_change(before, leave, enter) == pytest.approx(exact, abs=1e-9)
    assert exact != 0


def test_the_change_by_one_collision_in_formulas():
    counts = np.array([[5, 3, 0], [7, 1, 2]])
    assert count_change(counts, (0, 3), (1, 2)) == pytest.approx(math.log(5 * 7 / (4 * 1)))  # four cells
    assert count_change(counts, (3, 3), (2, 2)) == pytest.approx(math.log(7 * 6 / (1 * 2)))  # from one to one
    assert count_change(counts, (0, 3), (3, 0)) == 0  # they change places
    np.testing.assert_array_equal(counts, [[5, 3, 0], [7, 1, 2]])


# Against the theory


@pytest.mark.parametrize(
    ("n", "microstates", "means"),
    [(1000, 100, [0.064, 0.078, 0.040]), (10_000, 40, [0.112, 0.118, 0.095]), (100_000, 10, [0.1229, 0.1242, 0.1182])],
)
def test_the_bias_of_the_estimates(n, microstates, means):
    rng = np.random.default_rng(n)
    seen = np.array([gains(Cells(), n, 0.5, rng) for _ in range(microstates)])
    assert (np.abs(seen.mean(0) - means) < 4 * seen.std(0, ddof=1) / math.sqrt(microstates)).all()


@pytest.mark.parametrize(("time", "dv"), [(0.5, 0.5), (1.0, 1.0), (1.0, 0.25), (3.0, 0.5)])
def test_one_microstate_gains_what_the_density_gains(time, dv):
    _, corrected, _ = gains(Cells(nx=16, dv=dv, dvy=2.0), 200_000, time, np.random.default_rng(4))
    assert corrected == pytest.approx(theory.finite_cell_gain(time, 16, dv), abs=4 * 0.4 / math.sqrt(200_000))


def test_a_cosine_gains_what_the_theory_says():
    _, corrected, _ = gains(Cells(nx=32, dv=0.25, dvy=6.0), 200_000, 4.0, np.random.default_rng(4), "cosine")
    assert corrected == pytest.approx(theory.cosine_gain(1.0, 1.0), abs=4 * 0.4 / math.sqrt(200_000))


def test_velocity_cells_do_not_matter_to_the_doubling_of_the_volume():
    rng = np.random.default_rng(6)
    x, vx, vy = start(200_000, rng)
    for dv in (0.5, 2.0):
        cells = Cells(nx=8, dv=dv, dvy=2.0)
        full, half = (entropy(cells.occupations(position, vx, vy)) for position in (2 * x, x))
        assert full - half == pytest.approx(math.log(2), abs=2e-3)


# Local equilibrium


def test_hydrodynamic_entropy_of_a_handful():
    x, vx, vy = [0.1, 0.2, 0.3, 0.9, 1.0], [1.0, 2.0, 6.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0, 1.0]
    shares, temperatures = [0.6, 0.0, 0.4], [7 / 2, np.nan, 1.0]  # variances 7 and 0, then 2 and 0
    expected = theory.hydrodynamic_entropy(shares, temperatures, 1 / 3)
    assert hydrodynamic_entropy_of(x, vx, vy, 3) == pytest.approx(expected)


def test_a_particle_alone_has_the_temperature_of_all():
    x, vx, vy = [0.1, 0.2, 0.9], [0.0, 2.0, 4.0], [0.0, 0.0, 0.0]
    expected = theory.hydrodynamic_entropy([2 / 3, 1 / 3], [1.0, 4 / 3], 0.5)
    assert hydrodynamic_entropy_of(x, vx, vy, 2) == pytest.approx(expected)


def test_hydrodynamic_entropy_sees_neither_flow_nor_the_collisionless_filaments():
    x, vx, vy = start(100_000, np.random.default_rng(9))
    begin = hydrodynamic_entropy_of(x, vx, vy, 8)
    assert hydrodynamic_entropy_of(x, vx + 3.0, vy - 1.0, 8) == pytest.approx(begin, abs=1e-12)
    assert hydrodynamic_entropy_of(*stream(x, vx, 50.0), vy, 8) - begin == pytest.approx(math.log(2), abs=3e-3)


def test_bias_of_the_hydrodynamic_entropy():
    rng, nx, n = np.random.default_rng(10), 20, 2000
    seen = np.array([hydrodynamic_entropy_of(rng.random(n), *rng.normal(size=(2, n)), nx) for _ in range(400)])
    bias = seen.mean() - math.log(2 * math.pi * math.e)
    assert abs(bias + nx / n) < 4 * seen.std() / 20
    assert abs(bias) > 4 * seen.std() / 20


# Wrong input

X, V = [0.1, 0.9], [0.5, -0.5]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Cells(nx=33), "field 'nx': got 33 (int), allowed: integer from 2 to 100000 (an even number, so that"),
        (lambda: Cells(nx=0), "field 'nx': got 0"),
        (lambda: Cells(dv=0), "field 'dv': got 0"),
        (lambda: Cells(dvy=-1.0), "field 'dvy': got -1.0"),
        (lambda: Cells(largest=math.inf), "field 'largest': got inf"),
        (lambda: Cells(nx=100_000, dv=1e-3), "Cells: nx, dv, dvy, largest make 14400000000 cells, allowed: at most"),
        (lambda: Cells().occupations([0.1, 1.5], V, V), "field 'x': got 1.5"),
        (lambda: Cells().occupations([-1e-9, 0.5], V, V), "field 'x': got -1e-09"),
        (lambda: Cells().occupations(X, [np.nan, 0], V), "field 'vx': got nan"),
        (lambda: Cells().occupations(X, V, [0, -np.inf]), "field 'vy': got -inf"),
        (lambda: Cells().index(X, V, [0.0]), "shape of field 'vy': got (1,)"),
        (lambda: entropy([1, 2], "bayes"), "field 'estimator': got 'bayes' (str), allowed: 'plug_in' or 'miller_madow'"),
        (lambda: entropy([1, -2]), "field counts: got -2 at index (1,), allowed: whole numbers"),
        (lambda: entropy([0.5, 1]), "field counts: got 0.5"),
        (lambda: entropy([0, 0]), "field counts: got nothing but 0"),
        (lambda: count_change([1, 1], [0], [1, 1]), "field 'enter': got [1, 1] (list), allowed: as many cells as leave, 1"),
        (lambda: count_change([1, 1], [0, 0], [1, 1]), "field 'leave': got 0 (int), allowed: cells with a particle left"),
        (lambda: count_change([1, 1], [2], [1]), "field 'leave': got 2 (int), allowed: integers from 0 to 1"),
        (lambda: count_change([1, 1], [0], [-1]), "field 'enter': got -1"),
        (lambda: count_change([1, 1], [0], [0.5]), "field 'enter': got 0.5"),
        (lambda: hydrodynamic_entropy_of(X, V, V, 0), "field 'nx': got 0 (int), allowed: integer from 1"),
        (lambda: hydrodynamic_entropy_of(X, [np.inf, 0], V, 2), "field 'vx': got inf"),
    ],
)
def test_wrong_input_is_named_in_one_line(call, named):
    with pytest.raises(ParameterError) as caught:
        call()
    assert str(caught.value).startswith(named)
    assert "\n" not in str(caught.value)
