"""The pictures of notebook 09 that sliders move: which tokens are selected, and what a target makes of one position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.utils.rnn import pad_sequence

from entropy_utils.information import kl_divergence, shannon_entropy

from .objectives.shred import demoted_target
from .objectives.undial import undial_target
from .selection import select
from .surprisal_plots import AFTER, BEFORE, MEMORISED, coloured_tokens, demoted_position

PRECISION, RECALL = "#009E73", "#CC79A7"


class Answer(NamedTuple):
    """One answer as the frozen model reads it: words (T,), surprisal (T,) in nats, facts boolean (T,)."""

    words: Sequence[str]
    surprisal: np.ndarray
    facts: np.ndarray


class Position(NamedTuple):
    """One position: the vocabulary, the frozen model's distribution p (V,), and the memorised token's place in it."""

    words: Sequence[str]
    p: np.ndarray
    memorised: int


def padded(answers: Sequence[Answer]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """log_prob, mask and facts of several answers as arrays (N, T), as `select` takes them."""
    columns = [
        [torch.as_tensor(np.asarray(column)) for column in pair] for pair in zip(*(a[1:] for a in answers), strict=True)
    ]
    surprisal, facts = (pad_sequence(column, batch_first=True) for column in columns)
    mask = torch.arange(surprisal.shape[1]) < torch.tensor([len(one.words) for one in answers])[:, None]
    return -surprisal, mask, facts.numpy()


def target(p: np.ndarray, memorised: int, variant: str = "A", nucleus: float = 0.9, top: int | None = None) -> np.ndarray:
    """SHRED's target q (V,) at a forget position with distribution p (V,)."""
    log_p = torch.from_numpy(p).log()
    return demoted_target(log_p, torch.tensor(memorised), variant=variant, nucleus=nucleus, top=top).exp().numpy()


def undial(p: np.ndarray, memorised: int, beta: float | np.ndarray) -> np.ndarray:
    """UNDIAL's target q (..., V), beta (...) taken off the memorised logit."""
    beta = torch.as_tensor(beta, dtype=torch.float64)
    log_p = torch.from_numpy(p).log().expand(*beta.shape, -1)
    return undial_target(log_p, torch.tensor(memorised).expand(beta.shape), beta).exp().numpy()


def selection(fig: Figure, answers: Sequence[Answer], answer: int = 0, share: float = 0.25) -> None:
    """One answer with the selected tokens framed; below, precision and recall of the fact tokens over all answers."""
    above, below = fig.subplots(2, 1, height_ratios=(1, 1.5))
    log_prob, mask, facts = padded(answers)

    def precision_and_recall(share: float) -> tuple[float, float]:
        chosen = select(log_prob, mask, share).numpy()
        hits = (chosen & facts).sum()
        return hits / chosen.sum(), hits / facts.sum()

    words, surprisal, fact = answers[answer]
    chosen = select(log_prob, mask, share).numpy()[answer, : len(words)]
    coloured_tokens(above, words, surprisal, chosen, fact)
    above.set_title(f"{chosen.sum()} of {len(words)} tokens selected, {(chosen & fact).sum()} of {fact.sum()} fact tokens")
    grid = np.linspace(0.02, 1, 50)
    curves, here = np.array([precision_and_recall(s) for s in grid]).T, precision_and_recall(share)
    names = ("precision: selected tokens that are facts", "recall: fact tokens that are selected")
    for name, curve, value, colour in zip(names, curves, here, (PRECISION, RECALL), strict=True):
        below.plot(100 * grid, curve, color=colour, label=f"{name}: {value:.2f}")
        below.plot(100 * share, value, "o", color=colour, markersize=8)
    base = facts.sum() / mask.sum().item()
    below.axhline(base, color=BEFORE, linestyle=":", label=f"share of fact tokens: {base:.2f}")
    below.set(xlabel="share selected, P (%)", ylim=(-0.03, 1.05), xlim=(0, 101), title=f"all {len(answers)} answers")
    below.legend(loc="center right")


def demotion(
    fig: Figure,
    positions: Mapping[str, Position],
    position: str,
    variant: str = "A",
    nucleus: float = 0.9,
    top: int = 32,
    logarithmic: bool = False,
) -> None:
    """One position's p and target q; the first loss against the memorised token's probability, and this position's."""
    left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
    words, p, memorised = positions[position]
    q = target(p, memorised, variant, nucleus, min(top, len(p)))
    demoted_position(left, words, p, q, memorised, logarithmic)
    mass = np.sort(p)[::-1][:top].sum()
    loss = float(kl_divergence(q, p))
    grid = 1 - np.geomspace(1, 1e-6, 200)
    right.plot(grid, -np.log1p(-grid), color=BEFORE, label="−log(1 − p(x)): A, whole vocabulary")
    right.plot(p[memorised], loss, "o", color=MEMORISED, markersize=9, label=f"here: {loss:.3f} nats")
    right.set(xlabel="probability of the memorised token, p(x)", ylabel="KL(q || p), the first loss (nats)")
    right.set(xlim=(-0.02, 1.03), ylim=(-0.3, max(8, 1.15 * loss)))
    right.legend(loc="center left")
    shares = f"mass of the top {min(top, len(p))}: {mass:.4f}"
    right.set_title(f"H(p) = {shannon_entropy(p):.3f}, H(q) = {shannon_entropy(q):.3f} nats\n{shares}")


def from_undial_to_shred(fig: Figure, beta: float = 3.0, log10_doubt: float = -3.0, runner_up: float = 0.5) -> None:
    """A memorised token of doubt 1 - p(x) = 10^log10_doubt; the runner-up has the share `runner_up` of the doubt.

    Left: the target at this beta, SHRED's (beta = infinity) beside it. Right: the target's probabilities against beta;
    shaded, where the memorised token is still the most probable one.
    """
    left, right = fig.subplots(1, 2)
    doubt = 10.0**log10_doubt
    others = np.array([runner_up, *(1 - runner_up) * np.array([0.4, 0.3, 0.2, 0.1])])
    p = np.concatenate([[1 - doubt], doubt * others])
    best = max(others)
    edge = np.log(p[0] / (doubt * best))
    place, limit = np.arange(len(p)), target(p, 0)
    shown = (
        (p, "frozen model", BEFORE),
        (undial(p, 0, beta), f"UNDIAL, β = {beta:g}", MEMORISED),
        (limit, "SHRED", AFTER),
    )
    for shift, (values, name, colour) in zip((-0.27, 0, 0.27), shown, strict=True):
        left.bar(place + shift, values, width=0.25, color=colour, label=name)
    left.set_xticks(place, ["x", *"abcde"])
    left.set(xlabel="token; x is memorised", ylabel="probability", ylim=(0, 1.05))
    left.legend(loc="upper right")
    grid = np.linspace(0, 20, 201)
    targets = undial(p, 0, grid)
    right.axvspan(0, min(edge, 20), color=MEMORISED, alpha=0.12, linewidth=0)
    right.plot(grid, targets[:, 0], color=MEMORISED, label="x")
    right.plot(grid, targets[:, 1 + int(others.argmax())], color=AFTER, label="runner-up")
    right.axhline(limit.max(), color=AFTER, linestyle=":", linewidth=1, label="runner-up in SHRED's target")
    right.plot(beta, undial(p, 0, beta)[0], "o", color=MEMORISED, markersize=9)
    state = "is still" if beta < edge else "is not"
    right.set(
        xlabel="β, taken off the memorised logit (nats)",
        ylabel="probability in the target",
        ylim=(-0.03, 1.05),
        xlim=(0, 20),
    )
    right.set_title(f"x {state} the target's first choice (edge: β = {edge:.2f})")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, fontsize=8)
