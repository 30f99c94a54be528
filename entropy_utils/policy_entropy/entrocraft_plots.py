"""Pictures of notebook 08. Every function draws on the matplotlib figure it is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import entr, softmax

from .entrocraft_published import LONG_RUN
from .entropy_tracking import accepted_when_rejecting, by_seed
from .output_baseline import entropy_effect, output_baseline
from .plots import COLOURS, RIGHT, _band, _corner, _entropy_contours
from .schedule import Schedule
from .small_bandit import small_run

SIDES = {"GRPO": COLOURS[6], "positives only": COLOURS[1], "negatives only": COLOURS[0]}


def published_long_run(fig: Figure) -> None:
    """Table 3: accuracy against training samples of four methods."""
    ax = fig.subplots()
    for (name, accuracy), colour in zip(LONG_RUN.items(), (*COLOURS[1:4], COLOURS[0]), strict=True):
        ax.plot([100, 200, 300, 400], accuracy, "o-", color=colour, lw=2.5 if name == "Entrocraft" else 1.2, label=name)
    ax.set(xlabel="training samples (thousands)", ylabel="MATH-500, mean@32 (%)", xticks=[100, 200, 300, 400])
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def token_triangle(
    fig: Figure, p1: float = 0.6, p2: float = 0.25, sampled: int = 3, advantage: str = "positive", lr: float = 0.5
) -> None:
    """The policies of three tokens, one update after sampling one of them, and where it lowers the entropy.

    p1, p2: probabilities of tokens 1 and 2, rescaled where they leave nothing for token 3. Shaded: where a positive
    advantage on the sampled token lowers the entropy, log p_k > b_k (Theorem 1).
    """
    p = np.array([p1, p2, max(1 - p1 - p2, 0.02)])
    p, k, sign = p / p.sum(), sampled - 1, 1.0 if advantage == "positive" else -1.0
    after = softmax(np.log(p) + lr * sign * (np.eye(3)[k] - p))
    measured, predicted = entr(after).sum() - entr(p).sum(), lr * sign * entropy_effect(p)[k]
    ax = fig.subplots()
    grid = _triangle_grid()
    lowers = entropy_effect(grid)[:, k]
    ax.tricontourf(*_corner(grid), lowers, levels=[-9, 0], colors=[COLOURS[4]], alpha=0.35)
    _entropy_contours(ax)
    (x0, y0), (x1, y1) = _corner(p), _corner(after)
    arrow = {"arrowstyle": "-|>", "color": RIGHT, "lw": 2.5, "shrinkA": 0, "mutation_scale": 18}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
    ax.plot(x0, y0, "o", color=RIGHT, markersize=8)
    for token, (x, y) in enumerate(((-0.04, -0.07), (1.04, -0.07), (0.5, 0.9))):
        ax.text(x, y, f"token {token + 1}" + (f" (sampled, A = {sign:+.0f})" if token == k else ""), ha="center")
    ax.set_title(
        f"log p = {np.log(p[k]):.2f}, baseline b = {output_baseline(p)[k]:.2f}: "
        f"entropy {'falls' if measured < 0 else 'rises'}\nTheorem 1 {predicted:+.4f}, measured {measured:+.4f} nats"
    )
    ax.plot([], [], "s", color=COLOURS[4], alpha=0.5, markersize=10, label="rewarding this token\nlowers the entropy")
    ax.legend(loc="upper left")
    ax.set(xlim=(-0.35, 1.35), ylim=(-0.12, 1.0), aspect="equal")
    ax.axis("off")


def _triangle_grid() -> np.ndarray:
    if not _GRID:
        _GRID.append(np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60 * 0.997 + 0.001)
    return _GRID[0]


_GRID: list[np.ndarray] = []  # the part of the triangle that no slider changes


def painted_schedule(
    fig: Figure, h0: float = 1.0, h1: float = 0.9, h2: float = 0.8, h3: float = 0.7, h4: float = 0.6,
    width: float = 0.1, variant: str = "code", luck: float = 0.5,
) -> None:  # fmt: skip
    """A band through five points drawn by the reader, and a small bandit that is run on it at once."""
    target = Schedule(kind="points", values=(h0, h1, h2, h3, h4), places=(0.0, 0.25, 0.5, 0.75, 1.0))
    run = small_run(target, width, variant, luck)
    steps = np.arange(len(run["entropy"]))
    curve = target.curve(len(steps))
    error = np.sqrt(np.mean((run["entropy"] - curve)[40:] ** 2))
    ax, low = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    ax.fill_between(steps, curve - width / 2, curve + width / 2, color=COLOURS[4], alpha=0.4, lw=0, label="your band")
    ax.plot(np.array(target.places) * len(steps), target.values, "o", color=COLOURS[4], clip_on=False)
    ax.plot(steps, run["entropy"], color=RIGHT, label="entropy of the bandit")
    ax.set(ylabel="entropy H (nats)", ylim=(0, 2.05), yticks=[0, 0.5, 1, 1.5, 2])
    ax.set_title(f"RMSE to the centre after step 40: {error:.3f} nats")
    ax.legend(loc="upper right", ncols=2)
    for m, colour, label in ((-1, COLOURS[0], "only negatives"), (1, COLOURS[1], "only positives"), (0, "0.75", "all")):
        accepted = np.where(run["m"] == m, run["accepted"], 0)
        low.fill_between(steps, accepted, step="mid", color=colour, lw=0, label=label)
    low.set(xlabel="step", ylabel="accepted\nof 8", ylim=(0, 8), yticks=[0, 8], xlim=(0, len(steps)))
    low.legend(loc="upper center", ncols=3, fontsize=7)


def scarce_negatives(fig: Figure, luck: float = 0.5, target: float = 1.8, variant: str = "code") -> None:
    """Entropy and accepted responses under one constant target for the reader's share of lucky coins, and for 0.5."""
    left, right = fig.subplots(1, 2)
    for value, colour in ((0.5, "0.6"), (luck, COLOURS[0])):
        run = small_run(Schedule(values=(target,)), variant=variant, luck=value)
        accepted = pd.Series(np.where(run["m"] == -1, run["accepted"], np.nan)).rolling(20, min_periods=1).mean()
        left.plot(run["entropy"], color=colour, label=f"share of right coins {value:.2f}")
        right.plot(accepted, color=colour)
    left.axhline(target, color=COLOURS[4], lw=4, alpha=0.6)
    left.set(xlabel="step", ylabel="entropy H (nats)", ylim=(0, 2.4))
    right.set(xlabel="step", ylabel="accepted of 8,\nwhile below the band", ylim=(0, 8))
    left.legend(loc="upper right")


def one_sided_curves(
    fig: Figure, runs: Mapping[tuple[str, str], pd.DataFrame], setting: str = "Adam, 4 updates, clip 0.2"
) -> None:
    """Entropy of GRPO, positives only and negatives only under one optimiser; runs by (setting, side)."""
    ax = fig.subplots()
    for side, colour in SIDES.items():
        _band(ax, runs[setting, side], "entropy", colour, side, 1)
    ax.set(xlabel="step", ylabel="policy entropy H (nats)", ylim=(0, 3), title=setting)
    ax.legend(loc="upper left")


def authority(fig: Figure, runs: Mapping[tuple[str, str], pd.DataFrame]) -> None:
    """Entropy change over the run for every setting and side: one row per setting, dots are seeds, bars their mean."""
    ax = fig.subplots()
    settings = list(dict.fromkeys(setting for setting, _ in runs))
    for row, setting in enumerate(settings):
        for offset, (side, colour) in zip((-0.22, 0, 0.22), SIDES.items(), strict=True):
            entropy = by_seed(runs[setting, side], "entropy")
            change = entropy.iloc[-1] - entropy.iloc[0]
            ax.plot(change, np.full(len(change), row + offset), "o", color=colour, alpha=0.5, markersize=5)
            ax.plot([change.mean()] * 2, [row + offset - 0.1, row + offset + 0.1], color=colour, lw=3, label=side)
    ax.axvline(0, color="0.4", lw=1)
    ax.set(yticks=range(len(settings)), yticklabels=settings, xlabel="entropy change (nats)")
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:3], labels[:3], loc="upper right")
    ax.grid(axis="y", visible=False)


def controlled_runs(
    fig: Figure,
    runs: Mapping[str, pd.DataFrame],
    targets: Mapping[str, Schedule],
    width: float = 0.1,
    columns: int = 3,
    baseline: pd.DataFrame | None = None,
) -> None:
    """One panel per run: its band, its entropy (mean and range of the seeds), and in grey a run without control."""
    rows = -(-len(runs) // columns)
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax, (name, records) in zip(axes, runs.items(), strict=False):
        steps = np.unique(records.step)
        curve = targets[name].curve(len(steps))
        ax.fill_between(steps, curve - width / 2, curve + width / 2, color=COLOURS[4], alpha=0.45, lw=0)
        if baseline is not None:
            shown = baseline[baseline.step <= steps.max()]
            ax.plot(by_seed(shown, "entropy").mean(axis=1), color="0.6", lw=1)
        _band(ax, records, "entropy", RIGHT, None, 1)
        ax.set(title=name, ylim=(0, None), xlabel="step")
    for ax in axes[len(runs) :]:
        ax.axis("off")
    for ax in axes[::columns]:
        ax.set(ylabel="policy entropy H (nats)")


def compared_controllers(fig: Figure, runs: Mapping[str, pd.DataFrame], target: Schedule) -> None:
    """Entropy of several methods against one target curve: mean and range of the seeds."""
    ax = fig.subplots()
    for (name, records), colour in zip(runs.items(), (*COLOURS[:4], COLOURS[5], COLOURS[6]), strict=False):
        _band(ax, records, "entropy", colour, name, 1)
    steps = np.unique(next(iter(runs.values())).step)
    ax.plot(steps, target.curve(len(steps)), color=COLOURS[4], lw=5, alpha=0.6, label="target", zorder=0)
    ax.set(xlabel="step", ylabel="policy entropy H (nats)", ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def accepted_over_training(fig: Figure, runs: Mapping[str, pd.DataFrame], windows: int = 8) -> None:
    """Accepted responses per group of 8 in rejecting steps along the runs: mean and range of the seeds."""
    ax = fig.subplots()
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        parts = accepted_when_rejecting(records, windows)
        middle = (parts.index + 0.5) / windows
        ax.plot(middle, parts.mean(axis=1), "o-", color=colour, label=name)
        ax.fill_between(middle, parts.min(axis=1), parts.max(axis=1), color=colour, alpha=0.18, lw=0)
    ax.set(xlabel="share of the training done", ylabel="accepted of 8, rejecting steps", ylim=(0, 8), xlim=(0, 1))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def language_model(fig: Figure, runs: Mapping[str, pd.DataFrame], targets: Mapping[str, Schedule], width: float) -> None:
    """Left: entropy of the runs and the bands they were given. Right: greedy accuracy."""
    left, right = fig.subplots(1, 2)
    for (name, records), colour in zip(runs.items(), (COLOURS[6], *COLOURS), strict=False):
        if name in targets:
            steps = np.unique(records.step)
            curve = targets[name].curve(len(steps))
            left.fill_between(steps, curve - width / 2, curve + width / 2, color=colour, alpha=0.15, lw=0, hatch="//")
        _band(left, records, "entropy", colour, name, 5)
        _band(right, records, "accuracy", colour, None, 1)
    left.set(xlabel="rollout", ylabel="policy entropy H (nats)", ylim=(0, None))
    right.set(xlabel="rollout", ylabel="greedy accuracy")
    fig.legend(loc="outside lower center", ncols=min(5, len(runs)))
