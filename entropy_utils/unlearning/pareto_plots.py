"""Pictures of notebook 09's runs. Every function draws on the matplotlib figure it is given; nothing is computed twice.

`runs` are records of `Unlearning` by name, as `lab.sweep` returns them; dots are seeds, lines and bars their mean.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from . import published
from .measures import at_end

COLOURS = {
    "SHRED": "#0072B2", "UNDIAL": "#D55E00", "CEU": "#009E73", "NPO": "#CC79A7", "SimNPO": "#E69F00",
    "GradAscent": "#000000", "GradDiff": "#56B4E9", "RMU": "#8C8C8C", "DPO": "#7A5230",
}  # fmt: skip
LEAST = 1e-5  # a fact probability that is as good as none
REFERENCES = {"full": "P", "gold": "*"}
NAMES = {"forget_prob": "probability of the answers to forget", "fact_prob": "probability of the facts to forget",
         "utility": "model utility"}  # fmt: skip


def method_of(name: str) -> str:
    """The method in a run's name: "NPO+RT 1e-4" is NPO."""
    return next((method for method in sorted(COLOURS, key=len, reverse=True) if name.startswith(method)), name)


def published_front(fig: Figure) -> None:
    """Forget probability against utility as published: TOFU on a 7B model (left), SHRED by share on a 1B model (right)."""
    left, right = fig.subplots(1, 2)
    for name, (forget, utility, _) in published.TABLE_1.items():
        _published_point(left, name, utility, forget)
    shares = np.array([*published.SHARES_1B.values()])
    right.plot(shares[:, 1], shares[:, 0], "o-", color=COLOURS["SHRED"])
    for share, (forget, utility) in published.SHARES_1B.items():
        right.annotate(f"P = {share} %", (utility, forget), (-8, 2), textcoords="offset points", ha="right", fontsize=8)
    for name, (forget, utility) in published.REFERENCE_1B.items():
        _published_point(right, name, utility, forget)
    for ax, title in ((left, "Llama-2-7B, table 1"), (right, "Llama-3.2-1B, dashboard")):
        ax.set(xlabel=NAMES["utility"], ylabel=NAMES["forget_prob"], title=title, ylim=(-0.06, 1.08), xlim=(0.42, 0.7))


def _published_point(ax: Axes, name: str, utility: float, forget: float) -> None:
    reference = {"Full": "P", "Target (retrained)": "*"}.get(name)
    marker = reference or ("s" if name.endswith("+RT") else "o")
    colour = "0.25" if reference else COLOURS[method_of(name)]
    place, align = {
        "Target (retrained)": ((10, 4), "left"), "SHRED": ((10, 0), "left"), "CEU+RT": ((8, -9), "left"),
        "DPO+RT": ((-8, 0), "right"), "GradDiff+RT": ((-8, -3), "right"),
    }.get(name, ((0, 8), "center"))  # fmt: skip
    ax.plot(utility, forget, marker, color=colour, markersize=13 if reference else 8 + 3 * (name == "SHRED"))
    weight = "bold" if name == "SHRED" else "normal"
    ax.annotate(name, (utility, forget), place, textcoords="offset points", ha=align, fontsize=8, weight=weight)


def front(fig: Figure, runs: Mapping[str, Mapping[str, pd.DataFrame]], references: pd.DataFrame) -> None:
    """Forgetting against utility at the end of every run: by the paper's measure (left), by the facts alone (right, where
    less than `LEAST` is drawn there).

    runs: for every method its runs in the order in which a line joins them; references: full and gold, every seed.
    """
    for ax, measure in zip(fig.subplots(1, 2), ("forget_prob", "fact_prob"), strict=True):
        for name, group in runs.items():
            ends = [at_end(records) for records in group.values()]
            ends = [end.assign(fact_prob=end.fact_prob.clip(lower=LEAST)) for end in ends]
            colour, retain = COLOURS[method_of(name)], name.endswith("+RT")
            style = {"color": colour, "marker": "s" if retain else "o", "markerfacecolor": "white" if retain else colour}
            mean = np.array([(end.utility.mean(), end[measure].mean()) for end in ends])
            line = ":" if name.endswith("by rate") else "--" if retain else "-"
            size = {"SHRED": 8, "GradAscent": 11}.get(name, 6)  # several broken models lie on one point
            ax.plot(*mean.T, ls=line, lw=1.2, markersize=size, label=name, **style)
            if name == "SHRED":
                for share, place in zip(group, mean, strict=True):
                    edge = [withStroke(linewidth=2.5, foreground="white")]
                    ax.annotate(f"{share}", place, (6, 6), textcoords="offset points", fontsize=8, color=colour,
                                path_effects=edge, zorder=9)  # fmt: skip
            for end in ends:
                ax.plot(end.utility, end[measure], ".", color=colour, markersize=3, alpha=0.6)
        for name, marker in REFERENCES.items():
            model = references[references.model == name]
            ax.plot(model.utility, model[measure], marker, color="0.25", markersize=11, alpha=0.6, ls="",
                    label={"full": "before", "gold": "retrained"}[name])  # fmt: skip
        ax.set(xlabel=NAMES["utility"], ylabel=NAMES[measure], xlim=(-0.03, 0.95))
    fig.axes[0].set(ylim=(-0.04, 1.05))
    fig.axes[1].set(yscale="log", ylim=(LEAST / 2, 2))
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)


def curves(fig: Figure, runs: Mapping[str, pd.DataFrame], references: pd.DataFrame) -> None:
    """Answer probability, fact probability and utility along the steps; mean and range of the seeds, gold dotted."""
    for ax, measure in zip(fig.subplots(1, 3), NAMES, strict=True):
        logarithmic = measure == "fact_prob"
        for name, records in runs.items():
            shown = records.assign(fact_prob=records.fact_prob.clip(lower=LEAST))
            _band(ax, shown, measure, COLOURS[method_of(name)], name, "--" if "+RT" in name else "-")
            if name == "GradAscent":  # broad and below, as others lie on it
                ax.lines[-1].set(linewidth=4, zorder=1.5)
        ax.axhline(references[references.model == "gold"][measure].mean(), color="0.3", lw=1.2, ls=":", label="retrained")
        ax.set(xlabel="step", ylabel=NAMES[measure], ylim=(LEAST / 2, 2) if logarithmic else (-0.03, 1.03))
        ax.set_yscale("log" if logarithmic else "linear")
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(runs) + 1, fontsize=8)


def _band(ax: Axes, records: pd.DataFrame, column: str, colour: str, label: str | None, style: str = "-") -> None:
    table = records.pivot_table(index="step", columns="seed", values=column)
    ax.plot(table.index, table.mean(axis=1), style, color=colour, label=label)
    ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.15, lw=0)


def rows(fig: Figure, runs: Mapping[str, pd.DataFrame], columns: Mapping[str, str], marks: Mapping[str, float] | None = None
         ) -> None:  # fmt: skip
    """One panel per measure (column: axis label), one row per run: bar for the mean, dots for the seeds.

    marks: vertical dotted lines by column, for what the retrained model has.
    """
    for ax, (column, label) in zip(np.atleast_1d(fig.subplots(1, len(columns), sharey=True)), columns.items(), strict=True):
        for row, (name, records) in enumerate(runs.items()):
            values, colour = at_end(records)[column], COLOURS.get(method_of(name), "0.6")
            ax.barh(row, values.mean(), color=colour, alpha=0.45, height=0.65)
            ax.plot(values, np.full(len(values), row), "o", color=colour, markersize=4)
        if marks and column in marks:
            ax.axvline(marks[column], color="0.2", lw=1.4, ls=":")
        ax.set(xlabel=label, yticks=range(len(runs)), yticklabels=list(runs))
        ax.grid(axis="y", visible=False)
    fig.axes[0].invert_yaxis()


def ablations(fig: Figure, sweeps: Mapping[str, Mapping[str, pd.DataFrame]], references: pd.DataFrame) -> None:
    """Fact probability, answer probability and utility against one setting each; sweeps: runs by value by setting.

    A run that is None was not made.
    """
    for ax, (title, runs) in zip(fig.subplots(1, len(sweeps), sharey=True), sweeps.items(), strict=True):
        runs = {value: records for value, records in runs.items() if records is not None}
        places = np.arange(len(runs))
        for measure, colour in zip(NAMES, ("#56B4E9", "#D55E00", "#009E73"), strict=True):
            ends = [at_end(records)[measure] for records in runs.values()]
            ax.plot(places, [end.mean() for end in ends], "o-", color=colour, label=NAMES[measure])
            for place, end in zip(places, ends, strict=True):
                ax.plot(np.full(len(end), place), end, ".", color=colour, markersize=4, alpha=0.5)
            gold = references[references.model == "gold"][measure].mean()
            ax.axhline(gold, color=colour, lw=1, ls=":")
        ax.set(xlabel=textwrap.fill(title, 24), ylim=(-0.03, 1.03))
        ax.set_xticks(places, list(runs))
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)


def relearning(fig: Figure, attacks: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """Probability of the forgotten facts while the unlearned models are trained on; attacks: title by method by records."""
    for ax, (title, runs) in zip(fig.subplots(1, len(attacks), sharey=True), attacks.items(), strict=True):
        for name, records in runs.items():
            colour = COLOURS.get(method_of(name), "0.3")
            _band(ax, records, "fact_prob", colour, name, "--" if "+RT" in name else ":" if name == "retrained" else "-")
        ax.set(xlabel="steps of further training", title=title, ylim=(-0.02, 1.0))
    fig.axes[0].set_ylabel("probability of facts not shown again")
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)


def sequential(fig: Figure, runs: Mapping[str, pd.DataFrame]) -> None:
    """Utility and the probability of all facts requested so far, after every request; mean and range of the seeds."""
    labels = {"utility": "model utility", "fact_prob": "probability of all facts\nthat were to be forgotten so far"}
    for ax, (column, label) in zip(fig.subplots(1, 2), labels.items(), strict=True):
        for name, records in runs.items():
            shown = records.assign(step=records.request)
            _band(ax, shown, column, COLOURS[method_of(name)], name, "--" if "+RT" in name else "-")
        ax.set(xlabel="requests served", ylabel=label, xticks=sorted(set(shown.step)), ylim=(0, None))
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)


def live_run(fig: Figure, runs: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """The workbench's picture: fact probability and utility of every run so far, mean and range of the seeds.

    Where facts are not marked (real data), the probability of the answers.
    """
    colours = list(COLOURS.values())
    forgotten = "fact_prob" if all("fact_prob" in records for _, records in runs) else "forget_prob"
    for ax, column in zip(fig.subplots(1, 2), (forgotten, "utility"), strict=True):
        for index, (label, records) in enumerate(runs):
            _band(ax, records, column, colours[index % len(colours)], textwrap.fill(label, 60))
        ax.set(xlabel="step", ylabel=NAMES[column], ylim=(-0.03, 1.03))
    if runs:
        fig.axes[0].legend(loc="upper left", bbox_to_anchor=(0, -0.15), fontsize=7)
