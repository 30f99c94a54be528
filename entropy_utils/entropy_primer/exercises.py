"""The exercises of the primer: what is asked, how hard it is, and what a wrong answer is told."""

from __future__ import annotations

import math

import numpy as np

from entropy_utils import information
from entropy_utils.entropy_primer.mixing import Mixing
from entropy_utils.lab.lesson import Exercise


def near(value, right: float, share: float = 0.005) -> bool:
    """Whether a number is the right one within a share of it."""
    return abs(float(value) - right) <= share * abs(right)


def letters(answer) -> str | None:
    """ln W of the letters of MISSISSIPPI."""
    counts = [1, 4, 4, 2]
    right = float(information.log_multiplicity(counts))
    if near(answer, right, 1e-3):
        return None
    if near(answer, math.exp(right), 1e-3):
        return "That is W itself; the entropy is its natural logarithm."
    if near(answer, right / math.log(2), 1e-3):
        return "Right in bits; the answer is wanted in nats."
    if near(answer, math.lgamma(12), 1e-3):
        return "That counts every letter as different: swapping two S makes no new word."
    if near(answer, 11 * information.plug_in_entropy(counts), 1e-3):
        return "That is N H, Stirling's approximation; a word this short wants the factorials."
    return "Count the orders of all eleven letters, then divide out what swapping equal letters cannot change."


def two_choices(answer) -> str | None:
    """The temperature at which softmax of the logits 2, 1, 0 has e^H = 2 effective choices."""
    temperature = float(answer)
    if not temperature > 0:
        return "A temperature is above 0."
    choices = math.exp(information.shannon_entropy_from_logits(np.array([2.0, 1.0, 0.0]), temperature=temperature))
    if abs(choices - 2) < 0.005:
        return None
    return f"There e^H = {choices:.3f}: {'colder' if choices > 2 else 'hotter'}."


def core(answer) -> str | None:
    """Entropy gained per particle from K = 30 to 150 keV cm^2, and the factor of T in a compression by 8 at one K."""
    gain, factor = answer
    if near(gain, math.log(5)):
        return "First number: K is not the entropy; a factor stands before its logarithm."
    if not near(gain, 1.5 * math.log(5)):
        return "First number: how does the entropy per particle depend on ln K?"
    if near(factor, 8 ** (5 / 3)):
        return "Second number: that is the factor of the pressure."
    return None if near(factor, 4) else "Second number: K stays, n grows; solve K = kT n^(-2/3) for T."


def lost_in_noise(answer) -> str | None:
    """Sweeps after which the mean surplus of one of two cells equals its equilibrium fluctuation; 10 000 balls."""
    urn = Mixing(balls=10_000, cells=2)
    right = urn.relaxation_sweeps() * math.log(urn.balls) / 2
    if near(answer, right, 0.01):
        return None
    if near(answer, right * urn.balls, 0.01):
        return "That is in moves; a sweep is N moves."
    if near(answer, 2 * right, 0.01):
        return "Compare the surplus with the standard deviation, not with the variance."
    return "Surplus: (N/2) times the decay of 3.2. Fluctuation: the standard deviation of N fair coins. Set them equal."


EXERCISES = {
    "0.1": Exercise("Letters", 1, 5, letters),
    "0.2": Exercise("Two choices", 2, 10, two_choices),
    "0.3": Exercise("A cluster's core", 2, 10, core),
    "0.4": Exercise("Lost in the noise", 3, 15, lost_in_noise),
}
