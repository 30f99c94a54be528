"""Figures of histories, phases, mergers and AGN activity for notebook 03. Every function draws on the figure it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .classes import CLASSES, ENTROPY_LIMITS
from .histories import Histories
from .merger_control import Excess
from .phases import Survival
from .transformations import smooth

COLOUR = dict(zip(CLASSES, ("#0072B2", "#E69F00", "#D55E00"), strict=True))  # of the classes, in every figure
UP, DOWN, OTHER, GREY = "#D55E00", "#0072B2", "#009E73", "0.45"  # of the directions
HORIZON = 8.0  # Gyr up to which mean durations are compared: the curves of all classes reach so far
TIME, ENTROPY = "age of the universe (Gyr)", "central entropy K (keV cm²)"


# Parts of figures


def bands(ax: Axes, bottom: float = 2.0, top: float = 900.0) -> None:
    """The classes as pale bands of a logarithmic entropy axis, named beside it."""
    low, high = ENTROPY_LIMITS
    for name, edges in zip(CLASSES, ((bottom, low), (low, high), (high, top)), strict=True):
        ax.axhspan(*edges, color=COLOUR[name], alpha=0.07, lw=0)
        place = {"xy": (1.01, np.sqrt(edges[0] * edges[1])), "xycoords": ("axes fraction", "data"), "va": "center"}
        ax.annotate(name, color=COLOUR[name], fontsize=8, rotation=90, annotation_clip=False, **place)
    ax.set(yscale="log", ylim=(bottom, top))
    ax.set_yticks((3, 10, 30, 100, 300), ("3", "10", "30", "100", "300"))
    ax.minorticks_off()
    ax.grid(False)


def history(ax: Axes, histories: Histories, cluster: int, events: pd.DataFrame, sigma: float = 0.20, xi_min=0.1) -> None:
    """One cluster: snapshots, smoothed curve, class bands, transformations shaded, mergers (xi >= xi_min) as ticks below."""
    own = histories.select([cluster])
    smoothed = smooth(own, sigma)
    bands(ax)
    for event in events[events.cluster == cluster].itertuples():
        ax.axvspan(event.t_start, event.t_end, color=UP if event.direction == "up" else DOWN, alpha=0.22, lw=0)
    ax.plot(own.t, own.K0[0], "o", color=GREY, markersize=2.5)
    ax.plot(smoothed.t, 10 ** smoothed.y[0], color="black", lw=1.4)
    mergers = own.mergers[own.mergers.xi >= xi_min]
    ax.plot(mergers.t, np.full(len(mergers), 2.5), "|", color="black", markersize=8, mew=1.4)
    ax.set(xlim=(own.t[0] - 0.1, own.t[-1] + 0.1), xlabel=TIME, ylabel=ENTROPY)


def _labels(fig: Figure, marks: Mapping[str, tuple[str, str]], columns: int) -> None:
    """A legend above the figure: label -> (marker, colour)."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    drawn = []
    for label, (marker, colour) in marks.items():
        if marker == "area":
            drawn.append(Patch(color=colour, alpha=0.3, label=label))
        else:
            look = {"ls": "-"} if marker == "-" else {"ls": "", "marker": marker}
            drawn.append(Line2D([], [], color=colour, label=label, **look))
    fig.legend(handles=drawn, loc="outside upper left", ncols=columns, fontsize=8)


# Figures


def histories(fig: Figure, data: Histories, clusters: Sequence[int], events: pd.DataFrame, columns: int = 3) -> None:
    """Histories of some clusters (row numbers), one panel each."""
    rows = -(-len(clusters) // columns)
    axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, cluster in zip(axes.flat, clusters, strict=False):
        history(ax, data, cluster, events)
        counts = events[events.cluster == cluster].direction.value_counts()
        ax.set_title(f"cluster {data.halo_id[cluster]}: {counts.get('up', 0)} up, {counts.get('down', 0)} down", fontsize=10)
        ax.label_outer()
    for ax in axes.flat[len(clusters) :]:
        ax.set_visible(False)
    marks = {"snapshots": ("o", GREY), "smoothed": ("-", "black"), "merger, ξ ≥ 0.1": ("|", "black")}
    _labels(fig, marks | {"to higher K": ("area", UP), "to lower K": ("area", DOWN)}, 5)


def drift(fig: Figure, records: pd.DataFrame) -> None:
    """Records of `Population`: the spread of K with time, shares of the classes, and transformations; seeds pooled."""
    left, middle, right = fig.subplots(1, 3)
    mean = records.groupby("t").mean(numeric_only=True)
    bands(left)
    left.fill_between(mean.index, mean.K16, mean.K84, color="0.3", alpha=0.25, lw=0)
    left.plot(mean.index, mean.K50, color="black")
    left.set(xlabel=TIME, ylabel=ENTROPY, title="median, 16 to 84 %")
    for column, shade, label, style in (
        ("scc", COLOUR["SCC"], "$t_{cool}$ < 1 Gyr", "-"), ("ncc", COLOUR["NCC"], "$t_{cool}$ > 7.7 Gyr", "-"),
        ("low", COLOUR["SCC"], "K ≤ 22", "--"), ("high", COLOUR["NCC"], "K > 150", "--"),
    ):  # fmt: skip
        middle.plot(mean.index, mean[column], style, color=shade, label=label)
    middle.set(xlabel=TIME, ylabel="share of the clusters", ylim=(0, 1.02), title="classes")
    middle.legend(fontsize=8)
    width = np.gradient(mean.index.to_numpy())
    for column, shade in (("up", UP), ("down", DOWN)):
        rate = (mean[column] / width).rolling(6, center=True, min_periods=1).mean()
        right.plot(mean.index, rate, color=shade, label=column)
    right.set(xlabel=TIME, ylabel="events per cluster and Gyr", title="transformations")
    right.set_ylim(0)
    right.legend(fontsize=8)


def final_entropies(fig: Figure, populations: Sequence[Histories], K_real=None) -> None:
    """Cumulative distribution of K0 at the last snapshot, one line per population, and of the real clusters."""
    ax = fig.subplots()
    for number, one in enumerate(populations):
        ax.ecdf(one.K0[:, -1], color=OTHER, lw=0.9, alpha=0.7, label="model, one line per seed" if not number else None)
    if K_real is not None:
        ax.ecdf(np.asarray(K_real), color="black", lw=1.8, label="TNG-Cluster catalogue")
    for limit in ENTROPY_LIMITS:
        ax.axvline(limit, color=GREY, lw=1, ls=":")
    ax.set(xscale="log", xlim=(3, 900), xlabel=ENTROPY, ylabel="share of the clusters below", title="z = 0")
    ax.set_xticks((3, 10, 22, 50, 150, 500), ("3", "10", "22", "50", "150", "500"))
    ax.minorticks_off()
    ax.legend(loc="upper left")


def phase_survival(fig: Figure, curves: Mapping[str, Survival], table: pd.DataFrame) -> None:
    """Kaplan-Meier curves by class with 95 % intervals, and beside them three mean durations of the same phases."""
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    for phase in filter(curves.__contains__, CLASSES):
        curve = curves[phase]
        time = np.concatenate([[0], curve.time])
        left.step(time, np.concatenate([[1], curve.share]), where="post", color=COLOUR[phase], label=phase)
        bounds = (np.concatenate([[1], side]) for side in (curve.low, curve.high))
        left.fill_between(time, *bounds, step="post", color=COLOUR[phase], alpha=0.2, lw=0)
    left.axhline(0.5, color=GREY, lw=1, ls=":")
    left.set(xlabel="time in the class (Gyr)", ylabel="share that lasts longer", ylim=(0, 1.02), xlim=(0, 11))
    left.legend()
    names = {"complete": "complete ones only", "all": "all, as seen", "survival": f"Kaplan-Meier, to {HORIZON:g} Gyr"}
    for place, phase in enumerate(CLASSES):
        own = table[table.phase == phase]
        values = {"complete": own.duration[~own.censored].mean(), "all": own.duration.mean()}
        values["survival"] = curves[phase].mean_up_to(HORIZON) if phase in curves else np.nan
        for (name, value), marker in zip(values.items(), "vos", strict=True):
            right.plot(value, place, marker, color=COLOUR[phase], markersize=8, label=names[name] if not place else None)
    right.set_yticks(range(3), CLASSES)
    right.set(xlabel="mean duration (Gyr)", ylim=(3.2, -0.5), title="three answers", xlim=(0, None))
    handles, labels = right.get_legend_handles_labels()
    legend = right.legend(handles, labels, loc="lower right", fontsize=8)
    for handle in legend.legend_handles:
        handle.set_color(GREY)


def controls(fig: Figure, outcome: Mapping[str, Excess], title: str = "") -> None:
    """Histogram of the control samples and the observed share, for upward and for downward events."""
    axes = fig.subplots(1, 2, sharex=True)
    for ax, (direction, shade) in zip(axes, (("up", UP), ("down", DOWN)), strict=True):
        ax.set(xlabel="share with a merger in the window", xlim=(0, 1))
        if direction not in outcome:
            ax.set_title(f"{direction}: too few events")
            continue
        one = outcome[direction]
        ax.stairs(*np.histogram(one.controls, np.linspace(0, 1, 101)), color=GREY, alpha=0.6, fill=True, label="controls")
        ax.axvline(one.observed, color=shade, lw=2.4, label=f"{one.events} events '{direction}'")
        ax.set_title(f"{direction}: {one.observed:.2f}, control {one.expected:.2f}, z = {one.z:+.1f}")
        ax.set_ylim(0, 1.4 * ax.get_ylim()[1])  # room for the legend
        ax.legend(loc="upper left" if one.observed > 0.5 else "upper right", fontsize=8)
    axes[0].set_ylabel("control samples")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10)


def excesses(fig: Figure, tests: pd.DataFrame) -> None:
    """z of every test of `measures.merger_tests`, one dot per population; the bars are their means."""
    ax = fig.subplots()
    names = list(dict.fromkeys(tests.test))
    for direction, shade, shift in (("up", UP, -0.17), ("down", DOWN, 0.17)):
        for place, name in enumerate(names):
            z = tests.z[(tests.test == name) & (tests.direction == direction)]
            ax.plot(z, np.full(len(z), place + shift), "o", color=shade, alpha=0.6, markersize=4)
            ax.plot([z.mean()] * 2, [place + shift - 0.13, place + shift + 0.13], color=shade, lw=2.2)
        ax.plot([], [], "o", color=shade, label={"up": "to higher K", "down": "to lower K"}[direction])
    ax.axvline(0, color="black", lw=1)
    ax.axvspan(-3, 3, color=GREY, alpha=0.12, lw=0)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="excess of mergers, in standard deviations of the control")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)


def finder_sensitivity(fig: Figure, table: pd.DataFrame) -> None:
    """Rows of `measures.sensitivity`: events per cluster in both directions, share up and median duration of upward ones."""
    bars, share, time = fig.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
    place = np.arange(len(table))
    bars.barh(place, table.up, color=UP, alpha=0.8, label="up")
    bars.barh(place, table.events - table.up, left=table.up, color=DOWN, alpha=0.8, label="down")
    bars.set_yticks(place, table.index)
    bars.set(xlabel="events per cluster", ylim=(len(table) - 0.4, -0.6))
    bars.grid(axis="y", visible=False)
    share.plot(table.up_share, place, "o", color=UP)
    share.set(xlabel="share up", xlim=(0, 1))
    time.plot(table.up_median, place, "s", color=OTHER)
    time.set(xlabel="median duration, up (Gyr)", xlim=(0, 1.15 * table.up_median.max()))
    fig.legend(*bars.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8)


def ablations(fig: Figure, tables: Mapping[str, pd.DataFrame]) -> None:
    """A `measures.summary` per named population: events, share up, median K0 at the end and merger excess, dots per seed."""
    columns = {
        "events": "events per cluster",
        "up_share": "share up",
        "K_median": "median K, z = 0",
        "up_z": "mergers, z (up)",
    }
    axes = fig.subplots(1, len(columns), sharey=True)
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for place, table in enumerate(tables.values()):
            values = table.get(column, pd.Series(dtype=float)).dropna()
            shade = OTHER if not place else GREY
            ax.plot(values, np.full(len(values), place), "o", color=shade, markersize=4, alpha=0.7)
            if len(values):
                ax.plot([values.mean()] * 2, [place - 0.25, place + 0.25], color=shade, lw=2.2)
        ax.set(xlabel=label, ylim=(len(tables) - 0.5, -0.5))
    axes[0].set_yticks(range(len(tables)), list(tables))
    axes[0].set_xlim(0)
    axes[1].set_xlim(-0.05, 1.05)
    axes[2].set(xscale="log", xlim=(2, 500))
    axes[2].set_xticks((3, 10, 30, 100, 300), ("3", "10", "30", "100", "300"))
    axes[2].minorticks_off()
    axes[3].axvspan(-3, 3, color=GREY, alpha=0.12, lw=0)


def agn_before(fig: Figure, rates: pd.DataFrame) -> None:
    """Table of `agn.activity_before`: distributions of the pulses per Gyr before events and at control moments."""
    ax = fig.subplots()
    for kind, shade, style in (("up", UP, "-"), ("down", DOWN, "-"), ("control", GREY, "--")):
        values = rates.rate[rates.kind == kind].dropna()
        if len(values):
            ax.ecdf(values, color=shade, ls=style, label=f"{kind}: median {values.median():.0f} per Gyr, n = {len(values)}")
    ax.set(xlabel="AGN pulses per Gyr in the Gyr before", ylabel="share below", xlim=(0, rates.rate.quantile(0.995)))
    ax.legend(loc="lower right")


def mergers_and_entropy(fig: Figure, counts, K) -> None:
    """K0 at the end against the number of mergers (xi >= 0.1) before: clusters as dots, quartiles by number."""
    ax = fig.subplots()
    counts, K = np.asarray(counts), np.asarray(K)
    shift = np.random.default_rng(0).uniform(-0.3, 0.3, len(K))
    bands(ax)
    ax.plot(counts + shift, K, "o", color=GREY, markersize=2.5, alpha=0.5)
    for number in np.unique(counts):
        own = K[counts == number]
        if len(own) >= 10:
            low, middle, high = np.percentile(own, (25, 50, 75))
            ax.plot([number] * 2, [low, high], color="black", lw=2)
            ax.plot(number, middle, "s", color="black", markersize=6)
    ax.set(xlabel="mergers with ξ ≥ 0.1 since z = 2.58", ylabel=ENTROPY)


def live(fig: Figure, runs: list[tuple[str, pd.DataFrame]]) -> None:
    """For a workbench: median K with time, and up events and merger excess so far, of the runs of `Population`."""
    left, middle, right = fig.subplots(1, 3)
    bands(left)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
    begun = [(label, records) for label, records in runs if len(records)]
    for (label, records), shade in zip(begun, colours, strict=False):
        mean = records.groupby("t").mean(numeric_only=True)
        left.plot(mean.index, mean.K50, color=shade, label=label if len(label) <= 34 else label[:33] + "…")
        total = mean[["up", "down", "up_merged", "up_expected"]].cumsum()
        middle.plot(total.index, total.up, color=shade)
        middle.plot(total.index, total.down, "--", color=shade)
        right.plot(total.index, total.up_merged / total.up.where(total.up > 0), color=shade)
        right.plot(total.index, total.up_expected / total.up.where(total.up > 0), ":", color=shade)
    left.set(xlabel=TIME, ylabel=ENTROPY, title="median")
    if begun:
        left.legend(loc="upper left", fontsize=7)
    middle.set(xlabel=TIME, ylabel="events per cluster so far", title="up; dashed: down")
    right.set(xlabel=TIME, ylabel="share with a merger before", ylim=(0, 1.02), title="up; dotted: chance")
