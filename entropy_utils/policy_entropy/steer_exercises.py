"""Exercises of notebook 07: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from entropy_utils.lab.lesson import Exercise

from .interventions import Steer, Tokens
from .tabular import entropy

P = (0.05, 0.145, 0.3, 0.5, 0.709, 0.95)


def _two_tokens(answer: Callable[[float], float]) -> str | None:
    for p in P:
        logits = np.array([np.log(p), np.log1p(-p)])
        move = np.array([1e-6, 0.0])
        change = entropy(logits + move) - entropy(logits - move)
        expected = -change / 2e-6 * (1 - p)
        got = answer(p)
        if np.isclose(got, expected, rtol=1e-5, atol=1e-8):
            continue
        if np.isclose(got, -expected, rtol=1e-5):
            return "The size is right. delta is the factor that the advantage and a minus sign are put before."
        if np.isclose(got, expected / (1 - p), rtol=1e-5):
            return "That is minus dH/dz. The token's own logit moves in proportion to 1 - pi: include it."
        return "Write H of the two-token state with log pi and log(1 - pi); how does log pi + H simplify?"
    return None


def _missing_terms(answer: Callable[[np.ndarray, int], float]) -> str | None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        p = rng.dirichlet(np.ones(5))
        u = np.log(p) - (p * np.log(p)).sum()
        for a in range(5):
            got, centred = answer(p, a), np.eye(5)[a] - p[a]
            terms = p * u * centred
            if np.isclose(got, terms.sum() - terms[a], rtol=1e-6, atol=1e-12):
                continue
            if np.isclose(got, terms[a], rtol=1e-6):
                return "That is the diagonal term. All the others together are asked for."
            if np.isclose(got, terms.sum(), rtol=1e-6):
                return "That is the whole covariance. Leave out the term of token a itself."
            return "Cov = sum_b p_b (log p_b + H)(dz_b - E dz). What is dz_b - E dz for b other than a?"
    return None


def _weights(answer: tuple) -> str | None:
    p = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    state, whole = -(p * p.log()).sum().expand_as(p), torch.ones_like(p, dtype=torch.bool)
    tokens = Tokens(p.log(), p.log(), whole.double(), whole, state, p, old_entropy=state)
    expected = [Steer(form=form).weights(tokens)[0].numpy() for form in ("released", "theorem")]
    got = np.asarray(answer, dtype=float)
    if got.shape != (2, 2):
        return "Two pairs are due: (released, theorem), each (weight of the token 0.9, weight of the token 0.1)."
    if np.allclose(got, expected, atol=2e-3):
        return None
    if np.allclose(got[::-1], expected, atol=2e-3):
        return "The numbers are right, the two forms are the other way round."
    return "Estimate |Omega| of both tokens, divide by the larger one, and raise 0.7 to that power."


def _trend(answer: tuple) -> str | None:
    falls, rises, weakest = -1.0, 0.4, 0.7
    expected = weakest * falls + rises, rises, rises / -falls
    got = np.asarray(answer, dtype=float)
    if got.shape != (3,):
        return (
            "Three numbers are due: best change with weights, best change with masks, largest weakest weight that turns it."
        )
    wrong = [name for name, a, b in zip(("first", "second", "third"), got, expected, strict=True) if abs(a - b) > 1e-9]
    hints = {
        "first": "Slow what lowers the entropy as far as allowed, and leave the rest alone.",
        "second": "A mask is a weight of 0 or 1.",
        "third": "At which weight do the two parts cancel?",
    }
    return hints[wrong[0]] if wrong else None


EXERCISES: dict[str, Exercise] = {
    "7.1": Exercise("Two tokens, two very different brakes", 1, 15, _two_tokens),
    "7.2": Exercise("Where a second factor 1 - pi could come from", 2, 15, _missing_terms),
    "7.3": Exercise("Weights of the state (0.9, 0.1)", 1, 10, _weights),
    "7.4": Exercise("Can weights turn a trend?", 1, 5, _trend),
}
