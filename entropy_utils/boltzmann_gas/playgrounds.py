"""The pictures of notebook 01 that sliders move: closed forms, or tables computed beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import theory
from .expansion import snapshot
from .free_streaming import start, stream
from .measures import curve, widths
from .pictures import BLUE, FAST, GAIN, GREEN, GREY, ORANGE, SPEED, TIME, box, cells, colour, dots, mark_ln2, started_left

SHOWN = 2000  # free particles
CELLS = 32  # position cells of the free particles' observer
RANGE = (-0.03, 0.78)  # of all gains


@cache
def free_gas() -> tuple[np.ndarray, np.ndarray]:
    x, vx, _ = start(SHOWN, np.random.default_rng(0))
    return x, vx


def filaments(fig: Figure, time: float, dv: float) -> None:
    """Free motion: particles in phase space, the mean density in each cell, and the gain that follows from it."""
    one, two, three = fig.subplots(1, 3)
    x, vx = free_gas()
    cells(one, dv, 16)
    dots(one, *stream(x, vx, time), x < 0.25)
    one.set(xlabel="x (L)", ylabel=SPEED, title=f"{SHOWN} particles, t = {time:g}")
    rows = 2 * math.ceil(FAST / dv)
    v = (np.arange(rows) - rows / 2 + 0.5) * dv
    place = (np.arange(2 * CELLS) + 0.5) / (2 * CELLS)
    seen = theory.blurred_profile(place - v[:, None] * time, dv * time)
    edge = rows / 2 * dv
    two.imshow(seen, origin="lower", extent=(0, 1, -edge, edge), aspect="auto", vmin=0, vmax=1, cmap="Blues")
    two.set(xlim=(0, 1), ylim=(-FAST, FAST), xticks=(0, 0.5, 1), xlabel="x (L)", title="seen: mean density per cell")
    two.grid(False)
    grid = np.linspace(0, 8, 161)
    three.plot(grid, theory.blurred_gain(dv * grid), color=BLUE, label="Φ(1, Δv t / L)")
    exact = theory.finite_cell_gain(time, CELLS, dv)
    three.plot(time, exact, "o", color=ORANGE, markersize=8, label=f"in cells: {exact:.3f}")
    mark_ln2(three)
    three.set(xlabel=TIME, ylabel=GAIN, ylim=RANGE, xlim=(-0.15, 8.15), title=f"W = Δv t / L = {dv * time:.3g}")
    three.legend(loc="lower right")


def blur(fig: Figure, W: float, contrast: float) -> None:
    """The step on the ring, blurred over W and faded, and its gain; `contrast` is the share that has not collided."""
    left, right = fig.subplots(1, 2)
    y = np.linspace(-1, 1, 801)
    left.plot(y, theory.blurred_profile(y, 0.0), color=GREY, linewidth=1, label="at the start")
    left.fill_between(y, theory.blurred_profile(y, W, contrast), color=BLUE, alpha=0.25, linewidth=0)
    left.plot(y, theory.blurred_profile(y, W, contrast), color=BLUE, label="as seen")
    left.plot([-W / 2, W / 2], [1.1, 1.1], color=ORANGE, linewidth=3, label="width of the blur")
    left.set(xlabel="place on the ring y (L)", ylabel="density / initial density", xlim=(-1, 1), ylim=(-0.03, 1.75))
    left.set_xticks((-1, -0.5, 0, 0.5, 1))
    left.legend(loc="upper left", fontsize=8)
    grid = np.linspace(0, 5, 251)
    right.plot(grid, theory.blurred_gain(grid), color=GREY, linewidth=1, label="all contrast left: Φ(1, W)")
    right.plot(grid, theory.blurred_gain(grid, contrast), color=BLUE, label=f"Φ({contrast:g}, W)" if contrast < 1 else None)
    gain = theory.blurred_gain(W, contrast)
    right.plot(W, gain, "o", color=ORANGE, markersize=9)
    mark_ln2(right)
    right.set(xlabel="blur W (L)", ylabel=GAIN, ylim=RANGE, title=f"gain {gain:.4f}; ln 2 − gain {math.log(2) - gain:.4f}")
    right.legend(loc="lower right")


def scaling(fig: Figure, log10_ratio: float, against: str = "collisions") -> None:
    """The scaling form between its two limits: collisions alone, and free motion alone."""
    ax, ratio = fig.subplots(), 10.0**log10_ratio
    grid = np.linspace(0, 4, 201)
    tau = grid if against == "collisions" else grid / ratio
    ax.plot(grid, theory.collision_gain(tau), color=GREEN, linestyle="--", label="collisions alone (R → 0)")
    ax.plot(grid, theory.blurred_gain(ratio * tau), color=ORANGE, linestyle="--", label="free motion alone (R → ∞)")
    ax.plot(grid, theory.scaling_gain(tau, ratio), color=BLUE, linewidth=2.5, label="both")
    mark_ln2(ax)
    names = {"collisions": "τ = ν t (collisions per particle)", "blur": "W = R τ = Δv t / L"}
    ax.set(xlabel=names[against], ylabel=GAIN, ylim=RANGE, title=f"R = Δv / (L ν) = {ratio:.3g}")
    ax.legend(loc="lower right")


def one_microstate(fig: Figure, table: pd.DataFrame, exact: pd.Series, n: int, microstate: int) -> None:
    """Gains of one gas of `n` free particles by each estimator, the range of all microstates, and the exact curve."""
    ax = fig.subplots()
    names = {"factorial": "exact count", "plug_in": "shares (Stirling)", "miller_madow": "shares + Miller-Madow"}
    for (name, label), shade in zip(names.items(), (ORANGE, GREEN, BLUE), strict=True):
        runs = table[table.n == n].pivot(index="time", columns="seed", values=name)
        ax.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=shade, alpha=0.15, linewidth=0)
        ax.plot(runs.index, runs[microstate], "o-", color=shade, markersize=3.5, linewidth=1.2, label=label)
    ax.plot(exact.index, exact, color="black", linewidth=1.2, label="N → ∞")
    mark_ln2(ax)
    ax.set(xlabel=TIME, ylabel=GAIN, ylim=RANGE, title=f"microstate {microstate} of N = {n:,} free particles")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.88))


def reversal(fig: Figure, runs: Mapping[tuple[float, float], pd.DataFrame], turn_back_at: float, kn: float) -> None:
    """Velocities turned around: the entropy there and back, and the discs at the turn and when they should be home."""
    one, two, three = fig.subplots(1, 3)
    turn = min((turn for number, turn in runs if number == kn), key=lambda turn: abs(turn - turn_back_at))
    records = runs[kn, turn]
    left = started_left(records)
    for dv in widths(records):
        gain = curve(records, dv).iloc[:, 0]
        one.plot(gain.index, gain, color=colour(dv), label=f"Δv {dv:g}")
    for time, word in ((turn, "turned"), (2 * turn, "home?")):
        one.axvline(time, color=GREY, linestyle="--", linewidth=1)
        place = {"textcoords": "offset points", "xytext": (-3, 0), "ha": "right", "va": "bottom"}
        one.annotate(word, (time, 0.74), color=GREY, rotation=90, fontsize=8, **place)
    mark_ln2(one)
    one.set(xlabel=TIME, ylabel=GAIN, ylim=(-0.03, 1.08), title=f"Kn = {kn:g}")
    one.legend(loc="upper left", ncols=3, fontsize=8, handlelength=0.9, columnspacing=0.7, handletextpad=0.4)
    for ax, time, name in ((two, turn, "at the turn:"), (three, 2 * turn, "home?")):
        row = records.iloc[(records.time - time).abs().argmin()]
        x, y, _ = snapshot(row.snapshot)
        box(ax, x, y, left, f"{name} {100 * row.left:.1f} % are left")
    three.set_ylabel("")


def curves(
    fig: Figure, runs: Mapping[float, pd.DataFrame], kn: float, widths_shown: str | float, against: str, form: bool = True
) -> None:
    """Gains of all widths at one Knudsen number, or of all Knudsen numbers at one width, over one of three times."""
    ax = fig.subplots()
    chosen = [(kn, dv) for dv in widths(runs[kn])] if widths_shown == "all" else [(other, widths_shown) for other in runs]
    chosen = [(one, dv) for one, dv in chosen if against != "ν t" or math.isfinite(one)]
    for number, (one, dv) in enumerate(chosen):
        gain = curve(runs[one], dv).mean(axis=1)
        nu = theory.collision_frequency(one)
        unit = {"t": 1.0, "Δv t": dv, "ν t": nu}[against]
        every = widths_shown == "all"
        shade = colour(dv) if every else f"C{number % 8}"
        thick = 2.2 if every or one == kn else 0.9
        ax.plot(unit * gain.index, gain, color=shade, linewidth=thick, label=f"Δv = {dv:g}" if every else f"Kn = {one:g}")
        if form and one == kn:
            fine = np.linspace(0, gain.index.max(), 121)
            both = theory.scaling_gain(nu * fine, dv / nu) if nu else theory.blurred_gain(dv * fine)
            ax.plot(unit * fine, both, color=shade, linestyle=":", linewidth=1.6)
    mark_ln2(ax)
    if not chosen:
        ax.annotate("no collisions, no ν t", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY)
    names = {"t": TIME, "Δv t": "Δv t (L)", "ν t": "ν t (collisions per particle)"}
    title = f"Kn = {kn:g}" if widths_shown == "all" else f"Δv = {widths_shown:g}; thick: Kn = {kn:g}"
    ax.set(xlabel=names[against], ylabel=GAIN, ylim=RANGE, title=title + ("; dotted: scaling form" if form else ""))
    if chosen:
        ax.legend(loc="lower right")


def producers(fig: Figure, runs: Mapping[float, pd.DataFrame], kn: float, dv: float) -> None:
    """What free motion and collisions have added to the gain up to each time, as stacked areas; the shares at the end."""
    ax = fig.subplots()
    streaming, collisional = (curve(runs[kn], dv, f"{name}_").mean(axis=1) for name in ("streaming", "collisional"))
    time = streaming.index
    ax.stackplot(time, streaming, collisional, colors=("#56B4E9", "#E69F00"), labels=("free motion", "collisions"))
    ax.plot(time, streaming + collisional, color="black", linewidth=1.2)
    mark_ln2(ax)
    a, b = streaming.iloc[-1], collisional.iloc[-1]
    ax.set(xlabel=TIME, ylabel=GAIN, ylim=RANGE, xlim=(0, time.max()))
    ax.set_title(f"Kn = {kn:g}, Δv = {dv:g}: free motion {a:.3f} + collisions {b:.3f} = {a + b:.3f}")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.88))
