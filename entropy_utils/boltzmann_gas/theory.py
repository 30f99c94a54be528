"""What theory says of a dilute gas of hard discs that expands from the left half of a box into all of it.

Units: m = k_B = T = 1, walls at x = 0 and x = 1, time in L / v_th, entropies in nats per particle. Kn is the mean free
path at the final density, in box lengths. Velocities and positions are seen through cells; W = dv time is the blurring
width of free motion, in box lengths. The functions take numbers or arrays that broadcast, and raise a one-line
`ParameterError` for anything out of bounds.

Sources: all is derived in notebook 01, unless a docstring names another source. The phenomenon: Garrido, Goldstein, Huse
and Lebowitz, arXiv 2403.07519; without collisions: Chakraborti, Dhar, Goldstein, Kundu and Lebowitz, arXiv 2109.07742.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import entr, i0e, i1e, ndtr, xlogy

from entropy_utils.lab.errors import ParameterError

CLOSE_PACKING = math.pi / (2 * math.sqrt(3))  # the densest discs can be
FINITE = np.finfo(float).max
REACH = 9.0  # speeds v_x beyond it are left out: 1e-19 of a Maxwellian


# Free motion seen through cells


def blurred_gain(W, contrast=1.0):
    """Gain of a step profile that is blurred over a width `W` >= 0 and has kept a share `contrast` (0 to 1) of its step.

    Free motion seen through velocity cells of width dv: W = dv time, contrast 1. The walls unfold to a ring of length 2,
    half of it filled; averaging over a velocity cell is averaging over a piece of length W of that ring. What is left
    are plateaus of densities (1 +- c) / 2, joined by straight ramps that take the share `ramps` of the ring, where c =
    contrast ramps / W and 1 is the density of the filled half. W / 2 up to W = 1, ln 2 at W = 2, 4, ..., less between.
    Equal stripes and gaps of width a on the ring instead of one half: W = dv time / a.
    """
    W, contrast = np.broadcast_arrays(_numbers("W", W, 0), _numbers("contrast", contrast, 0, 1))
    ramps = np.abs(W - 2 * np.round(W / 2))
    c = contrast * np.divide(ramps, W, out=np.ones_like(W), where=W > 0)
    return ((1 - ramps) * _plateaus(c) + ramps * _ramp(c))[()]


def blurred_profile(y, W, contrast=1.0):
    """Density at place `y` of the ring whose entropy gain is `blurred_gain`: 1 is that of the filled half, |y| < 1/2."""
    y, W = np.broadcast_arrays(_numbers("y", y, -FINITE), _numbers("W", W, 0))
    contrast = _numbers("contrast", contrast, 0, 1)
    mean = (_filled_up_to(y + W / 2) - _filled_up_to(y - W / 2)) / np.where(W > 0, W, 1.0)
    sharp = np.abs(y - 2 * np.round(y / 2)) < 0.5
    return (0.5 + contrast * (np.where(W > 0, np.clip(mean, 0, 1), sharp) - 0.5))[()]


def _filled_up_to(y):
    """Filled length of the ring between -1/2 and `y`."""
    turns = np.floor((y + 0.5) / 2)
    return turns + np.minimum(y + 0.5 - 2 * turns, 1)


def _plateaus(c):
    """Binary entropy of (1 + c) / 2."""
    return entr((1 + c) / 2) + entr((1 - c) / 2)


def _ramp(c):
    """Mean of the binary entropy of (1 + u) / 2 over u from 0 to c."""
    flat = c < 0.01
    high, low, c_safe = (1 + c) / 2, (1 - c) / 2, np.where(flat, 1.0, c)
    series = math.log(2) - c**2 / 6 - c**4 / 60 - c**6 / 210  # the next term is below 1e-18
    return np.where(flat, series, 0.5 - (xlogy(high**2, high) - xlogy(low**2, low)) / c_safe)


def cosine_gain(W, amplitude):
    """Gain of the profile 1 + amplitude cos(pi x), with 0 <= amplitude <= 1, after free motion blurred over `W` >= 0."""
    W, amplitude = _numbers("W", W, 0), _numbers("amplitude", amplitude, 0, 1)
    return cosine_deficit(amplitude) - cosine_deficit(amplitude * np.abs(np.sinc(W / 2)))


def cosine_deficit(amplitude):
    """What the entropy of the profile 1 + amplitude cos(pi x) lacks of that of a uniform gas: 0 to 1 - ln 2."""
    a = _numbers("amplitude", amplitude, 0, 1)
    below = a**2 / (1 + np.sqrt(1 - a**2))  # 1 - sqrt(1 - a^2)
    return np.log1p(-below / 2) + below


def finite_cell_gain(time, nx, dv):
    """Exact gain of free motion at `time` >= 0 from the step, for `nx` position cells (an even number) and cells of v_x
    of width `dv` with edges at its multiples: v_y plays no part. An array of times gives an array.
    """
    if not isinstance(nx, (int, np.integer)) or isinstance(nx, bool) or nx < 2 or nx % 2:
        raise ParameterError.of("nx", nx, "even integer from 2")
    times, cells = _numbers("time", time, 0), math.ceil(REACH / _number("dv", dv))
    v = np.arange(-cells, cells + 1) * dv
    start = math.log(nx / 2) + entr(np.diff(ndtr(v))).sum()
    gains = [entr(_free_shares(t, nx, v)).sum() - start if t > 0 else 0.0 for t in times.flat]
    return np.reshape(gains, times.shape)[()]


def _free_shares(time, nx, v):
    """Shares (nx, len(v) - 1) of the particles in cells of x and v_x, of edges `v`, after free motion from the step.

    Unfolded, the gas fills 2k - 1/2 < x - v time < 2k + 1/2 for all integers k. The part of the length up to x that is
    filled is a sum over these fronts of +-(x - v time - front)_+, whose mean over v up to an edge is known in closed form.
    """
    x = np.linspace(0, 1, nx + 1)[:, None]
    images = math.ceil((REACH * time + 3) / 2)
    filled = np.zeros((nx + 1, len(v)))
    for number in range(-2 * images, 2 * images + 2):
        ahead = x - (number - 0.5)
        u = np.minimum(v, ahead / time)
        filled += (-1) ** number * (ahead * ndtr(u) + time * np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi))
    return np.maximum(2 * np.diff(np.diff(filled, axis=0), axis=1), 0)  # rounding leaves empty cells at +-1e-16


def grain_gain(dv):
    """Entropy that velocity cells of width `dv`, edges at its multiples, add to a Maxwellian, per direction.

    The entropy of the density averaged over cells, less that of the density itself; dv^2 / 24 for small dv.
    """
    cells = math.ceil(REACH / _number("dv", dv))
    p = -np.diff(ndtr(-dv * np.arange(cells + 1)))  # v > 0; the other half is its mirror image
    return 2 * entr(p).sum() + math.log(dv) - math.log(2 * math.pi * math.e) / 2


# Collisions of hard discs


def collision_frequency(kn):
    """Mean number of collisions of a particle per unit of time, nu = sqrt(pi / 2) / Kn; 0 for Kn = inf."""
    return math.sqrt(math.pi / 2) / _numbers("kn", kn, 0, np.inf, above=True)


def collision_frequency_at(v, kn):
    """Collision frequency of a particle of speed `v` in a Maxwellian gas; its mean over that gas is nu."""
    y = _numbers("v", v, 0) ** 2 / 4
    return collision_frequency(kn) / math.sqrt(2) * ((1 + 2 * y) * i0e(y) + 2 * y * i1e(y))


def diameter(n, kn, area=1.0):
    """Diameter sigma = 1 / (2 sqrt2 density Kn) of `n` discs in `area` whose mean free path is `kn`, if dilute."""
    density = _numbers("n", n, 0, above=True) / _numbers("area", area, 0, above=True)
    return 1 / (2 * math.sqrt(2) * density * _numbers("kn", kn, 0, np.inf, above=True))


def packing_fraction(n, sigma, area=1.0):
    """Share of `area` that `n` discs of diameter `sigma` cover."""
    density = _numbers("n", n, 0, above=True) / _numbers("area", area, 0, above=True)
    return density * math.pi / 4 * _numbers("sigma", sigma, 0) ** 2


def enskog(eta):
    """Enskog factor chi: how much more often discs of packing fraction `eta` collide than points would (Henderson 1975)."""
    eta = _numbers("eta", eta, 0, CLOSE_PACKING)
    return (1 - 7 * eta / 16) / (1 - eta) ** 2


def collision_gain(tau):
    """Gain by collisions alone, at mean frequency, after `tau` = nu time: the binary entropy of (1 + exp(-tau)) / 2."""
    return blurred_gain(0.0, np.exp(-_numbers("tau", tau, 0)))


def scaling_gain(tau, ratio, speed_dependent=True):
    """Gain by free motion and collisions at Kn >> 1 after `tau` = nu time, `ratio` = dv / nu: the rates' ratio, L = 1.

    A particle that has collided is anywhere; the others, a share exp(-nu(v) time), move freely: the mean over speeds of
    blurred_gain(ratio tau, that share). `speed_dependent` = False takes nu for nu(v), at most 0.0083 more. Misses terms of
    order 1 / Kn.
    """
    tau, ratio = np.broadcast_arrays(_numbers("tau", tau, 0), _numbers("ratio", ratio, 0))
    if not speed_dependent:
        return blurred_gain(ratio * tau, np.exp(-tau))
    energy, weight = np.polynomial.laguerre.laggauss(48)  # v^2 / 2 is exponential in two dimensions
    collided = tau[..., None] * collision_frequency_at(np.sqrt(2 * energy), 1.0) / collision_frequency(1.0)
    return blurred_gain((ratio * tau)[..., None], np.exp(-collided)) @ weight


def anisotropic_rate(tx, ty):
    """Entropy per collision time that collisions make of a Maxwellian of temperatures `tx`, `ty` > 0 along x and y.

    The collision time 1 / nu is that of T = (tx + ty) / 2. A collision turns the relative velocity g by chi, sin^2 chi is
    8/15 in the mean, so dT_x / d(nu time) = 2 <g (g_y^2 - g_x^2)> / (15 sqrt(pi T)); and ds = dT_x (1/T_x - 1/T_y) / 2.
    """
    tx, ty = np.broadcast_arrays(_numbers("tx", tx, 0, above=True), _numbers("ty", ty, 0, above=True))
    angle = 2 * np.pi * np.arange(256) / 256  # a periodic function: the plain sum converges exponentially
    gx2, gy2 = 2 * tx[..., None] * np.cos(angle) ** 2, 2 * ty[..., None] * np.sin(angle) ** 2
    third_moment = 3 * math.sqrt(math.pi / 2)  # <r^3>, where g_x = r sqrt(2 tx) cos, g_y = r sqrt(2 ty) sin
    moment = third_moment * (np.sqrt(gx2 + gy2) * (gy2 - gx2)).mean(-1)
    return moment / (15 * np.sqrt(np.pi * (tx + ty) / 2)) * (1 / tx - 1 / ty)


# Equilibrium, local and global


def equilibrium_entropy(density, temperature=1.0):
    """Entropy 2 + ln(2 pi T / n) of a dilute gas in two dimensions (phase cell 1): Sackur-Tetrode."""
    density, temperature = _numbers("density", density, 0, above=True), _numbers("temperature", temperature, 0, above=True)
    return 2 + np.log(2 * math.pi * temperature / density)


def hydrodynamic_entropy(share, temperature, dx):
    """Entropy of a gas in local equilibrium, -sum p ln(p / dx) + sum p ln(2 pi e T), over the last axis.

    share: p, the particles in each position cell of width `dx`, sum 1; temperature: T there, not looked at where p = 0.
    Only differences mean anything: 1 - ln N, the same at all times, is left out.
    """
    p, dx = _numbers("share", share, 0, 1), _number("dx", dx)
    total = np.atleast_1d(p.sum(-1))
    wrong = np.abs(total - 1) > 1e-6
    if wrong.any():
        raise ParameterError.of("share", total[wrong].flat[0].item(), "1 along the last axis", "sum of field")
    temperature = _numbers("temperature", np.where(p > 0, temperature, 1.0), 0, above=True)
    return (entr(p) + p * np.log(2 * math.pi * math.e * temperature * dx)).sum(-1)


def excess_entropy(eta):
    """What the entropy of hard discs of packing fraction `eta` has over that of points: integral of Henderson's 1975
    equation of state Z = (1 + eta^2 / 8) / (1 - eta)^2; negative, -2 eta for small eta.
    """
    eta = _numbers("eta", eta, 0, CLOSE_PACKING)
    return 7 / 8 * np.log1p(-eta) - 9 * eta / (8 * (1 - eta))


def thermodynamic_gain(eta):
    """Gain from equilibrium at packing fraction `eta` to equilibrium in twice the volume: ln 2 + eta + ..."""
    eta = _numbers("eta", eta, 0, CLOSE_PACKING)
    return math.log(2) + excess_entropy(eta / 2) - excess_entropy(eta)


# What all of them need


def _numbers(field: str, value: Any, low: float, high: float = FINITE, above: bool = False) -> np.ndarray:
    """`value` as float64; `ParameterError` unless all entries are from `low` (`above`: above it) to `high`."""
    given = np.asarray(value)
    numeric = given.dtype.kind in "iuf"
    wrong = ~((given > low if above else given >= low) & (given <= high)) if numeric else None
    if not numeric or wrong.any():
        end = {FINITE: ", finite", np.inf: " (or inf)"}.get(high, f" to {high:.6g}")
        first = given[wrong].flat[0].item() if numeric else value
        raise ParameterError.of(field, first, f"numbers {'above' if above else 'from'} {low:g}{end}")
    return given.astype(float)[()]


def _number(field: str, value: Any) -> float:
    """`ParameterError` unless `value` is one finite number above 0."""
    if np.ndim(value):
        raise ParameterError.of(field, value, "one number above 0, finite")
    return float(_numbers(field, value, 0, above=True))
