"""The theory of the free expansion: against brute force, quadrature, Monte Carlo and the numbers of the derivation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import rice

from entropy_utils.boltzmann_gas import theory
from entropy_utils.lab.errors import ParameterError

LN2 = math.log(2)
WIDTHS = st.floats(0, 50)
CONTRASTS = st.floats(0, 1)


def for_all(*strategies):
    """Try the test on 100 draws, the same in every run."""
    return lambda test: settings(deadline=None, max_examples=100, derandomize=True)(given(*strategies)(test))


def binary_entropy(p):
    return entr(p) + entr(1 - p)


def running_mean_entropy(density_up_to, W, points=200_000):
    """-int h ln h over the ring of length 2, h the mean over a piece of length W of the density whose integral is given."""
    y = (np.arange(points) + 0.5) * 2 / points
    return 2 * entr((density_up_to(y + W / 2) - density_up_to(y - W / 2)) / W).mean()


def filled_up_to(u):
    """Integral from 0 to u of a density on the ring that is 1 where |u| < 1/2 and 0 elsewhere."""
    turns = np.round(u / 2)
    return turns + np.clip(u - 2 * turns, -0.5, 0.5)


# Free motion


@pytest.mark.parametrize(
    ("W", "gain"), [(0.3, 0.15), (1, 0.5), (1.5, 0.655465), (2.6, 0.677045), (3, 0.674416), (3.3, 0.681073), (5, 0.686454)]
)
def test_gain_of_the_step(W, gain):
    assert theory.blurred_gain(W) == pytest.approx(gain, abs=1e-6)


@pytest.mark.parametrize("W", [2, 4, 6.0, 200])
def test_the_gain_of_the_step_is_all_of_ln_2_where_the_blur_fits_the_ring(W):
    assert theory.blurred_gain(W) == pytest.approx(LN2, abs=1e-15)


@pytest.mark.parametrize("W", [0.02, 0.7, 1, 1.3, 2, 2.4, 3.5, 7.7])
@pytest.mark.parametrize("contrast", [1.0, 0.6, 0.01])
def test_gain_of_the_step_is_that_of_a_running_mean(W, contrast):
    brute = running_mean_entropy(lambda u: contrast * filled_up_to(u) + (1 - contrast) * u / 2, W)
    assert theory.blurred_gain(W, contrast) == pytest.approx(brute, abs=1e-6)


@pytest.mark.parametrize("W", [0, 0.02, 0.7, 1, 2, 2.4, 7.7])
@pytest.mark.parametrize("contrast", [1.0, 0.6])
def test_blurred_profile_is_a_running_mean_and_has_the_gain_of_the_step(W, contrast):
    y = (np.arange(-200_000, 200_000) + 0.5) / 100_000
    h = theory.blurred_profile(y, W, contrast)
    assert h.min() >= 0
    assert h.max() <= 1
    assert entr(h).mean() * 2 == pytest.approx(theory.blurred_gain(W, contrast), abs=1e-6)
    at = np.linspace(-1, 1, 41) + 0.003
    pieces = at[:, None] + W * ((np.arange(2000) + 0.5) / 2000 - 0.5)
    mean = (np.abs(pieces - 2 * np.round(pieces / 2)) < 0.5).mean(1)
    np.testing.assert_allclose(theory.blurred_profile(at, W, contrast), 0.5 + contrast * (mean - 0.5), atol=2e-3)


def test_blurred_profile_refuses_what_is_no_place():
    with pytest.raises(ParameterError, match="'y'"):
        theory.blurred_profile(np.inf, 1)
    with pytest.raises(ParameterError, match="'W'"):
        theory.blurred_profile(0.0, -1)


@pytest.mark.parametrize("contrast", [0.0, 1e-9, 1e-4, 0.0099, 0.0101, 0.3, 1.0])
def test_one_ramp_holds_the_mean_entropy_of_its_densities(contrast):
    mean = quad(lambda u: binary_entropy((1 + u * contrast) / 2), 0, 1, epsabs=1e-14)[0]
    assert theory.blurred_gain(1.0, contrast) == pytest.approx(mean, abs=1e-13)
    assert theory.blurred_gain(0.0, contrast) == pytest.approx(binary_entropy((1 + contrast) / 2), abs=1e-15)


def test_gain_of_the_step_broadcasts():
    W, contrast = np.array([0.0, 0.5, 2.5]), np.array([[1.0], [0.2]])
    one_by_one = [[theory.blurred_gain(w, q) for w in W] for q in contrast[:, 0]]
    np.testing.assert_array_equal(theory.blurred_gain(W, contrast), one_by_one)


@for_all(WIDTHS, CONTRASTS, CONTRASTS)
def test_less_contrast_is_more_entropy_and_never_beyond_ln_2(W, one, other):
    weak, strong = (theory.blurred_gain(W, q) for q in sorted((one, other)))
    assert -1e-15 <= strong <= weak + 1e-14 <= LN2 + 2e-14


@for_all(st.floats(0, 1))
def test_the_gain_of_the_step_is_linear_up_to_one_box_length(W):
    assert theory.blurred_gain(W) == pytest.approx(W / 2, abs=1e-14)


@pytest.mark.parametrize(("amplitude", "deficit"), [(0, 0), (1, 1 - LN2), (0.9, 0.232748), (0.5, 0.064638)])
def test_deficit_of_a_cosine(amplitude, deficit):
    assert theory.cosine_deficit(amplitude) == pytest.approx(deficit, abs=1e-6)


def test_a_small_deficit_keeps_its_digits():
    assert theory.cosine_deficit(1e-6) == pytest.approx(1e-12 / 4, rel=1e-9)


@pytest.mark.parametrize("W", [0.05, 0.8, 2, 3.1])
@pytest.mark.parametrize("amplitude", [1.0, 0.4])
def test_gain_of_a_cosine_is_that_of_a_running_mean(W, amplitude):
    def filled(u):
        return (u + amplitude / np.pi * np.sin(np.pi * u)) / 2

    # a density of mean 1/2: the entropy lost to the uniform one is the deficit
    brute = running_mean_entropy(filled, W) - (LN2 - theory.cosine_deficit(amplitude))
    assert theory.cosine_gain(W, amplitude) == pytest.approx(brute, abs=1e-6)


def test_a_smooth_profile_gains_quadratically():
    amplitude, W = 0.6, 1e-3
    slope = quad(lambda x: (amplitude * np.pi * np.sin(np.pi * x)) ** 2 / (1 + amplitude * np.cos(np.pi * x)), 0, 1)[0]
    assert theory.cosine_gain(W, amplitude) == pytest.approx(W**2 / 24 * slope, rel=1e-4)


TIMES = [0.1, 0.25, 0.5, 1, 2, 4, 8]
FINITE_CELLS = {
    (32, 1): [0.0512, 0.1215, 0.2410, 0.4807, 0.6829, 0.6907, 0.6925],
    (32, 0.5): [0.0301, 0.0643, 0.1251, 0.2483, 0.4953, 0.6906, 0.6925],
    (32, 0.25): [0.0206, 0.0351, 0.0647, 0.1261, 0.2502, 0.4992, 0.6925],
    (64, 1): [0.0490, 0.1205, 0.2404, 0.4804, 0.6829, 0.6907, 0.6925],
    (64, 0.5): [0.0264, 0.0626, 0.1241, 0.2477, 0.4950, 0.6906, 0.6925],
    (64, 0.25): [0.0151, 0.0324, 0.0631, 0.1251, 0.2496, 0.4988, 0.6925],
}


@pytest.mark.parametrize(("cells", "gains"), FINITE_CELLS.items())
def test_gain_in_finite_cells(cells, gains):
    np.testing.assert_allclose(theory.finite_cell_gain(TIMES, *cells), gains, rtol=0, atol=1e-4)


@pytest.mark.parametrize("time", [0.05, 0.7, 6.0])
def test_gain_in_finite_cells_is_that_of_a_plain_integral(time):
    nx, per_cell, cells = 6, 4000, 16
    v = ((np.arange(cells * per_cell) + 0.5) / per_cell - cells / 2).reshape(cells, per_cell)
    weight = np.exp(-(v**2) / 2) / math.sqrt(2 * math.pi) / per_cell
    edges = np.arange(nx + 1)[:, None, None] / nx
    shares = 2 * (weight * np.diff(filled_up_to(edges - v * time), axis=0)).sum(-1)
    plain = entr(shares).sum() - entr(weight.sum(-1)).sum() - math.log(nx / 2)
    assert theory.finite_cell_gain(time, nx, 1.0) == pytest.approx(plain, abs=1e-7)


def test_gain_in_finite_cells_starts_at_0_and_keeps_the_shape():
    gains = theory.finite_cell_gain([[0, 0.5], [1, 0]], 8, 0.5)
    assert gains.shape == (2, 2)
    assert gains[0, 0] == gains[1, 1] == 0
    assert theory.finite_cell_gain(0.5, 8, 0.5) == gains[0, 1]
    assert theory.finite_cell_gain(1e-9, 8, 0.5) == pytest.approx(0, abs=1e-6)


def test_ever_smaller_cells_leave_the_blur_of_free_motion_alone():
    off = [abs(theory.finite_cell_gain(5.0, nx, 0.1) - 0.25) for nx in (16, 32, 64)]
    assert off[2] < off[1] / 3 < off[0] / 9
    assert off[2] < 3e-4


@pytest.mark.parametrize(("dv", "gain"), [(0.25, 0.00260), (0.5, 0.01031), (1, 0.04002), (1.5, 0.0861), (2, 0.1529)])
def test_velocity_cells_add_entropy(dv, gain):
    assert theory.grain_gain(dv) == pytest.approx(gain, abs=5e-5 if dv > 1 else 5e-6)


def test_small_velocity_cells_add_the_24th_part_of_their_square():
    assert theory.grain_gain(0.01) == pytest.approx(0.01**2 / 24, rel=1e-4)


# Collisions


def test_collision_frequency_at_a_speed_is_that_against_maxwellian_partners():
    speeds, kn = np.array([0.0, 0.3, 1.0, 2.5, 8.0]), 0.2
    relative = [rice.mean(v) if v else math.sqrt(math.pi / 2) for v in speeds]  # mean of |v - v*|
    np.testing.assert_allclose(theory.collision_frequency_at(speeds, kn), np.array(relative) / (math.sqrt(2) * kn))
    assert theory.collision_frequency_at(60.0, kn) == pytest.approx(60 / (math.sqrt(2) * kn), rel=1e-3)


@pytest.mark.parametrize("kn", [0.03, 1, 10])
def test_collision_frequency_is_the_mean_over_the_gas(kn):
    mean = quad(lambda v: v * math.exp(-(v**2) / 2) * theory.collision_frequency_at(v, kn), 0, 40, epsabs=1e-12)[0]
    assert theory.collision_frequency(kn) == pytest.approx(mean, rel=1e-8)
    assert theory.collision_frequency(kn) == pytest.approx(1.2533141 / kn, rel=1e-7)


def test_without_collisions():
    assert (
        theory.collision_frequency(np.inf) == theory.collision_frequency_at(1.0, np.inf) == theory.diameter(10, np.inf) == 0
    )


def test_size_of_the_discs():
    np.testing.assert_allclose(theory.diameter(1e5, [1, 0.1]), [3.54e-6, 3.54e-5], rtol=2e-3)
    assert theory.diameter(1e5, 1, area=4) == 4 * theory.diameter(1e5, 1)
    assert theory.packing_fraction(1e5, theory.diameter(1e5, 0.1)) == pytest.approx(9.8e-5, rel=3e-3)
    assert theory.packing_fraction(3, 2, area=6) == pytest.approx(math.pi / 2)


def test_dense_discs_collide_more_often():
    dense = theory.packing_fraction(4000, theory.diameter(4000, 0.01))
    assert theory.enskog(dense) == pytest.approx(1.568, abs=5e-4)
    assert theory.enskog(0.0) == 1


def test_gain_by_collisions_alone():
    tau = np.array([0, 0.1, 1, 30])
    np.testing.assert_allclose(theory.collision_gain(tau), binary_entropy((1 + np.exp(-tau)) / 2), atol=1e-15)
    assert theory.collision_gain(1e-6) == pytest.approx(-0.5e-6 * math.log(0.5e-6) + 0.5e-6, rel=1e-5)  # infinite slope at 0


def test_gain_by_both():
    np.testing.assert_allclose(theory.scaling_gain([0.25, 0.5, 1], 1), [0.4035, 0.5579, 0.6677], rtol=0, atol=2e-4)
    np.testing.assert_allclose(theory.scaling_gain([0.5, 1], 0.3), [0.5095, 0.6313], rtol=0, atol=2e-4)


@pytest.mark.parametrize(("tau", "ratio"), [(0.01, 0.0), (0.3, 2.0), (1.7, 0.9), (5.0, 0.2)])
def test_gain_by_both_is_a_mean_over_speeds(tau, ratio):
    def at(v):
        left = math.exp(-tau * theory.collision_frequency_at(v, 2.0) / theory.collision_frequency(2.0))
        return v * math.exp(-(v**2) / 2) * theory.blurred_gain(ratio * tau, left)

    assert theory.scaling_gain(tau, ratio) == pytest.approx(quad(at, 0, 30, epsabs=1e-12)[0], abs=1e-7)


def test_limits_of_the_gain_by_both():
    tau, W = np.array([0, 0.2, 1, 4]), np.array([0.3, 1, 2.5])
    np.testing.assert_allclose(theory.scaling_gain(tau, 0.0, speed_dependent=False), theory.collision_gain(tau), atol=1e-15)
    np.testing.assert_allclose(theory.scaling_gain(W / 1e9, 1e9), theory.blurred_gain(W), atol=1e-7)
    assert theory.scaling_gain(60.0, 0.3) == pytest.approx(LN2, abs=1e-9)


def test_the_mean_frequency_is_nearly_enough():
    tau, ratio = np.linspace(0.1, 4, 40), np.array([[0.0], [0.1], [1], [5]])
    off = theory.scaling_gain(tau, ratio, speed_dependent=False) - theory.scaling_gain(tau, ratio)
    assert off.shape == (4, 40)
    assert np.abs(off).max() == pytest.approx(0.0083, abs=1e-4)  # with ratio 0, near tau = 0.83


def test_collisions_make_an_anisotropic_gas_isotropic():
    assert theory.anisotropic_rate(1.5, 0.5) == pytest.approx(0.330, abs=1e-3)
    assert theory.anisotropic_rate(3.0, 1.0) == pytest.approx(theory.anisotropic_rate(0.5, 1.5))
    np.testing.assert_allclose(theory.anisotropic_rate([1, 7], [1, 7]), 0, atol=1e-15)
    # T_x - T_y = 2e falls as exp(-nu time), and the entropy is ln(T_x T_y) / 2
    assert theory.anisotropic_rate(1 + 1e-3, 1 - 1e-3) == pytest.approx(1e-6, rel=1e-4)


def test_the_anisotropic_rate_is_that_of_the_h_theorem():
    rng = np.random.default_rng(1)
    temperature = np.array([[1.5], [0.5]])
    one, other = rng.standard_normal((2, 2, 200_000)) * np.sqrt(temperature)
    g, b = one - other, rng.uniform(-1, 1, 200_000)
    along = (1 - b**2) * g + b * np.sqrt(1 - b**2) * np.array([-g[1], g[0]])
    before, after = (((v**2 + w**2) / (2 * temperature)).sum(0) for v, w in ((one, other), (one - along, other + along)))
    rate = np.hypot(*g) * (after - before) / (2 * math.sqrt(math.pi))  # g ln(f f* / f' f*'), per collision time
    assert abs(rate.mean() - theory.anisotropic_rate(1.5, 0.5)) < 4 * rate.std() / math.sqrt(200_000)


# Equilibrium


def test_equilibrium_entropy_is_that_of_the_maxwellian():
    n, T = 3.0, 1.7

    def minus_f_ln_f(v):
        f = n / (2 * math.pi * T) * math.exp(-(v**2) / (2 * T))
        return -f * math.log(f) * 2 * math.pi * v / n

    assert theory.equilibrium_entropy(n, T) == pytest.approx(1 + quad(minus_f_ln_f, 0, 30)[0], rel=1e-9)
    assert theory.equilibrium_entropy(1.0) - theory.equilibrium_entropy(2.0) == pytest.approx(LN2)


def test_the_hydrodynamic_entropy_of_a_uniform_gas_is_that_of_equilibrium():
    n, nx = 500, 20
    uniform = theory.hydrodynamic_entropy(np.full(nx, 1 / nx), np.full(nx, 1.3), 1 / nx)
    assert uniform + 1 - math.log(n) == pytest.approx(theory.equilibrium_entropy(n, 1.3))


def test_hydrodynamic_entropy_gains_by_expansion_and_by_heat_flow():
    step, uniform = np.repeat([0.25, 0], 4), np.full(8, 0.125)
    hot_and_cold = np.tile([1.5, 0.5], 4)
    empty_is_not_looked_at = np.repeat([1.0, np.nan], 4)
    start, end = theory.hydrodynamic_entropy([step, uniform], [empty_is_not_looked_at, np.ones(8)], 1 / 8)
    assert end - start == pytest.approx(LN2)
    assert end - theory.hydrodynamic_entropy(uniform, hot_and_cold, 1 / 8) == pytest.approx(-math.log(0.75) / 2)
    finer = theory.hydrodynamic_entropy(np.repeat(step, 3) / 3, np.ones(24), 1 / 24)
    assert finer == pytest.approx(start)


def test_excess_entropy_is_the_integral_of_the_equation_of_state():
    def minus_excess_pressure(eta):
        return -((1 + eta**2 / 8) / (1 - eta) ** 2 - 1) / eta

    for eta, value in ((0.1, -0.21719), (0.3, -0.79423)):
        assert theory.excess_entropy(eta) == pytest.approx(value, abs=5e-6)
        assert theory.excess_entropy(eta) == pytest.approx(quad(minus_excess_pressure, 1e-12, eta)[0], abs=1e-9)
    assert theory.excess_entropy(1e-5) == pytest.approx(-2e-5, rel=1e-4)


def test_a_gas_of_discs_gains_more_than_ln_2():
    assert theory.thermodynamic_gain(0.0) == LN2
    assert theory.thermodynamic_gain(1e-3) - LN2 == pytest.approx(1e-3, rel=2e-3)
    assert theory.thermodynamic_gain(0.3) == pytest.approx(LN2 + theory.excess_entropy(0.15) + 0.794233, abs=1e-6)


# Wrong input

HALVES = ([0.5, 0.5], [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: theory.blurred_gain(-0.1), "field 'W': got -0.1 (float), allowed: numbers from 0, finite"),
        (lambda: theory.blurred_gain([1, np.inf]), "field 'W': got inf"),
        (lambda: theory.blurred_gain(1, 1.01), "field 'contrast': got 1.01 (float), allowed: numbers from 0 to 1"),
        (lambda: theory.blurred_gain("1"), "field 'W': got '1' (str)"),
        (lambda: theory.blurred_gain(True), "field 'W': got True (bool)"),
        (lambda: theory.cosine_gain(np.nan, 1), "field 'W': got nan"),
        (lambda: theory.cosine_gain(1, None), "field 'amplitude': got None"),
        (lambda: theory.cosine_deficit(-0.2), "field 'amplitude': got -0.2"),
        (lambda: theory.finite_cell_gain(-1, 32, 0.5), "field 'time': got -1"),
        (lambda: theory.finite_cell_gain(1, 33, 0.5), "field 'nx': got 33 (int), allowed: even integer from 2"),
        (lambda: theory.finite_cell_gain(1, 32.0, 0.5), "field 'nx': got 32.0"),
        (lambda: theory.finite_cell_gain(1, 32, 0), "field 'dv': got 0"),
        (lambda: theory.finite_cell_gain(1, 32, [0.5]), "field 'dv': got [0.5] (list), allowed: one number above 0"),
        (lambda: theory.grain_gain(-1), "field 'dv': got -1"),
        (lambda: theory.collision_frequency(0), "field 'kn': got 0 (int), allowed: numbers above 0 (or inf)"),
        (lambda: theory.collision_frequency_at(-1, 1), "field 'v': got -1"),
        (lambda: theory.diameter(0, 1), "field 'n': got 0"),
        (lambda: theory.diameter(1, 1, 0), "field 'area': got 0"),
        (lambda: theory.diameter(1, -1), "field 'kn': got -1"),
        (lambda: theory.packing_fraction(1, -1), "field 'sigma': got -1"),
        (lambda: theory.enskog(0.95), "field 'eta': got 0.95 (float), allowed: numbers from 0 to 0.9069"),
        (lambda: theory.collision_gain(-1), "field 'tau': got -1"),
        (lambda: theory.scaling_gain(-1, 1), "field 'tau': got -1"),
        (lambda: theory.scaling_gain(1, -1), "field 'ratio': got -1"),
        (lambda: theory.anisotropic_rate(0, 1), "field 'tx': got 0"),
        (lambda: theory.anisotropic_rate(1, 0), "field 'ty': got 0"),
        (lambda: theory.equilibrium_entropy(0), "field 'density': got 0"),
        (lambda: theory.equilibrium_entropy(1, 0), "field 'temperature': got 0"),
        (lambda: theory.hydrodynamic_entropy([0.5, 0.4], [1, 1], 0.5), "sum of field 'share': got 0.9"),
        (lambda: theory.hydrodynamic_entropy([1.5, -0.5], [1, 1], 0.5), "field 'share': got 1.5"),
        (lambda: theory.hydrodynamic_entropy([0.5, 0.5], [1, 0], 0.5), "field 'temperature': got 0"),
        (lambda: theory.hydrodynamic_entropy(*HALVES, 0), "field 'dx': got 0"),
        (lambda: theory.excess_entropy(-0.1), "field 'eta': got -0.1"),
        (lambda: theory.thermodynamic_gain("dense"), "field 'eta': got 'dense'"),
    ],
)
def test_wrong_input_is_named_in_one_line(call, named):
    with pytest.raises(ParameterError) as caught:
        call()
    assert str(caught.value).startswith(named)
    assert "\n" not in str(caught.value)
