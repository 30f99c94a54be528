"""Figure of notebook 04: what the learning rate and the size of the first weights do to accuracy and lowest entropy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .training_plots import OTHER, PLAIN, SIGMA

METHODS = {
    "plain": (PLAIN, "pre-LN"),
    "sigma": (SIGMA, "pre-LN, sigmaReparam"),
    "qk_norm": (OTHER, "pre-LN, QK-norm"),
}


def ladders(fig: Figure, summary: pd.DataFrame, rates: Iterable[str], starts: Iterable[str]) -> None:
    """Accuracy and lowest entropy against the learning rate (runs `rates`), accuracy against the first weights (`starts`).

    `summary` is that of `measures.summary`. One dot per seed, lines through the medians.
    """
    one, two, three = fig.subplots(1, 3)
    _curves(one, summary[summary.run.isin(list(rates))], "lr", "accuracy")
    _curves(two, summary[summary.run.isin(list(rates))], "lr", "minH")
    _curves(three, summary[summary.run.isin(list(starts))], "std", "accuracy")
    one.set(xlabel="learning rate", ylabel="test accuracy", ylim=(0, 1))
    two.set(xlabel="learning rate", ylabel="lowest entropy H / log T", yscale="log")
    three.set(xlabel="standard deviation of the first weights", ylabel="test accuracy", ylim=(0, 1))
    one.legend(loc="lower left", fontsize=8)


def _curves(ax, rows: pd.DataFrame, field: str, column: str) -> None:
    for method, own in rows.groupby("method"):
        colour, label = METHODS[method]
        ax.plot(own[field], own[column], "o", color=colour, alpha=0.4, markersize=4)
        medians = own.groupby(field)[column].median()
        ax.plot(medians.index, medians, color=colour, label=label)
    ax.set_xscale("log")
    ticks = np.unique(rows[field])
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
