"""The runs of notebook 09: changes to `Unlearning` by name; one budget, one set of seeds, one corpus for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from entropy_utils.lab.experiment import Record

from .answer_tokens import IGNORED, answer_targets
from .corpus import encode_split, fact_positions
from .membership import auc
from .reading import read
from .selection import select

if TYPE_CHECKING:
    from .experiment import Unlearning
    from .stacked_gpt2 import StackedGPT2

Changes = dict[str, Any]
RATES = (1e-4, 3e-4, 1e-3)
SHARES = (10, 25, 50, 75, 100)
CUTS = (2, 8, 32)
STRENGTHS = (1, 3, 10)

RIVALS: dict[str, str] = {
    "GradAscent": "gradient_ascent",
    "NPO": "npo",
    "CEU": "ceu",
    "UNDIAL": "undial",
    "GradDiff+RT": "grad_diff",
    "NPO+RT": "npo retain_weight=1",
    "SimNPO+RT": "simnpo retain_weight=1",
    "UNDIAL+RT": "undial retain_weight=1",
    "RMU+RT": "rmu",
}
"""Objectives of the other methods; "+RT": with the mean loss on retained answers beside it, weight 1."""

RATE_OF: dict[str, float] = {
    "SHRED": 3e-4, "GradAscent": 1e-4, "NPO": 1e-4, "CEU": 1e-4, "UNDIAL": 3e-4, "GradDiff+RT": 1e-4, "NPO+RT": 1e-4,
    "SimNPO+RT": 1e-4, "UNDIAL+RT": 1e-3, "RMU+RT": 1e-3,
}  # fmt: skip
"""Learning rate at which each method is shown alone: its best of `RATES` in an earlier, smaller study (RMU: ours)."""

RETAIN_FREE = ("GradAscent", "NPO", "CEU", "UNDIAL")
WITH_RETAIN = tuple(name for name in RIVALS if name.endswith("+RT"))


def own(name: str) -> str:
    """The name of the run that a method is shown alone with."""
    return "SHRED P = 25" if name == "SHRED" else f"{name} {RATE_OF[name]:g}"


METHODS = ("SHRED", *RIVALS)
CURVES = ("SHRED", "UNDIAL", "CEU", "GradAscent", "NPO+RT", "UNDIAL+RT")
"""Methods that are shown while they unlearn."""
COMPARED = ("CEU", "NPO+RT", "SimNPO+RT", "UNDIAL+RT")
"""Other methods beside SHRED where wordings and entropies are compared."""


def shred(**settings) -> Changes:
    """SHRED with K = 32 at its rate; settings as of `objectives.Shred`."""
    return {"objective": {"name": "shred", "top": 32, **settings}, "lr": RATE_OF["SHRED"]}


def shares() -> dict[str, Changes]:
    """SHRED by the share of demoted tokens."""
    return {f"SHRED P = {share}": shred(share=share / 100) for share in SHARES}


def rival(name: str, rate: float | None = None) -> Changes:
    """Another method, at its own rate or at another."""
    return {"objective": RIVALS[name], "lr": rate or RATE_OF[name]}


def rivals() -> dict[str, Changes]:
    """Every other method at every rate, by names like "NPO+RT 0.0001"."""
    return {f"{name} {rate:g}": rival(name, rate) for name in RIVALS for rate in RATES}


def other_rates() -> dict[str, Changes]:
    """SHRED with P = 25 % at the rates that it is not shown at."""
    return {f"SHRED {rate:g}": shred(share=0.25) | {"lr": rate} for rate in RATES if rate != RATE_OF["SHRED"]}


CONTROLS: dict[str, Changes] = {
    "random tokens": shred(share=0.25, how="random"),
    "most probable tokens": shred(share=0.25, how="probable"),
    "random, no anchors": shred(share=0.25, how="random", anchors=False),
    "SHRED, no anchors": shred(share=0.25, anchors=False),
    "SHRED, both wordings": shred(share=0.25) | {"wording": "both"},
    "SHRED, variant B": shred(share=0.25, variant="B", nucleus=0.9),
}
"""P = 25 %, with one thing changed."""


def ablations() -> dict[str, Changes]:
    """SHRED by K, and UNDIAL by the strength of its demotion."""
    cuts = {f"K = {top}": shred(share=0.25, top=top) for top in CUTS if top != 32}
    return cuts | {f"beta = {beta}": {"objective": f"undial beta={beta}", "lr": 3e-4} for beta in STRENGTHS if beta != 10}


QUICK = (
    "SHRED P = 50", *map(own, METHODS), "random tokens", "most probable tokens", "random, no anchors",
    "SHRED, no anchors", "SHRED, both wordings",
)  # fmt: skip
"""Runs of profile smoke."""

ATTACKED = ("GradDiff+RT", "NPO+RT", "SimNPO+RT", "UNDIAL+RT")


def attacked(quick: bool = False) -> dict[str, Changes]:
    """The methods whose results are trained on (`quick`: one rival), and the retrained model, which unlearns nothing."""
    chosen = {name: rival(name) for name in ATTACKED if not quick or name == "NPO+RT"}
    all_of_them = {"SHRED": shred(share=0.25)} | chosen | {"retrained": {"knowledge": "gold", "steps": 0}}
    return {name: change | {"further_steps": 10} for name, change in all_of_them.items()} if quick else all_of_them


SEQUENCE = ("GradAscent", "GradDiff+RT", "NPO+RT", "UNDIAL+RT")


def sequence(quick: bool = False) -> dict[str, Changes]:
    """The methods that serve one request after the other (`quick`: one rival)."""
    chosen = {name: rival(name) for name in SEQUENCE if not quick or name == "NPO+RT"}
    return {"SHRED": shred(share=0.25)} | chosen


def references(base: Unlearning) -> pd.DataFrame:
    """All measures of the full and of the retrained models, one row per model and seed."""
    rows: list[Record] = []
    for name in ("full", "gold"):
        found = base.replace(knowledge=name).before()
        rows += [{"model": name, "seed": seed, **record} for seed, record in zip(base.seeds, found, strict=True)]
    return pd.DataFrame(rows)


class Selection(NamedTuple):
    """How well surprisal finds the facts, one value per seed."""

    auroc: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


class TokenView(NamedTuple):
    """The answers to forget as the full models read them: tokens of every answer, the others (S, N, T) or (N, T)."""

    words: list[list[str]]
    surprisal: np.ndarray  # nats
    mask: np.ndarray
    fact: np.ndarray
    selected: np.ndarray


def answer_surprisal(base: Unlearning, models: StackedGPT2) -> np.ndarray:
    """Surprisal (nats) of every token of the answers to forget, (S, N, T), 0 outside them."""
    corpus, tokenizer = base.texts()
    return -read(models, encode_split(tokenizer, corpus["forget"])).log_prob.numpy()


def token_view(base: Unlearning, share: float = 0.25) -> TokenView:
    """The answers to forget, token by token, and what SHRED selects of them."""
    corpus, tokenizer = base.texts()
    forget = corpus["forget"]
    batch = encode_split(tokenizer, forget)
    labels = batch["labels"][:, 1:]
    mask = labels != IGNORED
    surprisal = answer_surprisal(base, base.models("full"))
    selected = select(-torch.from_numpy(surprisal), mask.expand(surprisal.shape), share)
    fact = fact_positions(batch, forget["answer"][:], forget["value"][:])
    words = [tokenizer.convert_ids_to_tokens(row[row != IGNORED].tolist()) for row in labels]
    return TokenView(words, surprisal, mask.numpy(), fact.numpy(), selected.numpy())


def selection_quality(view: TokenView) -> Selection:
    """AUROC of surprisal (fact against other tokens); recall and precision of the selection; all answers pooled."""
    fact, template = view.fact & view.mask, ~view.fact & view.mask
    hits = (view.selected & fact).sum((1, 2))
    auroc = auc(view.surprisal[:, template], view.surprisal[:, fact])
    return Selection(auroc, hits / fact.sum(), hits / view.selected.sum((1, 2)))


def names_selected(base: Unlearning, view: TokenView) -> float:
    """Share of people's names among the selected tokens that are no facts; all seeds and answers pooled."""
    questions = base.texts().corpus["forget"]["question"][:]
    names = {word for question in questions for word in question.split() if word[0].isupper()}
    is_name = np.zeros_like(view.mask)
    for row, words in enumerate(view.words):
        is_name[row, view.mask[row]] = [word in names for word in words]
    others = view.selected & ~view.fact
    return (others & is_name).sum() / others.sum()


@torch.no_grad()
def stored_mass(base: Unlearning, top: int) -> np.ndarray:
    """What the `top` most probable tokens of the full models hold at every answer token to forget, (S, tokens)."""
    corpus, tokenizer = base.texts()
    batch = encode_split(tokenizer, corpus["forget"])
    models = base.models("full")
    p = models(batch["input_ids"].to(next(models.parameters()).device))[:, :, :-1].softmax(-1)
    return p.topk(top, -1).values.sum(-1).cpu()[:, answer_targets(batch["labels"])[1]].numpy()
