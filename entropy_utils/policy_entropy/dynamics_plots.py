"""Pictures of notebook 06. Every function draws on the matplotlib figure it is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import entr, log_softmax

from . import dynamics, plots, tabular
from .plots import COLOURS
from .shared_features import SharedFeatures

KINDS = {
    "++": "rewarded, probable",
    "+-": "rewarded, rare",
    "-+": "punished, probable",
    "--": "punished, rare",
}
KIND_COLOUR = dict(zip(KINDS, (COLOURS[1], COLOURS[0], COLOURS[5], COLOURS[4]), strict=True))


def entropy_and_reward(
    fig: Figure, runs: Mapping[str, pd.DataFrame], column: str = "reward", label: str = "share of right responses"
) -> None:
    """Entropy (left) and another column (right) along runs, one colour each: mean over the seeds and their range."""
    left, right = fig.subplots(1, 2)
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        records = records if "seed" in records else records.assign(seed=0)
        band(left, records, "entropy", colour, name)
        band(right, records, column, colour, name)
    left.set(xlabel="rollout", ylabel="policy entropy H (nats)", ylim=(0, None))
    right.set(xlabel="rollout", ylabel=label)
    left.legend(loc="lower left", fontsize=8)


def band(ax, records: pd.DataFrame, column: str, colour: str, label: str) -> None:
    """Mean over the seeds as a line, their range as a band."""
    table = records.dropna(subset=[column]).pivot(index="step", columns="seed", values=column)
    ax.plot(table.index, table.mean(axis=1), color=colour, label=label)
    ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.18, lw=0)


def four_masks(fig: Figure, worlds: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """One panel per world: entropy while training on one kind of token only, and on all ("GRPO")."""
    axes = fig.subplots(1, len(worlds), squeeze=False)[0]
    for ax, (world, runs) in zip(axes, worlds.items(), strict=True):
        for name, records in runs.items():
            band(ax, records, "entropy", KIND_COLOUR.get(name, "0.4"), KINDS.get(name, name))
        ax.set(xlabel="rollout", ylabel="policy entropy H (nats)", title=world)
    axes[0].legend(loc="lower left", fontsize=8)


def quadrant_bars(fig: Figure, records: pd.DataFrame) -> None:
    """Entropy change of one step on each kind of token, mean over the batches: bars the seeds' mean, dots the seeds."""
    seeds = records.groupby(["quadrant", "seed"]).entropy_change.mean().unstack().loc[list(KINDS)] * 1e3
    ax = fig.subplots()
    ax.barh(range(4), seeds.mean(axis=1), color=[KIND_COLOUR[kind] for kind in KINDS], height=0.6)
    for place, kind in enumerate(KINDS):
        ax.plot(seeds.loc[kind], np.full(seeds.shape[1], place), "o", color="0.2", markersize=3)
    shares = records.groupby("quadrant").share.mean()
    ax.set_yticks(range(4), [f"{text} ({shares[kind]:.0%})" for kind, text in KINDS.items()])
    ax.axvline(0, color="0.3", lw=1)
    ax.invert_yaxis()
    ax.set_xlabel("entropy change of one step (thousandths of a nat)")


def contest(fig: Figure, records: pd.DataFrame) -> None:
    """Correlation of every estimator with the exact change, against how many features the states share."""
    table = records.groupby(["estimator", "features"]).pearson.mean().unstack(0)
    order = sorted(table.index, key=lambda features: -features if features else -np.inf)
    ax = fig.subplots()
    for (name, column), colour in zip(table.items(), COLOURS, strict=False):
        ax.plot(range(len(order)), column.loc[order], "o-", color=colour, label=name)
    ax.set_xticks(range(len(order)), [f"{features} shared" if features else "own logits\n(tabular)" for features in order])
    ax.set(xlabel="features of the policy", ylabel="correlation with the exact change", ylim=(0, 1.05))
    ax.legend(loc="upper right", fontsize=8)


def batch_means(fig: Figure, records: pd.DataFrame) -> None:
    """Batch means of S and of D along a run of the toy, all seeds."""
    ax = fig.subplots()
    for column, colour, name in (("mean_s", COLOURS[1], "mean of S"), ("mean_d", COLOURS[0], "mean of S - E[S]")):
        for seed, run in records.groupby("seed"):
            ax.plot(run.step, run[column], color=colour, lw=1, label=name if seed == records.seed.min() else None)
    ax.axhline(0, color="0.3", lw=1)
    ax.set(xlabel="rollout", ylabel="batch mean (nats)")
    ax.legend(loc="center right")


def disagreement_zone(fig: Figure, logits: np.ndarray, masses: Mapping[float, float]) -> None:
    """Left: the tokens of one state, by S and its baseline. Right: mass of the zone against the spread of the logits."""
    left, right = fig.subplots(1, 2)
    p, s, mean = np.exp(log_softmax(logits)), dynamics.discriminator(logits), dynamics.baseline(logits)
    zone = (s > 0) & (s < mean)
    left.plot(p, s, "o", color="0.6", markersize=4, label="tokens")
    left.plot(p[zone], s[zone], "o", color=COLOURS[1], markersize=5, label="disagreement zone")
    left.axhline(mean, color=COLOURS[0], label="E[S]: threshold of a GRPO step")
    left.axhline(0, color="0.3", lw=1)
    left.axvline(np.exp(-tabular.entropy(logits)), color=COLOURS[2], ls="--", label="p = exp(-H)")
    left.set(xlabel="probability p of a token", ylabel="S = p (log p + H) (nats)", xscale="log")
    left.legend(loc="upper left", fontsize=8)
    right.plot(list(masses), list(masses.values()), "o-")
    right.set(xlabel="standard deviation of the logits", ylabel="probability inside the zone", ylim=(0, None), xscale="log")
    right.set_xticks(list(masses), [f"{sd:g}" for sd in masses], minor=False)
    right.minorticks_off()


def single_logit(fig: Figure, token: int = 2, eps: float = 1.0, spread: float = 1.0) -> None:
    """One logit moves: the bars of the policy, and the entropy on the curve that the move follows."""
    logits = spread * np.log([0.35, 0.25, 0.2, 0.1, 0.05, 0.05])
    after = logits + dynamics.single_logit_step(logits, token - 1, eps)
    p, q, rest = np.exp(log_softmax(logits)), np.exp(log_softmax(after)), dynamics.rest_entropy(logits, token - 1)
    grid = np.linspace(-4, 4, 200)
    line = [dynamics.probability_after(p[token - 1], x) for x in grid]
    slope, h = -dynamics.discriminator(logits)[token - 1], float(tabular.entropy(logits))
    curve = dynamics.second_order_term(logits, token - 1, 1.0)
    left, right = fig.subplots(1, 2)
    left.bar(np.arange(1, 7) - 0.2, p, width=0.4, color="0.7", label="before")
    left.bar(np.arange(1, 7) + 0.2, q, width=0.4, color=COLOURS[0], label="after")
    left.axhline(np.exp(-h), color=COLOURS[2], ls="--", label="exp(-H) before")
    left.set(xlabel="token", ylabel="probability", ylim=(0, 1))
    left.legend(loc="upper right", fontsize=8)
    right.plot(grid, dynamics.entropy_on_curve(np.array(line), rest), color="0.3", label="exact")
    right.plot(grid, h + slope * grid, color=COLOURS[1], lw=1, label="first order")
    right.plot(grid, h + slope * grid + curve * grid**2, color=COLOURS[3], lw=1, label="second order")
    right.plot(eps, tabular.entropy(after), "o", color=COLOURS[0])
    top = np.log(dynamics.peak(rest)[0] / (1 - dynamics.peak(rest)[0])) - np.log(p[token - 1] / (1 - p[token - 1]))
    right.axvline(top, color=COLOURS[2], ls="--", label="there p = exp(-H)")
    right.set(xlabel="move of the logit, eps", ylabel="entropy (nats)", xlim=(-4, 4), ylim=(0, 2.1))
    right.legend(loc="lower left", fontsize=8)
    change = float(dynamics.exact_change(logits, after - logits))
    fig.suptitle(f"entropy change: exact {change:+.4f}, first order {slope * eps:+.4f} nats", fontsize=10)


def thresholds(fig: Figure, p: float = 0.2, favourite: float = 0.6, others: int = 10) -> None:
    """S of a token of probability p, the baseline E[S] of its state, and where the two theorems disagree.

    Of the rest one token holds the share `favourite`; the others are equal.
    """
    rest = np.append(favourite, np.full(others, (1 - favourite) / others))
    entropy = entr(rest).sum()
    grid = np.append(np.linspace(1e-3, 0.999, 400), p)
    s, mean = dynamics.discriminator_on_curve(grid, entropy), dynamics.baseline_on_curve(grid, rest)
    ax = fig.subplots()
    ax.plot(grid[:-1], s[:-1], color=COLOURS[0], label="S of the token")
    ax.plot(grid[:-1], mean[:-1], color=COLOURS[1], label="E[S] of the state")
    zone = (s > 0) & (s < mean)
    ax.fill_between(grid[:-1], -1, 3, where=zone[:-1], color=COLOURS[4], alpha=0.3, lw=0, label="they disagree")
    ax.axhline(0, color="0.3", lw=1)
    ax.plot([p, p], [s[-1], mean[-1]], "o", color="0.2")
    alone, together = ("falls" if x > 0 else "rises" for x in (s[-1], s[-1] - mean[-1]))
    ax.set(
        xlabel="probability of the token", ylabel="nats", xlim=(0, 1), ylim=(s.min() - 0.02, 1.4 * max(s.max(), mean.max()))
    )
    ax.set_title(f"rewarded: entropy {alone} if its logit moves alone, {together} under a GRPO step", fontsize=10)
    ax.legend(loc="upper left", fontsize=8)


def painter(
    fig: Figure, rewarded_probable: bool = True, rewarded_rare: bool = True, punished_probable: bool = True,
    punished_rare: bool = True, score: str = "S", seed: int = 0,
) -> None:  # fmt: skip
    """Train the toy for 25 rollouts on the chosen kinds of token only."""
    chosen = (rewarded_probable, rewarded_rare, punished_probable, punished_rare)
    kept = ",".join(kind for kind, wanted in zip(KINDS, chosen, strict=True) if wanted)
    short = {"replicas": 1, "steps": 25, "seed": seed, "inner_steps": 1}
    ax = fig.subplots()
    for label, colour, method in (
        ("all tokens", "0.6", "none"),
        ("the chosen kinds", COLOURS[0], {"name": "quadrants", "keep": kept, "score": score} if kept else None),
    ):
        if method:
            records = pd.DataFrame(SharedFeatures(intervention=method, **short).run())
            ax.plot(records.step, records.entropy, color=colour, label=label, lw=2)
    ax.set(xlabel="rollout", ylabel="policy entropy H (nats)", ylim=(1.2, 3.2))
    ax.set_title("nothing chosen: nothing moves" if not kept else "", fontsize=10)
    ax.legend(loc="upper left")


def outliers(fig: Figure, scores: Mapping[str, tuple[np.ndarray, np.ndarray]], policy: str, mu: float = 2.5) -> None:
    """Histogram of S of the sampled tokens of a policy: which punished ones lie mu deviations below the mean?

    scores: name -> (S, advantage) of the tokens of a rollout.
    """
    s, advantage = scores[policy]
    limit = s.mean() - mu * s.std()
    gone = (advantage < 0) & (s < limit)
    ax = fig.subplots()
    bins = np.linspace(min(s.min(), limit) - 0.02, s.max() + 0.02, 70)
    ax.hist(s, bins, color="0.75", label="all tokens")
    ax.hist(s[advantage < 0], bins, color=COLOURS[5], label="punished")
    if gone.any():
        ax.hist(s[gone], bins, color=COLOURS[1], label="taken out")
    ax.axvline(limit, color=COLOURS[1], ls="--", label=f"mean - {mu:g} sd")
    ax.set(xlabel="S = p (log p + H) (nats)", ylabel="tokens", yscale="log")
    share = gone.sum() / max(1, (advantage < 0).sum())
    ax.set_title(f"{gone.sum()} of {(advantage < 0).sum()} punished tokens are taken out ({share:.2%})", fontsize=10)
    ax.legend(loc="upper right", fontsize=8)


def live_toy(fig: Figure, runs: list[tuple[str, pd.DataFrame]]) -> None:
    """The workbench's picture of the toy: entropy and share of right responses of every run so far."""
    named = [(label, records.rename(columns={"reward": "accuracy"})) for label, records in runs]
    plots.live_run(fig, named)
    fig.axes[1].set_ylabel("share of right responses")
