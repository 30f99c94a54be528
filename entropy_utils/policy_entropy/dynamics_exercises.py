"""Exercises of notebook 06: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entropy_utils.lab.lesson import Exercise

from . import dynamics

TWO = np.log([0.9, 0.1])


def _two_tokens(answer: np.ndarray) -> str | None:
    got, wanted = np.asarray(answer, float), dynamics.deviation(TWO)
    if got.shape != (2,):
        return "Two numbers are asked, D of the probable and of the rare token."
    if np.allclose(got, wanted, atol=1e-4):
        return None
    if np.allclose(got, dynamics.discriminator(TWO), atol=1e-4):
        return "That is S. Take its mean under p off."
    if np.allclose(got, -wanted, atol=1e-4):
        return "The size is right. Is S of a token more probable than e^-H positive or negative?"
    return "H = -sum p log p in nats; S = p (log p + H); the baseline is p[0] S[0] + p[1] S[1]."


def _drift(answer: float) -> str | None:
    wanted = dynamics.random_drift(np.zeros(4))
    if np.isclose(answer, wanted, atol=1e-3):
        return None
    if np.isclose(answer, 2 * wanted, atol=1e-3):
        return "The second-order term carries a factor one half."
    if np.isclose(answer, -wanted, atol=1e-3):
        return "The uniform policy has the largest entropy of all. Which sign can the drift have?"
    return "Take the Hessian of H at p = 1/4 for all four, times diag p - p p^T, and half the trace."


def _log_ratio(answer: Callable[[np.ndarray, int], float]) -> str | None:
    rng = np.random.default_rng(7)
    for token in range(5):
        logits = rng.normal(size=5)
        p = np.exp(logits) / np.exp(logits).sum()
        if not np.isclose(answer(p, token), dynamics.log_ratio_change(logits)[token], rtol=1e-6):
            return "The step is e_k - p. d log p_k = (step of z_k) - (mean of the step under p)."
    return None


EXERCISES: dict[str, Exercise] = {
    "6.1": Exercise("A policy of two tokens", 1, 10, _two_tokens),
    "6.2": Exercise("Whom does the clip catch first?", 2, 15, _log_ratio),
    "6.3": Exercise("The drift of meaningless rewards", 3, 20, _drift),
}
