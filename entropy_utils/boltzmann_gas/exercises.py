"""The exercises of notebook 01: each check compares an answer with the theory, and hints without telling it."""

from __future__ import annotations

import math
from collections.abc import Callable

from entropy_utils.lab.lesson import Exercise

from . import theory

CELL = 0.25  # of exercise 1.1, v_th
RARE = 10.0  # Knudsen number of 1.2
DISCS = 10_000  # of 1.3


def near(value, right: float, share: float = 0.01) -> bool:
    """Whether a number is the right one within a share of it."""
    return abs(float(value) - right) <= share * abs(right)


def all_of_ln_2(answer) -> str | None:
    """When a free gas first has all of ln 2, and its gain half as much later again, seen with cells of width CELL."""
    time, gain = answer
    if not near(time, 2 / CELL):
        if near(time, 2):
            return "First number: that is W, the width of the blur. Which time belongs to it in these cells?"
        if near(time, 1 / CELL):
            return "First number: there the gain is 1/2, and the straight line ends. The blur must cover the whole ring."
        if near(time, 2 * math.log(2) / CELL):
            return "First number: that continues the straight line, which bends before it gets there."
        return "First number: which blur makes the profile on the ring flat? Its width is the cell times the time."
    if near(gain, math.log(2), 1e-3):
        return "Second number: the curve does not stay at ln 2. Blur the ring over that width and look at what is left."
    if near(gain, theory.blurred_gain(3.0), 2e-3):
        return None
    return "Second number: put W of that time into the gain of 1.4. How far is it from an even number?"


def as_many(answer) -> str | None:
    """The cells in which free motion starts with as many nats per time as there are collisions, at Kn = RARE."""
    right = 2 * float(theory.collision_frequency(RARE))
    if near(answer, right):
        return None
    if near(answer, right / 2):
        return "There R is 1. But the rate of free motion is not the whole cell over L: look at the entropy of a ramp."
    if near(answer, right / 4):
        return "The factor of the rate stands on the other side: solve it for the cell."
    if near(answer, 2 * math.sqrt(math.pi / 2) * RARE):
        return "A rare gas collides rarely: the collision frequency falls with Kn."
    return "Set the initial rate of the step in free motion equal to the collision frequency at this Kn; L = 1."


def fine_cells(answer) -> str | None:
    """The gain per disc if every disc is alone in its cell, before and after; and how many cells that takes."""
    gain, cells = answer
    if not math.isclose(float(gain), 0.0, abs_tol=1e-12):
        if near(gain, math.log(2), 1e-3):
            return "First number: that is the gain if N goes to infinity first. Here N is fixed; what is ln N_a! of a cell?"
        return "First number: S_B changes through the sum of ln N_a! only. Which values does N_a take?"
    pairs = DISCS * (DISCS - 1) / 2
    if near(cells, pairs, 0.02):
        return None
    if near(cells, 2 * pairs, 0.02):
        return "Second number: disc 1 with disc 2 is the same pair as disc 2 with disc 1."
    if near(cells, DISCS, 0.02):
        return "Second number: with one cell per disc many cells hold two. Count the pairs of discs instead."
    return "Second number: every pair shares a cell with a chance of one over the number of cells. Set the mean to one pair."


def stripes(answer: Callable[[int, float, float], tuple[float, float]]) -> str | None:
    """The first rate of free motion and the ratio R for M stripes, as a function of M, the cell and Kn."""
    for m, dv, kn in ((1, 0.5, 1.0), (4, 0.5, 1.0), (3, 0.125, 20.0)):
        rate, ratio = answer(m, dv, kn)
        right_rate, right_ratio = m * dv / 2, m * dv / float(theory.collision_frequency(kn))
        if not near(rate, right_rate, 1e-6):
            if near(rate, dv / 2, 1e-6):
                return f"M = {m}: the rate of one stripe. But there are more edges now."
            if near(rate, dv / (2 * m), 1e-6):
                return f"M = {m}: finer stripes fill sooner, not later."
            return f"M = {m}: the first number is not the rate of the step with the stripe's width for L."
        if not near(ratio, right_ratio, 1e-6):
            if near(ratio, dv / float(theory.collision_frequency(kn)), 1e-6):
                return f"M = {m}: collisions stay as they are, but the blur per time does not; R is the ratio of the two."
            return f"M = {m}: R is the cell over the stripe's width and over the collision frequency, which M leaves alone."
    return None


EXERCISES: dict[str, Exercise] = {
    "1.1": Exercise("All of ln 2", 1, 10, all_of_ln_2),
    "1.2": Exercise("Who produces?", 1, 5, as_many),
    "1.3": Exercise("Ever finer cells", 2, 10, fine_cells),
    "1.4": Exercise("Stripes on the ring", 3, 15, stripes),
}
