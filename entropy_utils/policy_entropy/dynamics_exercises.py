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


def _baseline(answer: Callable[[np.ndarray], float]) -> str | None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        logits = rng.normal(size=7)
        p = np.exp(logits) / np.exp(logits).sum()
        got, wanted = answer(p), dynamics.baseline(logits)
        if np.isclose(got, wanted, rtol=1e-6, atol=1e-12):
            continue
        if np.isclose(got, np.cov(p, np.log(p), bias=True)[0, 1], rtol=1e-6):
            return "This weighs all tokens alike. The covariance is under the policy: weights p."
        return "Cov_p(p, log p) = E_p[p log p] - E_p[p] E_p[log p], every mean weighted with p."
    return None


def _mode(answer: bool) -> str | None:
    if type(answer) not in (bool, np.bool_):
        return "Answer True or False."
    return None if answer is False or answer == np.False_ else "Compare the largest S with a mean of all S."


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
    "6.2": Exercise("The baseline is a covariance", 2, 15, _baseline),
    "6.3": Exercise("Can rewarding the favourite raise the entropy?", 2, 10, _mode),
    "6.4": Exercise("The drift of meaningless rewards", 3, 20, _drift),
    "6.5": Exercise("Whom does the clip catch first?", 2, 15, _log_ratio),
}
