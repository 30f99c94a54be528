"""Pictures of notebook 07. Every function draws on the matplotlib figure it is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.special import log_softmax, softmax

from . import estimators
from .dynamics import baseline, discriminator, exact_change
from .four_factors import FACTORS, FourFactors, four_factors
from .interventions import Steer, Tokens
from .interventions.steer import concentration
from .plots import COLOURS

P = (0.35, 0.25, 0.2, 0.1, 0.05, 0.05)  # the six-token state of Play 3


def omega_map(fig: Figure, estimator: str = "theorem", advantage: str = "+1", rarest: float = 3.0) -> None:
    """Estimated entropy change over the probability of the token and the entropy of its state, with its zero line.

    One other token has half of the remaining probability, the others share the rest equally; where it is grey there is no
    such state. rarest: -log10 of the smallest probability shown.
    """
    place, entropy = np.meshgrid(np.linspace(-rarest, np.log10(0.98), 120), np.linspace(0.7, 4, 90))
    omega = _omega(estimator, float(advantage), place * np.log(10), entropy)
    ax, size, box = fig.subplots(), np.nanmax(np.abs(omega)), (-rarest, np.log10(0.98), 0.7, 4)
    image = ax.imshow(omega, cmap="PuOr", vmin=-size, vmax=size, origin="lower", extent=box, aspect="auto")
    line = np.linspace(0.7, min(4, rarest * np.log(10)), 60)
    ax.plot(-line / np.log(10), line, color=COLOURS[2], lw=5, alpha=0.5)
    ax.contour(place, entropy, omega, levels=[0], colors="black", linewidths=1.5)
    ax.set(xlabel="log10 of the probability of the sampled token", ylabel="entropy of its state (nats)", facecolor="0.85")
    ax.set_title(f"{estimator}, A = {advantage}; black: no change, green: exp(-H)", fontsize=10)
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="estimated change per unit of step (nats)")


def _omega(estimator: str, advantage: float, logp: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """The estimate, NaN where no state has this probability and entropy: half of the rest on one other token."""
    p = np.exp(logp)
    rest = (entropy + p * logp + (1 - p) * np.log1p(-p)) / (1 - p)  # entropy of the other tokens among themselves
    half, log_q = (1 - p) / 2, np.log1p(-p) - 2 * rest + np.log(2)  # the second token, and each of the equal ones
    sum_p2 = p**2 + half**2 + half * np.exp(log_q)
    moments = sum_p2, p**2 * logp + half**2 * np.log(half) + half * np.exp(log_q) * log_q
    token = [torch.as_tensor(x) for x in (logp, entropy, np.full_like(p, advantage), *moments)]
    if estimator == "full step":
        found = estimators.full_step(*token)
    else:
        found = {"theorem": estimators.own_logit, "released": estimators.released}[estimator](*token[:3])
    return np.where(rest >= np.log(2), found.numpy(), np.nan)


@lru_cache(maxsize=4)
def _tokens(count: int = 600, seed: int = 0) -> Tokens:
    """Sampled tokens of random states with advantages +1 or -1, on policy, as one minibatch (1, count)."""
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    log_p = (8 * torch.rand(count, 1, **draw) * torch.randn(count, 50, **draw)).log_softmax(-1)
    drawn = log_p.exp().multinomial(1, generator=g)
    logp, entropy = log_p.gather(-1, drawn).T, -(log_p.exp() * log_p).sum(-1)[None]
    advantages = 2.0 * (torch.rand(1, count, **draw) < 0.5) - 1
    return Tokens(logp, logp, advantages.double(), torch.ones_like(logp, dtype=torch.bool), entropy,
                  torch.rand(1, count, **draw), old_entropy=entropy)  # fmt: skip


def with_outlier(rarity: float, entropy: float = 1.0) -> Tokens:
    """The minibatch of the histogram, its first token replaced by one of probability 10 ** -rarity and A = -1."""
    batch = _tokens()
    first = torch.arange(batch.logp.shape[1]) == 0
    logp = torch.where(first, -rarity * np.log(10), batch.logp)
    state = torch.where(first, entropy, batch.entropy)
    return Tokens(logp, logp, torch.where(first, -1.0, batch.advantages), batch.mask, state, batch.random, old_entropy=state)


def weight_histogram(
    fig: Figure, weakest: float = 0.7, map: str = "exponential", form: str = "released", mode: str = "symmetric",
    rarity: float = 3.0,
) -> None:  # fmt: skip
    """Weights of 600 tokens, one of which is an outlier whose probability the reader sets."""
    method = Steer(weakest=weakest, map=map, form=form, mode=mode, strongest=1.2 if map == "linear" else 1.0)
    tokens = with_outlier(rarity)
    weights, found = method.weights(tokens)[0], concentration(method, tokens)
    ax = fig.subplots()
    ax.hist(weights, bins=np.linspace(min(weakest, 0.99), method.strongest, 41), color=COLOURS[5])
    ax.plot(weights[0], 0, "^", color=COLOURS[1], markersize=11, clip_on=False, label="the outlier")
    ax.set(xlabel="weight", ylabel="tokens", yscale="symlog", ylim=(0, 700))
    ax.set_title(
        f"{found.pinned.item():.0%} of the tokens within 1 % of the largest weight\n"
        f"mean {found.mean.item():.3f}, sd {found.sd.item():.3f}; "
        f"probability of the token with the largest estimate {found.probability.item():.1g}"
    )
    ax.legend(loc="upper left")


def own_against_all(fig: Figure, token: int = 2, push: float = 0.1, sharpness: float = 1.0) -> None:
    """One token's update of a six-token state, in its own logit and in all logits, and what each does to the entropy."""
    logits = sharpness * np.log(P)
    a, p = token - 1, softmax(sharpness * np.log(P))
    every = push * (np.eye(6)[a] - p)
    own = every * np.eye(6)[a]
    left, right = fig.subplots(1, 2, gridspec_kw={"width_ratios": (3, 2)})
    places = np.arange(1, 7)
    for shift, (label, step), colour in zip((-0.27, 0, 0.27), (("before", 0 * p), ("own logit", own), ("all logits", every)),
                                            ("0.6", COLOURS[0], COLOURS[1]), strict=True):  # fmt: skip
        left.bar(places + shift, softmax(logits + step), 0.26, color=colour, label=label)
    entropy = -(p * log_softmax(logits)).sum()
    left.axhline(np.exp(-entropy), color="0.3", lw=1, ls="--", label="exp(-H)")
    left.set(xlabel="token", ylabel="probability", xticks=places)
    left.legend(loc="upper right")
    s, bar = discriminator(logits), baseline(logits)
    values = {
        "own logit: exact": exact_change(logits, own), "own logit: Theorem 1": -push * (1 - p[a]) * s[a],
        "all logits: exact": exact_change(logits, every), "all logits: first order": -push * (s[a] - bar),
    }  # fmt: skip
    right.barh(list(values), list(values.values()), color=[COLOURS[0], COLOURS[5], COLOURS[1], COLOURS[4]])
    right.axvline(0, color="0.3", lw=1)
    right.invert_yaxis()
    size = 1.15 * max(map(abs, values.values()))
    right.set(xlabel="entropy change (nats)", xlim=(-size, size))


def factor_scatter(
    fig: Figure, clipping: bool = False, advantage: bool = False, probability: bool = False, entropy: bool = False,
    drift: float = 0.3,
) -> None:  # fmt: skip
    """Estimated against exact entropy change with the ticked factors made the same for all tokens."""
    ticked = dict(zip(FACTORS, (clipping, advantage, probability, entropy), strict=True))
    neutral = tuple(factor for factor, on in ticked.items() if on)
    draws = FourFactors(states=2000, vocabulary=50, drift=drift).draws(0)
    estimate = four_factors(draws, neutral)
    found = estimators.agreement(estimate, draws.truth)
    ax = fig.subplots()
    for on, colour, label in ((1.0, COLOURS[0], "with gradient"), (0.0, COLOURS[1], "clipped: no gradient")):
        part = draws.unclipped == on
        ax.plot(estimate[part], 1000 * draws.truth[part], ".", color=colour, markersize=3, alpha=0.5, label=label)
    ax.set(xlabel="estimate per unit of step (nats)", ylabel="exact change per unit of step (nats)")
    what = ", ".join(neutral) or "none"
    ax.set_title(f"made the same: {what}\nPearson {found['pearson']:+.2f}, Spearman {found['spearman']:+.2f}")
    ax.legend(loc="upper left", markerscale=4)


def contest(fig: Figure, records: pd.DataFrame) -> None:
    """Pearson and Spearman correlation of every estimator with the exact change, by how much the states share."""
    means = records.groupby(["estimator", "features"], sort=False)[["pearson", "spearman"]].mean()
    for ax, measure in zip(fig.subplots(1, 2, sharey=True), ("pearson", "spearman"), strict=True):
        table = means[measure].unstack(sort=False)
        for (name, row), colour in zip(table.iterrows(), COLOURS, strict=False):
            ax.plot(range(len(row)), row, "o-", color=colour, label=name)
        ax.set_xticks(range(table.shape[1]), ["none" if d == 0 else str(d) for d in table])
        ax.set(xlabel="features shared by all states", ylim=(0, 1.05), title=measure.capitalize())
    fig.axes[0].set_ylabel("correlation with the exact change")
    fig.axes[1].legend(loc="upper right")


def factor_bars(fig: Figure, records: pd.DataFrame) -> None:
    """Pearson correlation of the estimate with all factors, without one, and with one alone; dots: seeds."""
    ax, means = fig.subplots(), records.groupby("kept", sort=False).pearson.mean()
    colours = [
        COLOURS[2] if name == "all" else COLOURS[5] if name.startswith("without") else COLOURS[4] for name in means.index
    ]
    ax.barh(list(means.index), means, color=colours, height=0.6)
    ax.plot(records.pearson, records.kept, "o", color="0.2", markersize=3)
    ax.axvline(0, color="0.3", lw=1)
    ax.invert_yaxis()
    ax.set(xlabel="Pearson correlation with the exact entropy change")


def weights_while_training(fig: Figure, records: pd.DataFrame) -> None:
    """Share of pinned weights, mean weight, probability of the token that sets the scale; mean and range of seeds."""
    panels = {
        "pinned": "share of tokens within 1 % of the largest weight",
        "mean": "mean weight",
        "probability": "probability of the token with the largest estimate",
    }
    for ax, (column, label) in zip(fig.subplots(1, 3), panels.items(), strict=True):
        for (name, run), colour in zip(records.groupby("method", sort=False), COLOURS, strict=False):
            if column == "probability" and name not in ("released", "theorem"):
                continue  # it belongs to the form of the estimate, not to the map
            seeds = run.groupby("step")[column]
            ax.plot(seeds.mean().index, seeds.mean(), "o-", color=colour, label=name)
            ax.fill_between(seeds.mean().index, seeds.min(), seeds.max(), color=colour, alpha=0.15, lw=0)
        ax.set(xlabel="rollouts of training", ylabel=label)
    fig.axes[0].set(ylim=(0, 1))
    fig.axes[2].set(yscale="log")
    fig.axes[1].legend(loc="center", bbox_to_anchor=(0.5, 0.68), fontsize=8, ncols=2)
    fig.axes[2].legend(loc="upper right", fontsize=8)


def entropy_and_price(fig: Figure, runs: Mapping[str, pd.DataFrame], smooth: int = 5) -> None:
    """Left: entropy along training, mean and range of the seeds. Right: the mean path of each run, reward on entropy."""
    left, right = fig.subplots(1, 2)
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        entropy, reward = (
            records.pivot(index="step", columns="seed", values=column).rolling(smooth, min_periods=1, center=True).mean()
            for column in ("entropy", "reward")
        )
        left.plot(entropy.index, entropy.mean(axis=1), color=colour, label=name)
        left.fill_between(entropy.index, entropy.min(axis=1), entropy.max(axis=1), color=colour, alpha=0.15, lw=0)
        right.plot(entropy.mean(axis=1), reward.mean(axis=1), color=colour)
        right.plot(entropy.mean(axis=1).iloc[-1], reward.mean(axis=1).iloc[-1], "o", color=colour)
    left.set(xlabel="rollout", ylabel="policy entropy H (nats)")
    right.set(xlabel="policy entropy H (nats)", ylabel="share of right responses")
    right.invert_xaxis()
    left.legend(loc="best")
