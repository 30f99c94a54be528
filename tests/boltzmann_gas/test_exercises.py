"""Wrong answers get a hint that fits and gives nothing away; the notebook says how hard each exercise is."""

from __future__ import annotations

import math
import re

import pytest

from entropy_utils.boltzmann_gas.exercises import EXERCISES
from tests.collection import stored

LN2, NU = math.log(2), math.sqrt(math.pi / 2)
CELLS = [cell.source for cell in stored("01_boltzmann_gas.ipynb").cells]
RIGHT = {
    "1.1": (8.0, 0.674416),
    "1.2": 0.25066,
    "1.3": (0, 49_995_000),
    "1.4": lambda M, dv, kn: (M * dv / 2, M * dv * kn / NU),
}
WRONG = {
    "1.1": [
        ((2, LN2), "W"),
        ((4, LN2), "straight line ends"),
        ((8 * LN2, LN2), "bends"),
        ((1, 0.5), "flat"),
        ((8, LN2), "does not stay"),
        ((8, 0.75), "even number"),
    ],
    "1.2": [(NU / 10, "ramp"), (NU / 20, "other side"), (2 * NU * 10, "rare gas"), (1.0, "initial rate")],
    "1.3": [
        ((LN2, 5e7), "N is fixed"),
        ((0.1, 5e7), "values"),
        ((0, 1e8), "same pair"),
        ((0, 1e4), "pairs"),
        ((0, 123), "chance"),
    ],
    "1.4": [
        (lambda M, dv, kn: (dv / 2, M * dv * kn / NU), "more edges"),
        (lambda M, dv, kn: (dv / 2 / M, M * dv * kn / NU), "finer"),
        (lambda M, dv, kn: (7.0, M * dv * kn / NU), "stripe's width"),
        (lambda M, dv, kn: (M * dv / 2, dv * kn / NU), "ratio"),
        (lambda M, dv, kn: (M * dv / 2, M**2 * dv * kn / NU), "leaves alone"),
    ],
}


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    numbers = {"1.1": ["8", "0.674"], "1.2": ["0.25"], "1.3": ["5e7", "49995000", "49,995,000"], "1.4": ["M dv", "M * dv"]}
    assert not [number for number in numbers[id] if re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", hint)]


@pytest.mark.parametrize("id", EXERCISES)
def test_the_notebook_says_title_difficulty_and_minutes(id):
    exercise = EXERCISES[id]
    line = f"**{id} {exercise.title}** ({'●' * exercise.difficulty}, {exercise.minutes} minutes)"
    assert line in "\n".join(CELLS)


def test_the_code_for_your_own_work_runs(capsys):
    (code,) = re.findall(r"\*\*In your own work\.\*\*.*?```python\n(.*?)```", "\n".join(CELLS), re.DOTALL)
    exec(compile(code, "own work", "exec"), {})
    discs, gas = (float(line.split()[1]) for line in capsys.readouterr().out.splitlines())
    assert 0 < discs < 1
    assert discs == pytest.approx(gas, abs=0.03)
