"""Exercises of notebook 05: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax

from entropy_utils.lab.lesson import Exercise

from .published import TOP_COVARIANCE
from .tabular import natural_gradient_step, predicted_entropy_change


def _natural_gradient_change(answer: Callable[[np.ndarray, np.ndarray, float], float]) -> str | None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        logits, advantages, lr = rng.normal(size=6), rng.normal(size=6), rng.uniform(0.01, 0.5)
        p = np.exp(log_softmax(logits))
        got, shifted = answer(p, advantages, lr), answer(p, advantages + 3.0, lr)
        expected = predicted_entropy_change(logits, natural_gradient_step(logits, advantages, lr))
        if np.isclose(got, expected, rtol=1e-6, atol=1e-12):
            continue
        if np.isclose(got, -expected, rtol=1e-6):
            return "The size is right. Which way does the entropy go when a probable action is rewarded?"
        if not np.isclose(got, shifted, rtol=1e-6, atol=1e-12):
            return "Adding 3 to all advantages changes your result. A covariance ignores constants: which mean is missing?"
        return "Check the two factors of the covariance, and the learning rate."
    return None


def _without_the_top(answer: float) -> str | None:
    expected = TOP_COVARIANCE[1.0] - 2e-3 * TOP_COVARIANCE[2e-3]
    if abs(answer - expected) < 2e-4:
        return None
    if abs(answer - (TOP_COVARIANCE[1.0] - TOP_COVARIANCE[2e-3])) < 1e-2:
        return "The mean over the top tokens counts only for their share of all tokens."
    return "Total mean = share of the top tokens x their mean + the contribution of the rest. Keep the sign."


def _largest_right_score(answer: float) -> str | None:
    group = np.zeros(8)
    group[0] = 1.0
    largest = (group - group.mean()).max() / group.std(ddof=1)
    if abs(answer - largest * 0.6) < 0.02:
        return None
    if abs(answer - (1 - 1 / 8) / group.std() * 0.6) < 0.02:
        return "Close: the standard deviation here divides by G - 1."
    return "Two bounds: the largest advantage of a right response among eight, and log pi - mean when log pi <= 0."


def _bandit_slope(answer: Callable[[float, int], float]) -> str | None:
    for reward, actions in ((0.2, 10), (0.5, 32), (0.9, 100)):
        exact = 1 / np.log(reward * (actions - 1) / (1 - reward))
        got = answer(reward, actions)
        if np.isclose(got, exact, rtol=1e-4):
            continue
        if np.isclose(got, -exact, rtol=1e-4):
            return "The slope is asked against minus the entropy."
        return "Write H with one right action of probability R and K - 1 equal wrong ones; differentiate once; simplify."
    return None


EXERCISES: dict[str, Exercise] = {
    "5.1": Exercise("Entropy change of a natural-gradient step", 1, 10, _natural_gradient_change),
    "5.2": Exercise("Table 1 without its top 0.2 %", 1, 5, _without_the_top),
    "5.3": Exercise("The largest score of a right token", 2, 10, _largest_right_score),
    "5.4": Exercise("The slope of the bandit's law", 3, 20, _bandit_slope),
}
