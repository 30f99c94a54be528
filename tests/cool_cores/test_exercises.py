"""Right answers are right; wrong ones get a hint that fits and does not give the answer away."""

from __future__ import annotations

import re

import numpy as np
import pytest

from entropy_utils.cool_cores.exercises import EXERCISES


def product_limit(durations, censored) -> float:
    """Kaplan-Meier by hand: the first end at which the product of the shares that go on is at most one half."""
    share = 1.0
    for t in np.unique(durations[~censored]):
        share *= 1 - np.sum((durations == t) & ~censored) / np.sum(durations >= t)
        if share <= 0.5:
            return t
    return np.inf


def forgets_the_censored_at_risk(durations, censored) -> float:
    share = 1.0
    for t in np.unique(durations[~censored]):
        share *= 1 - 1 / np.sum((durations >= t) & ~censored)
        if share <= 0.45:
            return t + 0.01
    return np.inf


RIGHT = {"3.1": (46.4, 181), "3.2": (0.354, 0.236), "3.3": 3.02, "3.4": (6.7, 2.17), "3.5": product_limit}
WRONG = {
    "3.1": [
        ((316.2, 181), "First.*power"),
        ((10, 181), "First.*0.1 Gyr, not 1"),
        ((5, 181), "First.*solve"),
        ((46.4, 39), "Second.*0.1 Gyr"),
    ],
    "3.2": [
        ((0.2263, 0.2), "thinner"),
        ((0.2828, 0.2), "another temperature"),
        ((3, 0.2), "rule"),
        ((0.354, 0.354), "shrinks"),
        ((0.354, 0.53), "speeds up"),
        ((0.354, 0.1), "bracket"),
    ],
    "3.3": [
        (-3.02, "sign"),
        (2.015, "before ln K"),
        (1.343, "upside down"),
        (1.3126, "natural"),
        (130, "logarithm"),
        (9, "two states"),
    ],
    "3.4": [
        ((6.59, 2.17), "First.*control"),
        ((0.306, 2.17), "one event"),
        ((298.75, 2.17), "root"),
        ((6.7, 6.7), "Second.*vary"),
    ],
    "3.5": [
        (lambda d, c: np.median(d), "taken as complete"),
        (lambda d, c: np.median(d[~c]), "leaving those out"),
        (forgets_the_censored_at_risk, "still there"),
    ],
}
GIVEN_AWAY = {
    "3.1": ["46.4", "181"],
    "3.2": ["0.354", "0.236", "0.24"],
    "3.3": ["3.02"],
    "3.4": ["6.7", "2.17", "2.2"],
    "3.5": [],
}


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "words"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint(id, answer, words):
    hint = EXERCISES[id].check(answer)
    assert re.search(words, hint)
    assert not [number for number in GIVEN_AWAY[id] if re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", hint)]
