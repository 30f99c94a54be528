"""Pictures of notebook 10. Every function draws on the matplotlib figure it is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .interventions import intervention
from .lens import QUADRANTS, TabularRollout, quadrant_table
from .one_lens import BASE, TASK_NAMES, pareto
from .plots import COLOURS

TASK_COLOUR = dict(zip(TASK_NAMES, COLOURS, strict=False))
MENU = {
    "entropy bonus": "entropy_bonus coefficient=0.1",
    "clip-higher": "clip_higher clip_high=0.5",
    "top entropy": "top_entropy share=0.5",
    "Clip-Cov": "clip_cov share=0.1 low=0.5 high=20",
    "KL-Cov": "kl_cov share=0.2",
    "Clip_B": "clip_b share=0.3",
    "STEER": "steer weakest=0.3",
    "Entrocraft, below its band": "entrocraft target=3 variant=alg1",
    "Entrocraft, above its band": "entrocraft target=0.1 variant=alg1",
}
"""Methods with settings strong enough to see."""


def quadrant_map(fig: Figure, table: Mapping[str, Mapping[str, float]]) -> None:
    """What each method makes of the four kinds of token: entropy change per step in units of plain GRPO's total."""
    frame = pd.DataFrame(table).T[[*QUADRANTS, "sum"]]
    ax = fig.subplots()
    reach = np.abs(frame.to_numpy()).max()
    ax.imshow(frame, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    for row, values in enumerate(frame.to_numpy()):
        for column, value in enumerate(values):
            dark = abs(value) > 0.6 * reach
            ax.text(column, row, f"{value:+.2f}", ha="center", va="center", color="white" if dark else "black", fontsize=9)
    ax.axvline(3.5, color="white", lw=4)
    names = [name.replace(", ", ",\n") for name in QUADRANTS]
    ax.set_xticks(range(5), [*names, "sum"])
    ax.set_yticks(range(len(frame)), frame.index)
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)


def lens(
    fig: Figure, method: str = "Clip-Cov", scale: float = 2.0, drift: float = 0.15, right: float = 0.4, seed: int = 0
) -> None:
    """Entropy change that each kind of token makes under plain GRPO and under a method, on a tabular rollout."""
    rollout = TabularRollout.draw(seed=seed, scale=scale, drift=drift, right=right)
    table = pd.DataFrame(quadrant_table({BASE: intervention("none"), method: intervention(MENU[method])}, rollout))
    ax, kinds = fig.subplots(), [*QUADRANTS, "sum"]
    for place, (name, colour) in enumerate(((BASE, "0.65"), (method, COLOURS[0]))):
        ax.barh(np.arange(5) + 0.38 * place, table.loc[kinds, name], height=0.36, color=colour, label=name)
    ax.set_yticks(np.arange(5) + 0.19, kinds)
    ax.invert_yaxis()
    ax.axvline(0, color="0.3", lw=1)
    kept = table.loc["kept", method]
    entropy = rollout.sampled().mean_entropy.item()
    ax.set(xlabel="entropy change of one step, in units of GRPO's sum")
    ax.set_title(f"policy entropy {entropy:.2f} nats\n{method} keeps {kept:.0%} of the push on average")
    ax.legend(loc="lower right")


def power(fig: Figure, difference: float = 0.05, spread: float = 0.04, seeds: int = 8, compared: int = 15) -> None:
    """Chance to find a true difference of given size, against the number of seeds: paired t test, one or many methods."""
    counts = np.arange(2, 33)
    ax = fig.subplots()
    for tests, colour in ((1, COLOURS[0]), (compared, COLOURS[1])):
        chance = [_power(difference, spread, n, 0.05 / tests) for n in counts]
        label = "one method compared" if tests == 1 else f"the hardest of {tests} methods (Holm)"
        ax.plot(counts, chance, color=colour, label=label)
        ax.plot(seeds, _power(difference, spread, seeds, 0.05 / tests), "o", color=colour, markersize=8)
    reach = stats.t.ppf(0.975, seeds - 1) * spread / np.sqrt(seeds)
    ax.set(xlabel="seeds", ylabel="chance to find the difference", ylim=(0, 1.02))
    ax.set_title(f"{seeds} seeds: 95 % interval of ±{reach:.3f} around a difference of {difference:.3f}")
    ax.legend(loc="lower right")


def _power(difference: float, spread: float, seeds: int, level: float) -> float:
    """Power of the two-sided paired t test: Student's noncentral t beyond the critical value."""
    critical = stats.t.ppf(1 - level / 2, seeds - 1)
    shift = difference / spread * np.sqrt(seeds)
    found = stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift)
    return float(np.nan_to_num(found, nan=1.0))  # scipy gives up where the shift is huge


def estimators(fig: Figure, records: Mapping[str, pd.DataFrame]) -> None:
    """Pearson correlation of every estimator with the measured change, by task: mean over batches, one dot per seed."""
    axes = np.atleast_1d(fig.subplots(1, len(records), sharey=True))
    order = list(dict.fromkeys(next(iter(records.values())).estimator))
    for ax, (task, table) in zip(axes, records.items(), strict=True):
        means = table.groupby(["estimator", "seed"]).pearson.mean().unstack()
        for row, name in enumerate(order):
            ax.barh(row, means.loc[name].mean(), color=COLOURS[5], height=0.6)
            ax.plot(means.loc[name], [row] * means.shape[1], "o", color=COLOURS[0], markersize=3.5)
        ax.axvline(0, color="0.3", lw=1)
        ax.set(xlabel="Pearson correlation with the measured change", title=TASK_NAMES[task])
    axes[0].set_yticks(range(len(order)), order)
    axes[0].invert_yaxis()


def panels(fig: Figure, histories: Mapping[tuple[str, str], object], column: str, label: str, relative: bool) -> None:
    """One small panel per method: a column against rollouts, mean of the seeds, both tasks; thin lines: plain GRPO."""
    names = list(dict.fromkeys(name for _, name in histories))
    columns = 4
    axes = fig.subplots(-(-len(names) // columns), columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax, name in zip(axes.flat, names, strict=False):
        for task, colour in TASK_COLOUR.items():
            for which, style in ((BASE, {"lw": 0.8, "ls": "--"}), (name, {"lw": 1.8})):
                curve = histories[task, which].records.pivot(index="step", columns="seed", values=column).mean(axis=1)
                curve = curve / curve.iloc[0] if relative else curve
                ax.plot(curve.rolling(5, min_periods=1, center=True).mean(), color=colour, **style)
        ax.set_title(name, fontsize=9)
    for task, colour in TASK_COLOUR.items():
        axes[0, 0].plot([], [], color=colour, label=TASK_NAMES[task])
    axes[0, 0].plot([], [], color="0.4", ls="--", lw=0.8, label="plain GRPO")
    axes[0, 0].legend(fontsize=7, loc="best")
    fig.supxlabel("rollout", fontsize=10)
    fig.supylabel(label, fontsize=10)


def forest(fig: Figure, tables: Mapping[str, pd.DataFrame], label: str) -> None:
    """Paired differences to plain GRPO with 95 % intervals, one panel per task; filled where Holm's p is below 0.05."""
    axes = np.atleast_1d(fig.subplots(1, len(tables), sharey=True))
    for ax, (task, table) in zip(axes, tables.items(), strict=True):
        for row, (_, found) in enumerate(table.iterrows()):
            sure = found["p Holm"] < 0.05
            ax.plot([found.low, found.high], [row, row], color=TASK_COLOUR[task], lw=1.5)
            face = TASK_COLOUR[task] if sure else "white"
            ax.plot(found.difference, row, "o", color=TASK_COLOUR[task], markerfacecolor=face, markersize=6)
        ax.axvline(0, color="0.3", lw=1)
        ax.set(xlabel=label, title=TASK_NAMES[task])
    axes[0].set_yticks(range(len(table)), table.index)
    axes[0].invert_yaxis()


def reward_and_diversity(
    fig: Figure, tables: Mapping[str, pd.DataFrame], columns: Mapping[str, tuple[str, str]], tried: Mapping | None = None
) -> None:
    """Reward against diversity at the end: mean and 95 % interval of every method, the front of those nothing beats.

    tables: `summary` of each task; columns: for each task the diversity column and its label; tried: means of every tuning
    run by (task, method, value), drawn as faint dots where they lie inside the picture. Methods are numbered as listed.
    """
    axes = np.atleast_1d(fig.subplots(1, len(tables)))
    for ax, (task, table) in zip(axes, tables.items(), strict=True):
        column, label = columns[task]
        pair = table[[column, "exam_pass_at_1"]].groupby(level=0, sort=False)
        means, reach = pair.mean(), pair.sem() * stats.t.ppf(0.975, pair.size().iloc[0] - 1)
        front = pareto(means, column, "exam_pass_at_1")
        ax.plot(means.loc[front, column], means.loc[front, "exam_pass_at_1"], color=COLOURS[1], lw=1.2)
        for number, (name, (x, y)) in enumerate(means.iterrows(), 1):
            colour = COLOURS[1] if name in front else COLOURS[0]
            ax.errorbar(x, y, *reach.loc[name].iloc[::-1], color=colour, lw=0.6, alpha=0.35)
            dot = {"boxstyle": "circle,pad=0.15", "fc": colour, "ec": "white", "lw": 0.6}
            ax.annotate(str(number), (x, y), color="white", fontsize=7, ha="center", va="center", bbox=dot)
        ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim(), xlabel=label, ylabel="reward: pass@1 of the exam")
        ax.set_title(TASK_NAMES[task])
        inside = [values for key, values in (tried or {}).items() if key[0] == task]
        ax.plot([v[column] for v in inside], [v["exam_pass_at_1"] for v in inside], ".", color="0.75", zorder=0)
    names = [f"{number:2d}  {name}" for number, name in enumerate(means.index, 1)]
    axes[-1].text(1.04, 1.0, "\n".join(names), transform=axes[-1].transAxes, va="top", fontsize=8.5, linespacing=1.5)
