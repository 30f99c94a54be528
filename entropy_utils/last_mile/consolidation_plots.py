"""Figures of notebook 02 on consolidation in space and time. Changes are in per cent of the entropy before."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .maps import COLOURS, GREY
from .spatial import Outcome
from .temporal import entropy_ratio, events_ratio

BLUE, RED, GREEN, PINK, ORANGE = COLOURS[:5]
PARTS = {"carrier": BLUE, "trips": ORANGE, "mixing": PINK}
ADOPTION = "share of stops that adopt, α"


def carrier_and_total(fig: Figure, records: pd.DataFrame) -> None:
    """What the carrier saves, and what becomes of the total at each chaining share, against adoption; a colour per K."""
    chis = sorted(records.chi.unique())
    axes = fig.subplots(1, 1 + len(chis), sharey=True)
    _change(axes[0], records[records.chi == chis[0]], "carrier")
    axes[0].set(ylabel="change of entropy (% of before)", title="carrier alone")
    axes[0].axhline(-40, color=GREY, linestyle=":", linewidth=1.2)
    for ax, chi in zip(axes[1:], chis, strict=True):
        _change(ax, records[records.chi == chi], "total")
        ax.set(title=f"total, χ = {chi:g}")
    axes[0].legend(loc="lower left", title="points K")


def _change(ax: Axes, records: pd.DataFrame, which: str) -> None:
    for (K, part), colour in zip(records.groupby("points"), COLOURS, strict=False):
        ax.plot(part.alpha, 100 * part[f"{which}_change"], "o-", color=colour, markersize=3.5, label=f"{K}")
        band = [100 * part[f"{which}_{end}"] for end in ("low", "high")]
        ax.fill_between(part.alpha, *band, color=colour, alpha=0.12, linewidth=0)
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set(xlabel=ADOPTION, xlim=(0, 1), xticks=(0.1, 0.3, 0.5, 0.7, 0.9))


def break_even(fig: Figure, records: pd.DataFrame) -> None:
    """Left: the chaining share at which the total is what it was. Right: what it takes to save 40 % for the carrier."""
    left, right = fig.subplots(1, 2)
    records = records[records.chi == records.chi.min()]
    for (K, part), colour in zip(records.groupby("points"), COLOURS, strict=False):
        left.plot(part.alpha, part.break_even, "o-", color=colour, markersize=3.5, label=f"{K}")
        right.plot(-100 * part.carrier_change, 100 * part.total_change, "o-", color=colour, markersize=3.5, label=f"{K}")
    left.set(xlabel=ADOPTION, ylabel="break-even chaining share χ*", xlim=(0, 1), ylim=(-0.02, 1))
    left.legend(loc="upper right", title="points K")
    right.axvline(40, color=GREY, linestyle=":", linewidth=1.2)
    right.axhline(0, color=GREY, linewidth=1)
    chi = records.chi.iloc[0]
    right.set(xlabel="saved by the carrier (%)", ylabel=f"change of the total at χ = {chi:g} (%)")


def balance(ax: Axes, outcome: Outcome) -> None:
    """Two stacked bars: the entropy before, and what the carrier, the trips and their mixing hold after."""
    ax.barh(0, outcome.before, color="0.7", height=0.55)
    left = 0.0
    for name, colour in PARTS.items():
        width = getattr(outcome, name)
        ax.barh(1, width, left=left, color=colour, height=0.55)
        if name != "mixing" and width > 0.15 * outcome.before:
            shade = "white" if colour == BLUE else "black"
            ax.text(left + width / 2, 1, name, ha="center", va="center", fontsize=9, color=shade)
        left += width
    if outcome.mixing:
        ax.text(left, 1, " mixing", va="center", fontsize=9)
    ax.axvline(outcome.before, color="black", linestyle="--", linewidth=1)
    ax.set_yticks([0, 1], ["before", "after"])
    ax.set(xlabel="entropy (nats)", ylim=(1.5, -0.45), xlim=(0, 1.7 * outcome.before))


def conservation(fig: Figure, table: pd.DataFrame) -> None:
    """Carrier and customer entropy against adoption, stacked: their sum does not move. `table`: alpha, carrier, customer."""
    ax = fig.subplots()
    ax.stackplot(
        table.alpha, table.carrier, table.customer, colors=[BLUE, GREEN], labels=["carrier", "customers, at the points"]
    )
    total = table.carrier + table.customer
    ax.plot(table.alpha, total, color="black", label="sum: the entropy before")
    ax.set(
        xlabel=ADOPTION, ylabel="entropy (nats)", xlim=(table.alpha.min(), table.alpha.max()), ylim=(0, 1.3 * total.max())
    )
    ax.legend(loc="upper left", ncols=3)


def temporal(fig: Figure, pooled: pd.DataFrame) -> None:
    """Events and entropies against the window: a `temporal.pooling_table` as dots, formulas (8) and (9) as lines."""
    axes = fig.subplots(1, 3, sharey=True)
    for (rate, part), colour in zip(pooled.groupby("rate"), COLOURS, strict=False):
        grid = np.linspace(1, part.w.max(), 100)
        for ax, name in zip(axes, ("events", "order", "entropy"), strict=True):
            ax.plot(part.w, part[name], "o", color=colour, markersize=4, label=f"{rate:g}")
        axes[1].plot(part.w, part.order, color=colour, linewidth=0.8, linestyle=":")
        axes[0].plot(grid, events_ratio(rate, grid), color=colour, linewidth=1.2)
        axes[2].plot(grid, entropy_ratio(rate, grid, part.parcels.max()), color=colour, linewidth=1.2)
    for ax, title in zip(axes, ("delivery events", "their orders, ln E!", "parcels over events, S"), strict=True):
        ax.set(xlabel="days pooled w", title=title, ylim=(0, 1.05))
    axes[0].set(ylabel="ratio to daily delivery")
    axes[2].legend(loc="lower left", title="parcels per address and day", alignment="left")


def live_sweep(fig: Figure, runs: list[tuple[str, pd.DataFrame]]) -> None:
    """The workbench's picture: carrier and total against adoption for the newest run, its parent runs in grey."""
    left, right = fig.subplots(1, 2, sharey=True)
    for label, records in runs[:-1]:
        for ax, which in ((left, "carrier"), (right, "total")):
            for number, (_, part) in enumerate(records.groupby(["points", "chi"])):
                title = textwrap.fill(label, 30) if ax is left and not number else None
                ax.plot(part.alpha, 100 * part[f"{which}_change"], color="0.8", linewidth=1, label=title)
    records = runs[-1][1]
    dashes = dict(zip(sorted(records.chi.unique()), ("-", "--", ":", "-."), strict=False))
    for (K, part), colour in zip(records.groupby("points"), COLOURS, strict=False):
        first = part[part.chi == part.chi.min()]
        left.plot(first.alpha, 100 * first.carrier_change, "o-", color=colour, markersize=3.5, label=f"K = {K}")
        for chi, piece in part.groupby("chi"):
            right.plot(piece.alpha, 100 * piece.total_change, dashes.get(chi, "-"), color=colour)
    for chi, dash in dashes.items():
        right.plot([], [], dash, color=GREY, label=f"χ = {chi:g}")
    for ax, title in ((left, "carrier"), (right, "total")):
        ax.axhline(0, color=GREY, linewidth=1)
        ax.set(xlabel=ADOPTION, title=title, xlim=(0, 1))
        ax.legend(loc="lower left", fontsize=8)
    left.set(ylabel="change of entropy (%)")
