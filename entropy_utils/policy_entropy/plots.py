"""Pictures of notebook 05. Every function draws on the matplotlib figure it is given; nothing is computed twice."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import entr, log_softmax

from .law import FORMS, fit_law
from .published import LAW_POINTS
from .tabular import entropy, natural_gradient_step, policy_gradient_step, predicted_entropy_change

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG = COLOURS[0], COLOURS[1]


def published_law(fig: Figure) -> None:
    """Accuracy against entropy of four published runs with our fits of R = -a e^H + b, and the ceilings at H = 0."""
    ax = fig.subplots()
    for (size, points), colour in zip(LAW_POINTS.items(), COLOURS, strict=False):
        h, r = np.array(points).T
        law = fit_law(h, r)
        grid = np.linspace(0, h.max(), 100)
        ax.plot(grid, law(grid), color=colour)
        ax.plot(h, r, "o", color=colour, label=f"Qwen2.5-{size}: a = {law.a:.1f}, b = {law.b:.1f}")
        ax.plot(0, law.ceiling, "_", color=colour, markersize=18, markeredgewidth=3)
    ax.set(xlabel="policy entropy H (nats)", ylabel="validation accuracy R (%)", xlim=(-0.03, 1.45), ylim=(0, 52))
    ax.legend(title="R = -a exp(H) + b", loc="upper right")


def law_explorer(
    fig: Figure, model: str = "7B", a: float = 20.0, b: float = 59.0, first: int = 100, form: str = "exponential"
) -> None:
    """Published points of one model, the reader's own curve, and a fit on the first `first` % of the points."""
    h, r = np.array(LAW_POINTS[model]).T
    count = max(3, round(first / 100 * len(h)))
    fitted, grid = fit_law(h[:count], r[:count], form), np.linspace(0, h.max() * 1.05, 200)
    own = a * FORMS["exponential"](grid)[0] + b
    ax = fig.subplots()
    ax.plot(h, r, "o", color="0.6", label="published, read off figure 1")
    ax.plot(h[:count], r[:count], "o", color=COLOURS[0], label=f"used for the fit ({count} points)")
    ax.plot(grid, fitted(grid), color=COLOURS[0], label=f"{form} fit: ceiling {fitted.ceiling:.1f} %")
    ax.plot(grid, own, "--", color=COLOURS[1], label=f"yours: ceiling {b - a:.1f} %")
    ax.set(xlabel="policy entropy H (nats)", ylabel="accuracy R (%)", ylim=(0, max(60, 1.1 * r.max())))
    ax.set_title(f"Qwen2.5-{model}")
    ax.legend(loc="upper right")


def triangle(
    fig: Figure, p1: float = 0.6, p2: float = 0.25, rewarded: int = 2, rule: str = "natural gradient", lr: float = 1.0
) -> None:
    """The simplex of three actions with contours of the entropy, one update and what it does to the entropy.

    p1, p2: probabilities of actions 1 and 2, rescaled where they leave nothing for action 3.
    """
    p = np.array([p1, p2, max(1 - p1 - p2, 0.02)])
    logits = np.log(p / p.sum())[None]
    reward = np.eye(3)[[rewarded - 1]]
    step = (policy_gradient_step if rule == "policy gradient" else natural_gradient_step)(logits, reward, lr)
    after = np.exp(log_softmax(logits + step, -1))[0]
    p, measured = np.exp(log_softmax(logits, -1))[0], (entropy(logits + step) - entropy(logits))[0]
    predicted = predicted_entropy_change(logits, step)[0]
    ax = fig.subplots()
    _entropy_contours(ax)
    boundary = _threshold_curves()
    ax.plot(*boundary, ".", color=COLOURS[3], markersize=2, label="where pi = exp(-H) for an action")
    (x0, y0), (x1, y1) = _corner(p), _corner(after)
    arrow = {"arrowstyle": "-|>", "color": RIGHT, "lw": 2.5, "shrinkA": 0, "mutation_scale": 18}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
    ax.plot(x0, y0, "o", color=RIGHT, markersize=8)
    for action, (x, y) in enumerate(((-0.04, -0.06), (1.04, -0.06), (0.5, 0.9))):
        ax.text(x, y, f"action {action + 1}" + (" (rewarded)" if action == rewarded - 1 else ""), ha="center")
    threshold, chosen = np.exp(-entropy(logits)[0]), p[rewarded - 1]
    verdict = "falls" if measured < 0 else "rises"
    ax.set_title(
        f"rewarded action: pi = {chosen:.2f}, threshold exp(-H) = {threshold:.2f}; entropy {verdict}\n"
        f"predicted change {predicted:+.4f}, measured {measured:+.4f} nats"
    )
    ax.legend(loc="upper left", markerscale=5)
    ax.set(xlim=(-0.25, 1.25), ylim=(-0.1, 1.0), aspect="equal")
    ax.axis("off")


def _corner(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return p[..., 1] + 0.5 * p[..., 2], np.sqrt(3) / 2 * p[..., 2]


def _entropy_contours(ax) -> None:
    if not _GRID:
        q = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
        _GRID.update(xy=_corner(q), h=entr(q).sum(-1))
    ax.tricontour(*_GRID["xy"], _GRID["h"], levels=np.arange(0.1, 1.1, 0.1), colors="0.7", linewidths=0.8)
    ax.plot([0, 1, 0.5, 0], [0, 0, np.sqrt(3) / 2, 0], color="0.3", lw=1)


def _threshold_curves() -> tuple[np.ndarray, np.ndarray]:
    if "curve" not in _GRID:
        rng = np.random.default_rng(0)
        q = rng.dirichlet(np.ones(3), 60_000)
        near = np.abs(q - np.exp(-entr(q).sum(-1))[:, None]).min(-1) < 0.002
        _GRID["curve"] = _corner(q[near])
    return _GRID["curve"]


_GRID: dict = {}  # the parts of the triangle that no slider changes


def step_size(fig: Figure, lr: float = 0.3, actions: int = 8, seed: int = 0) -> None:
    """Error of the first- and second-order predictions of the entropy change against the size of a logit step."""
    rng = np.random.default_rng(seed)
    logits, direction = rng.normal(size=(2, 1, actions))
    sizes = np.logspace(-3, 0.5, 60)
    change = {order: [predicted_entropy_change(logits, s * direction, order)[0] for s in sizes] for order in (1, 2)}
    exact = np.array([(entropy(logits + s * direction) - entropy(logits))[0] for s in sizes])
    ax = fig.subplots()
    for order, colour in ((1, COLOURS[0]), (2, COLOURS[1])):
        error = np.abs(exact - change[order])
        ax.loglog(sizes, error + 1e-16, color=colour, label=f"order {order}: error of slope {order + 1}")
        ax.loglog(lr, np.interp(lr, sizes, error) + 1e-16, "o", color=colour)
    ax.axvline(lr, color="0.5", lw=1)
    shown = [(entropy(logits + lr * direction) - entropy(logits))[0], predicted_entropy_change(logits, lr * direction)[0]]
    ax.set(xlabel="size of the logit step", ylabel="error of the predicted change (nats)", ylim=(1e-13, 10))
    ax.set_title(f"at {lr:.3g}: measured {shown[0]:+.4f}, first order {shown[1]:+.4f} nats")
    ax.legend(loc="upper left")


def who_is_clipped(
    fig: Figure, logp: np.ndarray, advantages: np.ndarray, method: str = "Clip-Cov", low: float = 0.5, high: float = 20.0,
    share: float = 0.1,
) -> None:  # fmt: skip
    """Tokens in the plane of log-probability and advantage; what a method could act on, and the covariance without it."""
    score = (logp - logp.mean()) * (advantages - advantages.mean())
    if method == "Clip-Cov":
        band = np.flatnonzero((score > low) & (score < high))
        count = min(max(1, int(share * len(score))), len(band))
        chosen = np.random.default_rng(0).choice(band, count, replace=False) if count else band
        what = f"{len(band)} tokens in the band"
    else:
        chosen = np.argsort(-score)[: max(1, int(share * len(score)))]
        what = f"scores from {score[chosen].min():.2f} up"
    rest = np.delete(score, chosen).sum() / len(score)
    ax = fig.subplots()
    ax.scatter(logp, advantages, s=10, color="0.7", label="all tokens")
    ax.scatter(logp[chosen], advantages[chosen], s=16, color=WRONG, label=f"acted on: {len(chosen)} tokens")
    grid = np.linspace(logp.min(), logp.max(), 400)
    away = grid - logp.mean()
    for level in (1.0, 2.0, 4.0, 8.0):
        with np.errstate(divide="ignore"):
            curve = advantages.mean() + level / away
        ax.plot(grid, np.where(np.abs(curve) < 3, curve, np.nan), color=COLOURS[0], lw=0.8)
        ax.text(logp.mean() - level / 2.7, -2.7, f"{level:g}", color=COLOURS[0], fontsize=8, ha="right")
    wrong = (advantages[chosen] < 0).mean() if len(chosen) else 0.0
    ax.set(xlabel="log-probability of the token (nats)", ylabel="advantage of its response", ylim=(-3, 3))
    ax.set_title(
        f"{what}; {wrong:.0%} of those acted on lie in failed responses\n"
        f"mean covariance {score.mean():+.4f}, without them {rest:+.4f} nats"
    )
    ax.legend(loc="upper left")


def training_curves(fig: Figure, runs: Mapping[str, pd.DataFrame], smooth: int = 5) -> None:
    """Entropy and greedy accuracy against rollouts, one colour per run: mean over the seeds and their full range."""
    left, right = fig.subplots(1, 2)
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        _band(left, records, "entropy", colour, name, smooth)
        _band(right, records, "accuracy", colour, name, 1)
    left.set(xlabel="rollout", ylabel="policy entropy H (nats)", ylim=(0, None))
    right.set(xlabel="rollout", ylabel="greedy accuracy R")
    left.legend(loc="upper right")


def _band(ax, records: pd.DataFrame, column: str, colour: str, label: str | None, smooth: int) -> None:
    table = records.dropna(subset=[column]).pivot(index="step", columns="seed", values=column)
    table = table.rolling(smooth, min_periods=1, center=True).mean()
    ax.plot(table.index, table.mean(axis=1), color=colour, label=label)
    ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.18, lw=0)


def law_of_runs(fig: Figure, runs: Mapping[str, pd.DataFrame]) -> None:
    """Greedy accuracy against entropy along the runs, every seed's points and the pooled fit of each run."""
    ax = fig.subplots()
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        points = records.dropna(subset=["accuracy"])
        law = fit_law(points.entropy, points.accuracy)
        grid = np.linspace(0, points.entropy.max(), 100)
        ax.plot(points.entropy, points.accuracy, ".", color=colour, alpha=0.45, markersize=4)
        ax.plot(grid, law(grid), color=colour, label=f"{name}: b - a = {law.ceiling:.2f}, R² = {law.r_squared:.2f}")
    ax.set(xlabel="policy entropy H (nats)", ylabel="greedy accuracy R", ylim=(0, 1))
    ax.legend(loc="lower left")


def early_prediction(fig: Figure, records: pd.DataFrame, share: float = 0.15) -> None:
    """The law fitted on the first `share` of every seed's evaluations, against the whole run."""
    ax = fig.subplots()
    for (seed, run), colour in zip(records.dropna(subset=["accuracy"]).groupby("seed"), COLOURS, strict=False):
        early = max(3, round(share * len(run)))
        law, grid = fit_law(run.entropy[:early], run.accuracy[:early]), np.linspace(0, run.entropy.max(), 100)
        ax.plot(run.entropy, run.accuracy, ".", color=colour, alpha=0.35)
        ax.plot(run.entropy[:early], run.accuracy[:early], "o", color=colour)
        ax.plot(grid, law(grid), color=colour, lw=1.2, label=f"seed {seed}: predicted ceiling {law.ceiling:.2f}")
    ax.set(xlabel="policy entropy H (nats)", ylabel="greedy accuracy R", ylim=(0, 1))
    ax.legend(loc="lower left")


def change_against_covariance(fig: Figure, records: pd.DataFrame, window: int = 8) -> None:
    """Left: entropy change predicted from the moved logits against the measured one. Right: covariance along a run."""
    left, right = fig.subplots(1, 2)
    left.plot(records.predicted_change, records.entropy_change, ".", markersize=3, alpha=0.5)
    ends = np.array([records.entropy_change.min(), records.entropy_change.max()])
    left.plot(ends, ends, color="0.3", lw=1, label="equal")
    left.set(xlabel="-Cov(log pi, logit change) (nats)", ylabel="measured entropy change (nats)")
    left.legend(loc="upper left")
    first = records[records.seed == records.seed.min()].set_index("step")
    smooth = first[["group_covariance", "entropy_change"]].rolling(window, min_periods=1).mean()
    right.plot(smooth.index, smooth.group_covariance, color=COLOURS[0], label="Cov(log pi, pi A), left scale")
    other = right.twinx()
    other.plot(smooth.index, -smooth.entropy_change, color=COLOURS[1], label="minus entropy change, right scale")
    right.set(xlabel="rollout", ylabel="covariance (nats)", ylim=(0, None))
    other.set(ylabel="entropy fall per step (nats)", ylim=(0, None))
    other.grid(False)
    other.spines.right.set_visible(True)
    lines = [*right.get_lines(), *other.get_lines()]
    right.legend(lines, [line.get_label() for line in lines], loc="lower right")


def masked_steps(fig: Figure, records: pd.DataFrame) -> None:
    """Entropy change of one step with some tokens left out, mean over batches, one dot per seed."""
    ax = fig.subplots()
    records = records.assign(label=[_label(*row) for row in zip(records.left_out, records.share, strict=True)])
    labels = list(dict.fromkeys(records.label))
    means = records.groupby(["label", "seed"]).entropy_change.mean().unstack()
    for row, label in enumerate(labels):
        ax.barh(row, means.loc[label].mean(), color=COLOURS[5], height=0.6)
        ax.plot(means.loc[label], [row] * means.shape[1], "o", color=COLOURS[0], markersize=4)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color="0.3", lw=1)
    ax.set(xlabel="entropy change of one step (nats)")


def _label(which: str, share: float) -> str:
    names = {"none": "all tokens used", "random": "random", "top": "highest covariance", "bottom": "lowest covariance"}
    return names[which] if which == "none" else f"{names[which]} {share:.0%} left out"


def live_run(fig: Figure, runs: list[tuple[str, pd.DataFrame]]) -> None:
    """The workbench's picture: entropy and accuracy of every run so far, the newest on top in full colour."""
    left, right = fig.subplots(1, 2)
    for index, (label, records) in enumerate(runs):
        colour, label = COLOURS[index % len(COLOURS)], textwrap.fill(label, 44)
        if len(records):
            _band(left, records, "entropy", colour, label, 1)
            right.plot([], [], color=colour, label=label)
            if "accuracy" in records and records.accuracy.notna().any():
                _band(right, records, "accuracy", colour, None, 1)
    left.set(xlabel="rollout", ylabel="policy entropy H (nats)", ylim=(0, None))
    right.set(xlabel="rollout", ylabel="greedy accuracy R", ylim=(0, 1))
    if runs:
        right.legend(loc="lower right", fontsize=7)
