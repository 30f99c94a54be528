"""Figures of notebook 02 on the entropy of routes as they are: fragmentation, definitions, duality, distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .maps import COLOURS, GREY
from .power_law import PowerLaw, decile_means, fit_power_law
from .structural_entropy import DEFINITIONS, boltzmann_entropy, stirling

BLUE, RED, GREEN, PINK, ORANGE = COLOURS[:5]
SCALED = {"area": (BLUE, "o"), "density": (RED, "s")}


def fragmentation(fig: Figure, found: Mapping[str, pd.DataFrame]) -> None:
    """Share of routes up to a normalised entropy eta, or an evenness J; `found`: tables with eta, perhaps J, by data set."""
    left, right = fig.subplots(1, 2, sharey=True)
    for ax, column in ((left, "eta"), (right, "J")):
        for (name, table), colour in zip(found.items(), COLOURS, strict=False):
            if column in table:
                ax.ecdf(table[column], color=colour, label=f"{name}: {table[column].mean():.3f}")
        low = min(table[column].quantile(0.002) for table in found.values() if column in table)
        ax.set(xlim=(low - 0.1 * (1 - low), 1))
        ax.legend(loc="upper left", title="mean", alignment="left")
    left.set(ylabel="share of routes up to there")
    left.set(xlabel="η = S / ln N!, fragmentation")
    right.set(xlabel="J = H / ln M, balance of the loads")


def by_metro(fig: Figure, found: pd.DataFrame, metro) -> None:
    """eta of all routes by metro: the middle 80 % as a line, the mean as a dot."""
    ax, names = fig.subplots(), np.unique(metro)
    for row, name in enumerate(names):
        eta = found.eta[np.asarray(metro) == name]
        ax.plot(eta.quantile([0.1, 0.9]), [row, row], color=BLUE, linewidth=3, solid_capstyle="butt")
        ax.plot(eta.mean(), row, "o", color=RED, markersize=8)
        ax.text(eta.mean(), row - 0.12, f"{eta.mean():.3f}", ha="center", va="bottom", fontsize=9)
    ax.set_yticks(range(len(names)), [f"{name} ({(np.asarray(metro) == name).sum():,} routes)" for name in names])
    ax.set(xlabel="η = S / ln N!: 10th to 90th percentile, mean", xlim=(None, 1), ylim=(len(names) - 0.5, -0.5))


def definitions(fig: Figure, normalised: Mapping[str, pd.DataFrame]) -> None:
    """Entropy over its own ceiling by each definition; `normalised`: a table with a column per definition, by data set."""
    ax = fig.subplots()
    for place, ((name, table), colour) in enumerate(zip(normalised.items(), COLOURS, strict=False)):
        shift = 0.16 * (place - (len(normalised) - 1) / 2)
        rows = np.arange(len(table.columns)) + shift
        ax.hlines(rows, table.quantile(0.1), table.quantile(0.9), color=colour, linewidth=2)
        ax.plot(table.mean(), rows, "o", color=colour, label=name)
    ax.set_yticks(range(len(DEFINITIONS)), [f"{kind}: {one.title}" for kind, one in DEFINITIONS.items()])
    ax.set(
        xlabel="entropy / its ceiling: mean, 10th to 90th percentile", xlim=(0, 1.02), ylim=(len(DEFINITIONS) - 0.5, -0.5)
    )
    ax.legend(loc="lower left")


def duality(fig: Figure, found: pd.DataFrame | None = None, parcels: int = 240) -> None:
    """How far N H and Stirling's series miss the exact S, against parcels per stop; dots: routes of `route_entropies`."""
    ax = fig.subplots()
    per_stop = np.array([k for k in range(1, parcels // 2 + 1) if parcels % k == 0])
    loads = [np.full(parcels // k, k) for k in per_stop]
    exact = np.array([boltzmann_entropy(n) for n in loads])
    shannon = np.array([parcels * np.log(len(n)) for n in loads]) / exact - 1
    series = np.array([abs(stirling(n).error) for n in loads]) / exact
    if found is not None:
        look = {"color": ORANGE, "markersize": 4, "zorder": 3, "label": "N H / S − 1, routes"}
        ax.loglog(found.N / found.M, found.N * found.H / found.S - 1, ".", **look)
    ax.loglog(per_stop, shannon, "o-", color=BLUE, label=f"N H / S − 1, {parcels} parcels, equal loads")
    ax.loglog(per_stop, series, "s-", color=RED, label="Stirling to 1/(12 n), relative error")
    ax.set(xlabel="parcels per stop, N / M", ylabel="relative error")
    ax.legend(loc="lower left")


def against_distance(fig: Figure, measures: Mapping[str, np.ndarray], distance, what: str = "driving distance (km)") -> None:
    """A panel per measure: routes, the power law D = c S^b with its 95 % interval, and the means of tenths; log scales."""
    axes = fig.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for ax, (name, S) in zip(axes, measures.items(), strict=True):
        law = fit_power_law(S, distance)
        _scatter(ax, S, distance, law)
        ax.set(xlabel=name)
        ax.set_title(f"b = {law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]\nR² = {law.r_squared:.3f}")
    axes[0].set(ylabel=what)
    axes[0].legend(loc="upper left", fontsize=8)


def _scatter(ax, S, distance, law: PowerLaw) -> None:
    ax.loglog(S, distance, ".", color="0.6", markersize=2, label="routes", rasterized=True)
    grid = np.geomspace(np.min(S), np.max(S), 50)
    ax.plot(grid, law(grid), color=BLUE, label="power law")
    ax.plot(*decile_means(S, distance), "o", color=RED, markersize=5, label="means of tenths")
    _plain_ticks(ax.xaxis, S)
    _plain_ticks(ax.yaxis, distance)


def _plain_ticks(axis, values) -> None:
    """A few round numbers as ticks of a log scale that spans less than two decades."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    span = np.log10(np.max(values) / np.min(values))
    axis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if span > 0.8 else (1, 1.5, 2, 3, 4, 5, 6, 8) if span > 0.35 else range(1, 10))
    )
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def scaling(fig: Figure, records: pd.DataFrame, by: str = "entropy") -> None:
    """The `Distances` experiment: tours against entropy at fixed area and at fixed density, with the fitted exponents."""
    ax = fig.subplots()
    for setting, (colour, marker) in SCALED.items():
        part = records[records.setting == setting]
        law = fit_power_law(part[by], part.distance)
        ax.loglog(part[by], part.distance, marker, color=colour, markersize=3.5, alpha=0.6)
        label = f"fixed {setting}: b = {law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]"
        ax.plot(part[by], law(part[by]), color=colour, label=label)
    _plain_ticks(ax.xaxis, records[by])
    _plain_ticks(ax.yaxis, records.distance)
    name = "S = ln(N! / ∏ n!)" if by == "entropy" else "ln M!"
    ax.set(xlabel=f"{name} (nats)", ylabel="length of the tour D (km)")
    ax.legend(loc="upper left", title="D ~ entropy^b", alignment="left")


def longer_than_shortest(fig: Figure, ratios: Mapping[str, np.ndarray]) -> None:
    """Driven over local-search length of every route, by data set; straight lines, the way from the station included."""
    ax = fig.subplots()
    for row, (values, colour) in enumerate(zip(ratios.values(), COLOURS, strict=False)):
        spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(values))
        ax.plot(values, row + spread, "o", color=colour, markersize=4, alpha=0.6)
        ax.plot([np.mean(values)] * 2, [row - 0.32, row + 0.32], color="black", linewidth=2)
    ax.axvline(1, color=GREY, linestyle="--", linewidth=1)
    ax.set_yticks(range(len(ratios)), [f"{name}: mean {np.mean(values):.2f}" for name, values in ratios.items()])
    ax.set(xlabel="driven length / length that local search finds", ylim=(len(ratios) - 0.5, -0.5))
