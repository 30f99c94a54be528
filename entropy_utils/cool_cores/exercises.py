"""The exercises of notebook 03: each check compares an answer with the theory, and hints without telling it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from entropy_utils.lab.lesson import Exercise

from .classes import TIME_LIMITS
from .core_entropy import accept_cooling_time, accept_entropy, entropy_change
from .phases import survival

KT = 5.0  # of 3.1, keV
CORE, CORE_KT = 20.0, 4.0  # of 3.2, keV cm² and keV
BEFORE, AFTER = 20.0, 150.0  # of 3.3, keV cm²
BASE, OBSERVED, MANY, FEW = 0.40, 0.55, 478, 50  # of 3.4: shares with a merger, events


def near(value, right: float, share: float = 0.01) -> bool:
    """Whether a number is the right one within a share of it."""
    return abs(float(value) - right) <= share * abs(right)


def two_limits(answer) -> str | None:
    """The entropies whose cooling time is 1 Gyr and 7.7 Gyr at KT, by ACCEPT's rule."""
    for which, K, t in zip(("First", "Second"), answer, TIME_LIMITS, strict=True):
        if near(K, float(accept_entropy(t, KT))):
            continue
        if near(K, 10 * (10 * t) ** 1.5):
            return f"{which} number: K enters with the power 3/2. Which power does the inverse have?"
        if near(K, 10 * t ** (2 / 3)):
            return f"{which} number: the rule gives 0.1 Gyr, not 1 Gyr, at 10 keV cm²."
        return f"{which} number: solve the rule for K0. At 5 keV its last factor is 1."
    return None


def collapse(answer) -> str | None:
    """The cooling time of a core by ACCEPT's rule, and the time to its collapse without heating (Gyr)."""
    t_cool, end = answer
    right = float(accept_cooling_time(CORE, CORE_KT))
    if not near(t_cool, right):
        if near(t_cool, right * (CORE_KT / KT) ** 2):
            return "First number: at the same entropy, cooler gas is thinner. Does it cool faster or more slowly?"
        if near(t_cool, right * CORE_KT / KT):
            return "First number: that is at 5 keV; this core has another temperature."
        return "First number: put K0 and kT into ACCEPT's rule; it counts in 0.1 Gyr."
    if near(end, 2 / 3 * right):
        return None
    if near(end, right):
        return "Second number: t_cool is not constant, it shrinks as K falls. The core does not last that long."
    if near(end, 1.5 * right):
        return "Second number: cooling speeds up, so the end comes before t_cool, not after it."
    return "Second number: where does the bracket of K(t) vanish?"


def per_particle(answer) -> str | None:
    """The change of entropy per particle (k_B) from BEFORE to AFTER."""
    right = float(entropy_change(BEFORE, AFTER))
    if near(answer, right, 5e-3):
        return None
    if near(answer, -right, 5e-3):
        return "Heating raises the entropy: look at the sign."
    if near(answer, right / 1.5, 5e-3):
        return "That is the change of ln K. What stands before ln K in s?"
    if near(answer, right / 2.25, 5e-3):
        return "The factor is upside down: s goes as ln of T to the power 3/2 over n."
    if near(answer, right / math.log(10), 5e-3):
        return "That is with the decimal logarithm; k_B goes with the natural one."
    if near(answer, AFTER - BEFORE):
        return "K is a measure of s but not s itself: it is s that is a logarithm of K."
    return "s = (3/2) ln K + const, in units of k_B: take the difference of the two states."


def enough_events(answer) -> str | None:
    """The excess OBSERVED - BASE in standard deviations of the share of MANY and of FEW events, if BASE is the truth."""
    for which, z, events in zip(("First", "Second"), answer, (MANY, FEW), strict=True):
        right = (OBSERVED - BASE) / math.sqrt(BASE * (1 - BASE) / events)
        if near(z, right, 8e-3):
            continue
        if near(z, (OBSERVED - BASE) / math.sqrt(OBSERVED * (1 - OBSERVED) / events), 8e-3):
            return f"{which} number: the spread is that of the control, whose share is the base rate."
        if near(z, (OBSERVED - BASE) / math.sqrt(BASE * (1 - BASE)), 8e-3):
            return f"{which} number: that is the spread of one event. A share is a mean over {events} of them."
        if near(z, (OBSERVED - BASE) * events / (BASE * (1 - BASE)), 8e-3):
            return f"{which} number: that divides by the variance; take its root."
        return f"{which} number: an event has a merger with the chance of the base rate. What does the mean of many vary by?"
    return None


def cut_short(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    """The median duration of phases by Kaplan and Meier, as a function of durations and censored."""
    rng = np.random.default_rng(3)
    for n in (9, 40):
        lasts, seen = rng.exponential(2.0, n).round(2) + 0.1, rng.exponential(3.0, n).round(2) + 0.1
        durations, censored = np.minimum(lasts, seen), lasts > seen
        got, right = float(answer(durations, censored)), survival(durations, censored).median
        if near(got, right, 1e-6):
            continue
        if near(got, float(np.median(durations)), 1e-6):
            return f"{n} phases: those cut short went on; taken as complete they make the median too small."
        if near(got, float(np.median(durations[~censored])), 1e-6):
            return f"{n} phases: long ones are cut short more often; leaving those out keeps the short ones."
        return f"{n} phases: multiply the shares that outlast each end; whom do you count as still there at that time?"
    return None


EXERCISES: dict[str, Exercise] = {
    "3.1": Exercise("Two clocks", 1, 5, two_limits),
    "3.2": Exercise("How long without heating?", 1, 5, collapse),
    "3.3": Exercise("Entropy of a transformation", 1, 5, per_particle),
    "3.4": Exercise("No excess, or no power?", 2, 10, enough_events),
    "3.5": Exercise("Lives cut short", 3, 20, cut_short),
}
