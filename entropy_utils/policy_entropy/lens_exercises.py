"""Exercises of notebook 10: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from entropy_utils.lab.lesson import Exercise

from .one_lens import pareto

Points = list[tuple[float, float]]


def _half_push(answer: float) -> str | None:
    p = np.array([0.6, 0.3, 0.1])
    s = p * (np.log(p) - p @ np.log(p))
    full = s[2] - p @ s  # of A = -1: dH = -g (S_k - E[S])
    if np.isclose(answer, -full / 2, rtol=1e-3):
        return None
    if np.isclose(answer, full / 2, rtol=1e-3):
        return "The size is right. Does taking push away from a token that lowers the entropy lower it further?"
    if np.isclose(abs(answer), abs(s[2] / 2), rtol=1e-3):
        return "A step moves all logits of the state: which mean must be taken off S?"
    return "dH = -g (S_k - E[S]): once with g = -1, once with g = -1/2."


def _front(answer: Callable[[Points], Points]) -> str | None:
    rng = np.random.default_rng(10)
    for count in (1, 2, 6, 12, 12, 12):
        points = [(int(a), int(b)) for a, b in rng.integers(0, 6, (count, 2))]
        table = pd.DataFrame(points, columns=["reward", "diversity"])
        wanted = [points[row] for row in pareto(table, "reward", "diversity")]
        got = [tuple(point) for point in answer(points)]
        if got == wanted:
            continue
        if sorted(set(got)) == wanted:
            return "The right pairs: now sort them by reward, each once."
        if set(got) - set(wanted):
            return "One of your pairs is beaten: another has at least as much of both, and more of one."
        return "A pair that nobody beats is missing. Being second in one of the two is no defeat."
    return None


def _seeds(answer: int) -> str | None:
    if isinstance(answer, bool) or answer != int(answer):
        return "A number of seeds is a whole number."
    n = 2
    while stats.t.ppf(0.975, n - 1) * 0.05 / np.sqrt(n) > 0.03:
        n += 1
    if answer == n:
        return None
    if answer == int(np.ceil((1.96 * 0.05 / 0.03) ** 2)):
        return "That is the normal quantile. With so few seeds, Student's is larger."
    return "Too few: the interval is still wider than that." if answer < n else "Fewer will do."


EXERCISES: dict[str, Exercise] = {
    "10.1": Exercise("Which way does it push?", 1, 5, _half_push),
    "10.2": Exercise("The front", 2, 10, _front),
    "10.3": Exercise("How many seeds?", 2, 15, _seeds),
}
