"""The figures of notebook 01, each drawn on an empty matplotlib figure. `playgrounds` has those that sliders move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import theory
from .expansion import snapshot
from .measures import at, curve, rates, sensitivity, widths

LN2 = math.log(2)
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.45"
COLOUR = {1.0: BLUE, 0.5: ORANGE, 0.25: GREEN, 0.125: PINK, 2.0: "#E69F00", 0.0625: "#56B4E9"}  # of a velocity cell
TIME, SPEED, GAIN = "time ($L/v_{th}$)", "velocity $v_x$ ($v_{th}$)", "entropy gain (nats per particle)"
FAST = 4.0  # velocities shown


# Parts of figures


def colour(dv: float) -> str:
    """The colour of curves seen with velocity cells of this width."""
    return COLOUR.get(dv, "0.3")


def mark_ln2(ax: Axes) -> None:
    """The final gain as a dotted line."""
    ax.axhline(LN2, color=GREY, linestyle=":", linewidth=1.2)
    ax.annotate("ln 2", (0.01, LN2), xycoords=("axes fraction", "data"), color=GREY, va="bottom", fontsize=9)


def started_left(records: pd.DataFrame) -> np.ndarray:
    """Which of the recorded discs started in the left half of the filled part."""
    return snapshot(records.snapshot.iloc[0])[0] < 0.25


def box(ax: Axes, x, y, left, title: str = "") -> None:
    """Discs in the box, coloured by where they started; the removed wall as a dashed line."""
    dots(ax, x, y, left)
    ax.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xlabel="x (L)", ylabel="y (L)", title=title)
    ax.grid(False)


def phase_space(ax: Axes, x, vx, left, dv: float, nx: int = 16, title: str = "") -> None:
    """The same discs by place and velocity along x, with the observer's cells."""
    cells(ax, dv, nx)
    dots(ax, x, vx, left)
    ax.set(xlabel="x (L)", ylabel=SPEED, title=title)


def cells(ax: Axes, dv: float, nx: int) -> None:
    """The observer's grid in the plane of x and v_x."""
    ax.hlines(np.arange(-math.floor(FAST / dv), math.floor(FAST / dv) + 1) * dv, 0, 1, color="0.8", linewidth=0.6)
    ax.vlines(np.arange(nx + 1) / nx, -FAST, FAST, color="0.8", linewidth=0.6)
    ax.set(xlim=(0, 1), ylim=(-FAST, FAST), xticks=(0, 0.5, 1))
    ax.grid(False)


def dots(ax: Axes, x, y, left) -> None:
    """Particles in two colours. Square pixels: quick to draw, and small as a file."""
    look = {"markersize": 1.4 if len(x) >= 1000 else 2.1, "markeredgewidth": 0, "antialiased": False}
    for chosen, shade in ((left, BLUE), (~left, ORANGE)):
        ax.plot(x[chosen], y[chosen], "s", color=shade, **look)


def gains(ax: Axes, records: pd.DataFrame, label: bool = True, **look) -> None:
    """The gain against time for every width of the velocity cells; the mean over the seeds."""
    for dv in widths(records):
        mean = curve(records, dv).mean(axis=1)
        ax.plot(mean.index, mean, color=colour(dv), label=f"Δv = {dv:g}" if label else None, **look)
    mark_ln2(ax)
    ax.set(xlabel=TIME, ylabel=GAIN, ylim=(-0.03, 0.78))


# Figures


def opening(fig: Figure, records: pd.DataFrame, times: Sequence[float], dv: float = 0.5) -> None:
    """Discs in the box (above) and in phase space (below) at some times, and the entropy as three observers see it."""
    grid, left = fig.add_gridspec(2, len(times) + 2), started_left(records)
    for column, time in enumerate(times):
        row = records.iloc[(records.time - time).abs().argmin()]
        x, y, vx = snapshot(row.snapshot)
        above, below = (fig.add_subplot(grid[line, column]) for line in (0, 1))
        box(above, x, y, left, f"t = {row.time:.2g}")
        phase_space(below, x, vx, left, dv)
        if column:
            for ax in (above, below):
                ax.set(ylabel="", yticklabels=[])
    ax = fig.add_subplot(grid[:, len(times) :])
    gains(ax, records)
    for time in filter(None, times):
        ax.axvline(time, color=GREY, linewidth=0.8, linestyle="--")
    ax.set_title("The same gas in three grids")
    ax.legend(loc="lower right")


def free_motion(fig: Figure, records: pd.DataFrame, nx: int) -> None:
    """Free motion: gains against time with the exact curves, their rates, and all gains against dv time."""
    one, two, three = fig.subplots(1, 3)
    rate, time = rates(records), np.linspace(0, records.time.max(), 81)
    for dv in widths(records):
        mean, look = curve(records, dv).mean(axis=1), {"color": colour(dv), "label": f"Δv = {dv:g}"}
        one.plot(time, theory.finite_cell_gain(time, nx, dv), color=colour(dv), linewidth=1)
        one.plot(mean.index[::2], mean[::2], "o", markersize=4, **look)
        two.loglog(np.full(len(rate), dv), rate[dv], "o", **look)
        three.plot(dv * mean.index[1:], mean[1:], "o", color=colour(dv), markersize=4)
    mark_ln2(one)
    one.set(xlabel=TIME, ylabel=GAIN, ylim=(-0.03, 0.78), title="Finer cells, slower rise")
    span = np.array(widths(records))
    two.loglog(span, span / 2, color="black", linewidth=1, label="Δv / 2L")
    two.set_xticks(span, [f"{dv:g}" for dv in span])
    two.set_yticks(span / 2, [f"{dv / 2:g}" for dv in span])
    two.minorticks_off()
    two.set(
        xlabel="velocity cell Δv ($v_{th}$)", ylabel="rate (nats per particle, $v_{th}/L$)", title="The rate is linear in Δv"
    )
    two.legend(loc="upper left")
    W = np.linspace(0, max(dv * records.time.max() for dv in span), 300)
    three.plot(W, theory.blurred_gain(W), color="black", linewidth=1, label="Φ(1, W)")
    mark_ln2(three)
    three.set(xlabel="W = Δv t / L", ylabel=GAIN, ylim=(-0.03, 0.78), title="One curve for all cells")
    three.legend(loc="lower right")


def discs_and_boltzmann(fig: Figure, pairs: Mapping[float, tuple[pd.DataFrame, pd.DataFrame]], bound: float) -> None:
    """Per Knudsen number: gains of hard discs (dots) and of Boltzmann's equation (lines); below, their differences."""
    axes = fig.subplots(2, len(pairs), height_ratios=(2, 1), squeeze=False)
    for (kn, (discs, kinetic)), (above, below) in zip(pairs.items(), axes.T, strict=True):
        gains(above, kinetic, linewidth=1)
        for dv in widths(discs):
            seeds, expected = curve(discs, dv), curve(kinetic, dv).mean(axis=1)
            mean, spread = seeds.mean(axis=1), seeds.std(axis=1, ddof=1) if seeds.shape[1] > 1 else None
            above.errorbar(mean.index, mean, spread, fmt="o", color=colour(dv), markersize=3.5, elinewidth=1)
            below.plot(mean.index, mean - expected.reindex(mean.index), "o-", color=colour(dv), markersize=3.5, linewidth=1)
        above.set(title=f"Kn = {kn:g}", xlabel="")
        above.legend(loc="lower right")
        below.axhspan(-bound, bound, color="0.9")
        below.set(xlabel=TIME, ylabel="discs − Boltzmann\n(nats)", ylim=(-2 * bound, 2 * bound))


def headline(fig: Figure, runs: Mapping[float, pd.DataFrame], rare: float, dense: float, time: float = 1.0) -> None:
    """Gains of a rare and of a dense gas, and how much the cells matter at `time` against the Knudsen number."""
    axes = fig.subplots(1, 3)
    for ax, kn in zip(axes, (rare, dense), strict=False):
        gains(ax, runs[kn])
        ax.axvline(time, color=GREY, linewidth=0.8, linestyle="--")
        ax.set_title(f"Kn = {kn:g}")
    ax.plot(*hydrodynamic(runs[dense]), color="black", linestyle="--", linewidth=1.2, label="local equilibrium")
    axes[0].legend(loc="lower right")
    ax.legend(loc="lower right")
    last = axes[2]
    order = sorted(runs)
    finite = [kn for kn in order if math.isfinite(kn)]
    place = {kn: kn if math.isfinite(kn) else 6 * finite[-1] for kn in order}
    found = {kn: sensitivity(runs[kn], time) for kn in order}
    for kn in order:
        last.plot(np.full(len(found[kn]), place[kn]), found[kn], "o", color=BLUE, markersize=4)
    last.plot([place[kn] for kn in order], [found[kn].mean() for kn in order], color=BLUE, linewidth=1)
    last.axhline(0, color=GREY, linewidth=0.8)
    last.set_xscale("log")
    last.set_xticks([place[kn] for kn in order], [f"{kn:g}" if math.isfinite(kn) else "∞" for kn in order])
    last.minorticks_off()
    last.set(xlabel="Knudsen number ℓ / L", ylabel=f"D at t = {time:g} (nats per particle)")
    last.set_title("D = gain(Δv 1) − gain(Δv 0.25)")


def hydrodynamic(records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times, and the mean gain of the gas in local equilibrium."""
    mean = records.groupby("time").gain_hydrodynamic.mean()
    return mean.index.to_numpy(), mean.to_numpy()


def approach(fig: Figure, runs: Mapping[float, pd.DataFrame], ratio: float, tau: float) -> None:
    """Gains at one ratio of the rates against collisions per particle, and how far from the scaling form at `tau`."""
    left, right = fig.subplots(1, 2)
    grid = np.linspace(0, max(records.time.max() * theory.collision_frequency(kn) for kn, records in runs.items()), 101)
    shades = (PINK, ORANGE, GREEN, BLUE)
    form = theory.scaling_gain(tau, ratio)
    for (kn, records), shade in zip(runs.items(), shades, strict=False):
        nu, (dv,) = theory.collision_frequency(kn), widths(records)
        mean, seeds = curve(records, dv).mean(axis=1), at(records, tau / nu)[dv]
        left.plot(nu * mean.index, mean, "o-", color=shade, linewidth=1, label=f"Kn = {kn:g}")
        right.loglog(np.full(len(seeds), kn), np.abs(seeds - form), "o", color=shade)
    left.plot(grid, theory.scaling_gain(grid, ratio), color="black", label="scaling form")
    mark_ln2(left)
    left.set(xlabel="τ = ν t (collisions per particle)", ylabel=GAIN, ylim=(-0.03, 0.78), title=f"R = {ratio:g}")
    left.legend(loc="lower right")
    kns = np.array(list(runs), float)
    first = np.abs(at(runs[kns[0]], tau / theory.collision_frequency(kns[0])).iloc[:, 0] - form).mean()
    right.loglog(kns, first * kns[0] / kns, color="black", linewidth=1, label="1 / Kn")
    right.set_xticks(kns, [f"{kn:g}" for kn in kns])
    right.minorticks_off()
    ticks = [tick for tick in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4) if first * kns[0] / kns[-1] / 2 < tick < 2 * first]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.set(xlabel="Knudsen number ℓ / L", ylabel=f"|gain − scaling form| at τ = {tau:g} (nats)")
    right.set_title("What is missing falls like 1 / Kn")
    right.legend(loc="upper right")


def live_expansion(fig: Figure, runs: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """The newest run: its discs and their phase space as last recorded; the gains of all runs. `runs`: (label, records)."""
    runs = [(label, records) for label, records in runs if len(records)]
    if not runs:
        return
    axes = fig.subplots(1, 3)
    for _, older in runs[:-1]:
        gains(axes[2], older, label=False, linewidth=0.9, alpha=0.45)
    label, newest = runs[-1]
    state(axes[:2], newest)
    gains(axes[2], newest)
    axes[2].set_title(label)
    axes[2].legend(loc="lower right")


def state(axes: Sequence[Axes], records: pd.DataFrame) -> None:
    """Box and phase space at the last record, on two axes, with the middle one of the observers' grids."""
    records = records[records.seed == records.seed.iloc[-1]]
    if "snapshot" not in records:
        return
    x, y, vx = snapshot(records.snapshot.iloc[-1])
    left, seen = started_left(records), widths(records)
    box(axes[0], x, y, left, f"t = {records.time.iloc[-1]:.2f}")
    dv = seen[len(seen) // 2]
    phase_space(axes[1], x, vx, left, dv, title=f"cells of Δv = {dv:g}")
