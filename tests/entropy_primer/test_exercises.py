"""Wrong answers get a hint that fits and gives nothing away; the notebook says how hard each exercise is."""

from __future__ import annotations

import math

import pytest

from entropy_utils.entropy_primer.exercises import EXERCISES
from tests.collection import stored

LN_W = math.log(34_650)  # 11! / (4! 4! 2!)
URN = -math.log(10_000) / 2 / math.log1p(-2 / 10_000) / 10_000
RIGHT = {"0.1": LN_W, "0.2": 0.7541, "0.3": (1.5 * math.log(5), 4), "0.4": URN}
WRONG = {
    "0.1": [(34_650, "logarithm"), (LN_W / math.log(2), "bits"), (math.lgamma(12), "swapping"), (0, "Count")],
    "0.2": [(0.5, "hotter"), (1, "colder"), (0, "above 0"), (-3, "above 0")],
    "0.3": [((math.log(5), 4), "First"), ((5, 4), "First"), ((1.5 * math.log(5), 32), "pressure"), ((2.414, 2), "Second")],
    "0.4": [(URN * 10_000, "moves"), (2 * URN, "deviation"), (1, "Surplus")],
}  # fmt: skip


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    values = RIGHT[id] if isinstance(RIGHT[id], tuple) else [RIGHT[id]]
    assert not [value for value in values if f"{value:.3g}" in hint]


def test_stirling_is_not_good_enough_for_eleven_letters():
    n_h = -sum(n * math.log(n / 11) for n in (1, 4, 4, 2))
    assert "Stirling" in EXERCISES["0.1"].check(n_h)


@pytest.mark.parametrize("id", EXERCISES)
def test_the_notebook_says_title_difficulty_and_minutes(id):
    exercise = EXERCISES[id]
    line = f"**{id} {exercise.title}** ({'●' * exercise.difficulty}, {exercise.minutes} minutes)"
    assert line in "\n".join(cell.source for cell in stored("00_entropy_primer.ipynb").cells)
