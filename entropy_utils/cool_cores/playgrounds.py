"""The pictures of notebook 03 that sliders move and that need histories: one core, the finder, the merger control test."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import history_plots
from .cosmology import age, redshift
from .histories import Histories
from .history_plots import DOWN, GREY, TIME, UP, history
from .merger_control import merger_control
from .population import KNOWN_SNAPSHOTS, Population, growth_rate, spread
from .population_steps import Planned, Rules, follow
from .transformations import find_transformations

MASS, Z_FORM = 10**14.6, 0.48  # of the one cluster shown: typical of the catalogue
STEPS = 1100
SHADOWS = 40  # other fates of the same cluster


@cache
def _draws(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers of the shadows: the same for every setting of the sliders, so that only what is moved changes."""
    rng = np.random.default_rng(seed)
    return rng.random((SHADOWS, STEPS)), rng.random((SHADOWS, STEPS))


def core_fates(g_on: float, tau_on: float, merger_at: float, jump: float, seed: int = 0) -> Histories:
    """One cluster with 40 different fates of its AGN, which all suffer the same merger; no other merger, no noise.

    merger_at: age in Gyr at which it begins to heat; jump: what it adds to ln K over 0.5 Gyr, 0 for no merger (then it does
    not boost the AGN either). The other parameters are those of `Population`.
    """
    model = Population(g_on=g_on, tau_on=tau_on)
    t = age(KNOWN_SNAPSHOTS)
    dt = (t[-1] - t[0]) / STEPS
    at = np.rint((t - t[0]) / dt).astype(np.int64)
    rules = Rules(**{name: getattr(model, name) for name in Rules._fields} | {"dt": dt})
    row, begin = np.arange(SHADOWS), np.full(SHADOWS, max(round((merger_at - t[0]) / dt), 0))
    mixing, boost = round(model.mixing / dt), round(model.boost_tau / dt)
    shape = (SHADOWS, STEPS)
    heat = spread(np.full(SHADOWS, jump / mixing), row, begin, mixing, shape)
    boosted = spread(np.full(SHADOWS, float(jump > 0)), row, begin, boost, shape) > 0.5
    switch, pulse = _draws(seed)
    lnK, pulses = follow(
        np.full(SHADOWS, np.log(model.K_start)), np.zeros(SHADOWS, bool), np.full(SHADOWS, MASS),
        np.full(SHADOWS, growth_rate(np.array([Z_FORM]))[0]), redshift(t[0] + dt * np.arange(STEPS)),
        Planned(heat, boosted, switch, pulse), rules, at,
    )  # fmt: skip
    merger = pd.DataFrame({"cluster": row, "t": np.full(SHADOWS, merger_at), "xi": np.full(SHADOWS, 0.5)})
    return Histories(
        halo_id=row, t=t, z=KNOWN_SNAPSHOTS, K0=np.exp(lnK), pulses=pulses, mergers=merger if jump else merger.iloc[:0]
    )


def one_core(fig: Figure, g_on: float, tau_on: float, merger_at: float, jump: float, fate: int = 0) -> None:
    """K(t) of one core and its transformations, before the other fates of the same cluster; and its AGN pulses."""
    core, power = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    fates = core_fates(g_on, tau_on, merger_at, jump)
    events = find_transformations(fates)
    core.plot(fates.t, fates.K0.T, color=GREY, lw=0.5, alpha=0.35)
    history(core, fates, fate, events)
    own = events[events.cluster == fate].direction.value_counts()
    end = fates.K0[:, -1]
    core.set_title(f"{own.get('up', 0)} up, {own.get('down', 0)} down; all fates: median K = {np.median(end):.0f} at z = 0")
    core.set_xlabel("")
    power.stairs(fates.pulses[fate] / np.diff(fates.t), fates.t, color=GREY, fill=True, alpha=0.7)
    if jump:
        for ax in (core, power):
            ax.axvline(merger_at, color="black", lw=1, ls="--")
    power.set(xlabel=TIME, ylabel="pulses / Gyr", ylim=(0, None))


def finder(fig: Figure, data: Histories, sigma: float, change: float, rate: float, cluster: int = 0) -> None:
    """The finder's numbers moved: what it sees in one cluster, and in all."""
    left, right = fig.subplots(1, 2, width_ratios=(2, 1))
    events = find_transformations(data, sigma=sigma, change=change, rate=rate)
    history(left, data, cluster, events, sigma)
    own = events[events.cluster == cluster].direction.value_counts()
    left.set_title(f"cluster {data.halo_id[cluster]}: {own.get('up', 0)} up, {own.get('down', 0)} down")
    per_cluster = [(events.direction == direction).sum() / len(data) for direction in ("up", "down")]
    right.bar([0, 1], per_cluster, color=[UP, DOWN], alpha=0.8, width=0.65)
    for place, value in enumerate(per_cluster):
        right.annotate(f"{value:.2f}", (place, value), ha="center", va="bottom", fontsize=9)
    total = sum(per_cluster)
    right.set_xticks((0, 1), ("up", "down"))
    right.set(ylabel="events per cluster", xlabel="direction", ylim=(0, max(3.5, 1.15 * max(per_cluster))))
    right.set_title(f"{total:.2f}, {100 * per_cluster[0] / total:.0f} % up" if total else "none")
    right.grid(axis="x", visible=False)


def control_test(
    fig: Figure, data: Histories, events: pd.DataFrame, window: float, xi_min: float, reference: str, control: str
) -> None:
    """The merger control test of the events that were found in the data: controls and the observed share, up and down."""
    chosen = {"window": window, "xi_min": xi_min, "reference": reference, "control": control}
    history_plots.controls(fig, merger_control(events, data, **chosen, draws=200))
