"""The pictures of notebook 04 that sliders move: closed forms, small matrices, or tables computed beforehand."""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.figure import Figure

from entropy_utils.information import shannon_entropy, shannon_entropy_from_logits

from . import bounds, random_logits, spectral_growth

BLUE, RED, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "0.45"
NORM = "norm s of the row of logits"
ENTROPY = "entropy H (nats)"


def two_levels(fig: Figure, T: int, s: float, m: int) -> None:
    """The row with `m` high logits and norm `s`: its probabilities, and its entropy between log T and the floor."""
    m = min(m, T - 1)
    bars, curve = fig.subplots(1, 2)
    logits = bounds.two_level_logits(T, s, m)
    p = np.exp(logits - np.logaddexp.reduce(logits))
    _bars(bars, p, [RED] * m + [BLUE] * (T - m))
    bars.axhline(1 / T, color=GREY, linestyle="--", linewidth=1)
    bars.set(xlabel="key", ylabel="attention p", ylim=(0, 1.03))
    bars.set_title(f"{m} of {T} keys high; together {m * p[0]:.3f}")
    grid = np.linspace(0, 16, 161)
    curve.plot(grid, bounds.row_floor(T, grid), color=BLUE, label="floor (m = 1), Theorem 3.1")
    if m > 1:
        curve.plot(grid, bounds.two_level_floor(T, grid, m), color=RED, label=f"m = {m}")
    turn, half = bounds.half_way(T), np.log(2) + np.log(T - 1) / 2
    curve.axhline(np.log(T), color=GREY, linestyle="--", linewidth=1, label="log T")
    curve.plot(turn, half, "s", color=GREEN, markersize=7, label=f"p = 1/2, at s = {turn:.2f}")
    curve.plot(s, shannon_entropy(p), "o", color=ORANGE, markersize=9)
    curve.set(xlabel=NORM, ylabel=ENTROPY, ylim=(-0.03 * np.log(T), 1.08 * np.log(T)), xlim=(-0.3, 16.3))
    curve.set_title(f"H = {shannon_entropy(p):.4g}, floor {bounds.row_floor(T, s):.4g}")
    _legend_below(curve)


def _legend_below(ax) -> None:
    """Inside it would hide curves at some settings."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.29), ncols=2, fontsize=8)


def _bars(ax, heights: np.ndarray, colour: str | list[str] = BLUE) -> None:
    """Bars at 1, 2, ...: as lines, since a patch for each is what makes a slider slow."""
    ax.vlines(np.arange(1, len(heights) + 1), 0, heights, color=colour, linewidth=min(12.0, 150 / len(heights)))
    ax.set_xlim(0, len(heights) + 1)


@cache
def _random_curves(T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard normal logits (rows, T), a grid of standard deviations, and the entropies of the rows (grid, rows)."""
    z = np.random.default_rng(T).normal(size=(max(4, 16_384 // T), T))
    grid = np.linspace(0, 8, 33)
    return z, grid, np.stack([shannon_entropy_from_logits(std * z) for std in grid])


def random_attention(fig: Figure, T: int, std: float) -> None:
    """One row of Gaussian logits, sorted, and the entropies of many against their standard deviation."""
    bars, curve = fig.subplots(1, 2)
    z, grid, entropies = _random_curves(T)
    p = np.sort(np.exp(std * z[0] - np.logaddexp.reduce(std * z[0])))[::-1][:40]
    _bars(bars, p)
    bars.axhline(1 / T, color=GREY, linestyle="--", linewidth=1)
    bars.set(xlabel="key, sorted" + (" (first 40)" if T > 40 else ""), ylabel="attention p", ylim=(0, 1.03))
    here = shannon_entropy_from_logits(std * z)
    bars.set_title(f"one row: top key {p[0]:.3f}, H = {here[0]:.3f}")
    curve.fill_between(grid, entropies.min(1), entropies.max(1), color=BLUE, alpha=0.18, linewidth=0)
    curve.plot(grid, entropies.mean(1), color=BLUE, label=f"mean of {len(z)} rows; band: range")
    curve.plot(grid, random_logits.random_logit_entropy(T, grid), color=RED, linestyle="--", label="log T − std²/2, then 0")
    curve.axvline(
        random_logits.freezing_std(T), color=GREEN, linewidth=1.2, label=f"√(2 log T) = {random_logits.freezing_std(T):.2f}"
    )
    curve.plot(std, here.mean(), "o", color=ORANGE, markersize=9)
    curve.set(xlabel="standard deviation of the logits", ylabel=ENTROPY, ylim=(-0.03 * np.log(T), 1.05 * np.log(T)))
    curve.set_title(f"T = {T}: mean H = {here.mean():.3f}, formula {random_logits.random_logit_entropy(T, std):.3f}")
    _legend_below(curve)


@cache
def _disordered(width: int, disorder: float) -> np.ndarray:
    """Singular values of the signs of a rank-1 matrix plus `disorder` times Gaussian noise."""
    rng = np.random.default_rng(width)
    ordered = spectral_growth.sign_update("rank-1", width, rng)
    return np.linalg.svd(np.sign(ordered + disorder * rng.normal(size=(width, width))), compute_uv=False)


def update_norms(fig: Figure, measured: dict[int, float], log2_width: int, disorder: float) -> None:
    """Spectral norm of an Adam step between sqrt(w) and w; `measured` has real first steps by width, over the rate."""
    bars, curve = fig.subplots(1, 2)
    width = 2**log2_width
    values = _disordered(width, disorder)
    _bars(bars, values[:16])
    bars.axhline(np.sqrt(width), color=RED, linestyle="--", linewidth=1.2, label="all equal: √w")
    bars.set(xlabel="singular value", ylabel="size / learning rate", ylim=(0, 1.05 * width))
    bars.set_title(f"w = {width}: norm {values[0]:.1f}, √w = {np.sqrt(width):.1f}")
    bars.legend(loc="upper right", fontsize=8)
    widths = np.array([16, 32, 64, 128, 256])
    curve.loglog(widths, widths, color=GREY, label="w: rank-1 signs, the ceiling")
    curve.loglog(widths, 2 * np.sqrt(widths), color=GREY, linestyle=":", label="2√w: random signs")
    curve.loglog(widths, np.sqrt(widths), color=RED, linestyle="--", label="√w: the floor, Prop. 3.2")
    curve.loglog(list(measured), list(measured.values()), "s", color=GREEN, label="real first steps of W_Q, W_K")
    curve.loglog(width, values[0], "o", color=ORANGE, mfc="none", mew=2.5, markersize=11, label="yours")
    curve.set_xticks(widths, [f"{w}" for w in widths])
    curve.minorticks_off()
    curve.set(xlabel="width w", ylabel="norm of the step / learning rate", ylim=(3, 3000))
    curve.legend(loc="upper left", fontsize=8)


@cache
def _with_gap(width: int, second: float) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of norm 1 whose other singular values run from `second` down to 0; sigma_hat from 8 starts, 60 rounds."""
    rng = np.random.default_rng(width)
    left, right = (np.linalg.qr(rng.normal(size=(width, width)))[0] for _ in range(2))
    values = np.concatenate([[1.0], np.linspace(second, 0, width - 1)])
    W, starts = left * values @ right.T, rng.normal(size=(8, width))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    return values, np.stack([spectral_growth.power_iteration(W, 60, u) for u in starts])


def power_steps(fig: Figure, steps: int, width: int, second: float) -> None:
    """Power iteration from random starts, and the singular values that gamma W / sigma_hat has after some rounds."""
    curve, bars = fig.subplots(1, 2)
    values, found = _with_gap(width, second)
    curve.plot(found.T, color=BLUE, alpha=0.5, linewidth=1)
    curve.plot(np.full(len(found), steps), found[:, steps], "o", color=ORANGE)
    curve.axhline(1, color=GREY, linestyle="--", linewidth=1)
    curve.set(xlabel="rounds of power iteration", ylabel="estimate / largest singular value", ylim=(0, 1.05))
    curve.set_title(f"after {steps}: {found[:, steps].min():.3f} to {found[:, steps].max():.3f}")
    worst = values / found[:, steps].min()
    _bars(bars, worst[:24])
    bars.axhline(1, color=RED, linestyle="--", linewidth=1.2, label="asked for: γ = 1")
    bars.set(xlabel="singular value", ylabel="size in the weight that is used", ylim=(0, max(1.3, 1.1 * worst[0])))
    bars.set_title(f"worst start: norm {worst[0]:.3f} instead of 1")
    bars.legend(loc="upper right", fontsize=8)
