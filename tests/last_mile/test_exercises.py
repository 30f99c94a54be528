"""Right answers pass; wrong ones get a hint that fits and gives nothing away; the notebook says how hard each is."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy.special import gammaln

from entropy_utils.last_mile.exercises import EXERCISES
from tests.collection import stored

LN2 = math.log(2)
TEXT = "\n".join(cell.source for cell in stored("02_last_mile.ipynb").cells)


def choose(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def sd(s, d):
    return d**2 / (s**2 + d**2)


LARGE = ([5, 5, 5, 1, 1], [True, True, True, False, False])
RIGHT = {
    "2.1": lambda a, b: choose(a + b, a),
    "2.2": (1 - 120 * LN2 / gammaln(241), 1 - 24 * gammaln(11) / gammaln(241)),
    "2.3": lambda N, a: (choose(N + a, a), -gammaln(a + 1)),
    "2.4": LARGE,
    "2.5": lambda s, d: (-1, sd(s, d)),
}
J = np.log(120) / np.log(240)
WRONG = {
    "2.1": [
        (lambda a, b: choose(a + b, a) / LN2, "bits"),
        (lambda a, b: -choose(a + b, a), "finer"),
        (lambda a, b: math.log(a + b), "How many"),
        (lambda a, b: gammaln(a + b + 1), "inside"),
        (lambda a, b: 7.0, "three factorials"),
    ],
    "2.2": [
        ((1.0, 0.664), "J"),
        ((J, 0.664), "First number: that is Shannon"),
        ((240 * np.log(120) / gammaln(241), 0.664), "N H"),
        ((1 - LN2 / gammaln(241), 0.664), "every stop"),
        ((0.9229, 1.0), "Second number: that is J"),
        ((0.9229, 0.5), "Second number: how many"),
    ],
    "2.3": [
        (lambda N, a: (choose(N + a, a) + gammaln(a + 1), 0), "share a cell"),
        (lambda N, a: (choose(N, a), 0), "how many movements"),
        (lambda N, a: (-gammaln(a + 1), 0), "carrier saves"),
        (lambda N, a: (3.0, 0), "T = a"),
        (lambda N, a: (choose(N + a, a), gammaln(a + 1)), "moves less"),
        (lambda N, a: (choose(N + a, a), 0.0), "no trip"),
        (lambda N, a: (choose(N + a, a), 3.0), "T = 0"),
    ],
    "2.4": [
        (([1, 1, 1], [True, True, False]), "one parcel each"),
        (([2, 2, 1, 1, 1, 1], [True, False, True, True, True, True]), "total rises by"),
        (([5, 5], [False, False]), "Somebody"),
        (([0, 5], [True, True]), "at least 1"),
        (([5, 5], [True]), "one length"),
    ],
    "2.5": [
        (lambda s, d: (0, 0), "has that slope"),
        (lambda s, d: (1, 0), "difference"),
        (lambda s, d: (-1, 0.0), "R² of S against D"),
        (lambda s, d: (-1, math.sqrt(sd(s, d))), "correlation"),
        (lambda s, d: (-1, 1 - sd(s, d)), "does not explain"),
        (lambda s, d: (-1, 0.123), "two parts"),
    ],
}


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    assert not any(secret in hint for secret in ("0.92", "0.66", "C(N", "ln a!", "d²", "5, 5"))


def test_the_answer_of_2_5_is_what_a_simulation_gives():
    rng = np.random.default_rng(0)
    s, d = 0.15 * rng.normal(size=200_000), 0.28 * rng.normal(size=200_000)
    slope, r = np.polyfit(d, s - d, 1)[0], np.corrcoef(d, s - d)[0, 1]
    assert (slope, r**2) == pytest.approx(RIGHT["2.5"](0.15, 0.28), abs=0.01)


@pytest.mark.parametrize("id", EXERCISES)
def test_the_notebook_says_title_difficulty_and_minutes(id):
    exercise = EXERCISES[id]
    assert f"**{id} {exercise.title}** ({'●' * exercise.difficulty}, {exercise.minutes} minutes)" in TEXT


def test_the_code_for_your_own_routes_runs(capsys):
    (code,) = re.findall(r"\*\*Your own routes\.\*\*.*?```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "own routes", "exec"), {})
    assert "Outcome(carrier=" in capsys.readouterr().out
