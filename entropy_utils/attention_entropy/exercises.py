"""Exercises of notebook 04: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entropy_utils.information import shannon_entropy_from_logits
from entropy_utils.lab.lesson import Exercise

from .bounds import head_logits, row_floor

WIDTH, RATE, START, END = 1024, 1e-3, 1.0, 10.0  # of exercise 4.5


def _two_keys(answer: Callable[[float], float]) -> str | None:
    for s in (0.0, 0.3, 1.0, 2.5, 6.0):
        got, right = answer(s), row_floor(2, s)
        if np.isclose(got, right, rtol=1e-6, atol=1e-12):
            continue
        beta = np.exp(-s * np.sqrt(2))
        if np.isclose(got, right / np.log(2), rtol=1e-6):
            return "That is in bits; entropies are in nats here."
        if np.isclose(got, np.log1p(beta), rtol=1e-6):
            return "Close: that is minus the log of the larger probability. The other one counts, too."
        if np.isclose(got, row_floor(2, s / np.sqrt(2)), rtol=1e-6):
            return "Check the gap: both logits move, one up, one down, and together they have the norm s."
        return "Write the two logits as a multiple of (1, -1). Which multiple has the norm s? What is their gap?"
    return None


def _sharp_weights(answer: Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]) -> str | None:
    rng = np.random.default_rng(4)
    for T, d, sigma in ((5, 4, 3.0), (17, 9, 1e3)):
        X = np.column_stack([rng.normal(size=(T, d - 1)), np.ones(T)])
        W_K, W_Q = answer(X, sigma)
        norm, a = np.linalg.norm(W_K @ W_Q.T, 2), head_logits(X, W_K, W_Q)
        if not np.isclose(norm, sigma, rtol=1e-6):
            return f"The norm of your W_K W_Q^T is {norm:.4g} where {sigma:g} was asked for."
        if np.allclose(shannon_entropy_from_logits(a), np.log(T), rtol=0, atol=1e-6):
            continue
        if np.allclose(a, a[:1]):
            return "All your rows are alike, but not flat. A row is one query; its logits must agree over the keys."
        return "Some row prefers some key. In which direction do all tokens agree? Only that one may decide about keys."
    return None


def _two_extremal_rows(answer: Callable[[int, float], tuple[float, float]]) -> str | None:
    for T, s in ((3, 1.0), (17, 2.5)):
        different, same = answer(T, s)
        if not np.isclose(same, s**2, rtol=1e-6):
            return "Second number: a row and itself. What is the squared norm of an extremal row?"
        if np.isclose(different, s**2 / (T - 1), rtol=1e-6):
            return "First number: the size is right. One row is high where the other is low: which sign?"
        if np.isclose(different, 0.0):
            return (
                "First number: that is what both would need, since each has the norm of the whole matrix. Do they have it?"
            )
        if not np.isclose(different, -(s**2) / (T - 1), rtol=1e-6):
            return (
                "First number: two keys where one row is high and the other low, T - 2 where both are low. Add the products."
            )
    return None


def _norm_after_a_step(answer: Callable[[float, float, float], float]) -> str | None:
    for norm, slope, lr in ((1.0, 2.0, 0.1), (3.0, 0.5, 2.0)):
        got = answer(norm, slope, lr)
        if np.isclose(got, np.hypot(norm, lr * slope), rtol=1e-9):
            continue
        if np.isclose(got, norm):
            return "So it is for infinitely small steps. A step of finite size leaves the sphere."
        if np.isclose(got, norm - lr * slope) or np.isclose(got, norm + lr * slope):
            return "That holds if the gradient lies along W. At which angle does it stand here?"
        if np.isclose(got, norm**2 + (lr * slope) ** 2):
            return "Right, but for the square of the norm."
        return "The step is at a right angle to W: two sides of a triangle are known."
    return None


def _steps_of_adam(answer: tuple[float, float, float]) -> str | None:
    names = ("First number (singular values all equal)", "Second number (rank-1)", "Third number (sigmaReparam)")
    rates = (np.sqrt(WIDTH), WIDTH, 1.0)
    for got, per_step, name in zip(answer, rates, names, strict=True):
        exact = (END - START) / (RATE * per_step)
        if exact - 0.5 <= got <= exact + 1.0:
            continue
        if np.isclose(got, END / (RATE * per_step), rtol=0.01):
            return f"{name}: the norm does not start at 0."
        if per_step == 1.0:
            return (
                f"{name}: only gamma sets the norm of the weight that is used. How far does Adam move one number per step?"
            )
        return f"{name}: the norm grows by the learning rate times that of the sign matrix, if both share their directions."
    return None


EXERCISES: dict[str, Exercise] = {
    "4.1": Exercise("Two keys: the theorem directly", 1, 10, _two_keys),
    "4.2": Exercise("Large weights, flat attention", 2, 10, _sharp_weights),
    "4.3": Exercise("Why only one row can be extremal", 2, 15, _two_extremal_rows),
    "4.4": Exercise("What SGD does to a normalised weight", 2, 10, _norm_after_a_step),
    "4.5": Exercise("Steps from norm 1 to norm 10", 1, 10, _steps_of_adam),
}
