"""The exercises of notebook 02: each check compares an answer with the theory, and hints without telling it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from entropy_utils.lab.lesson import Exercise

from .spatial import consolidate
from .structural_entropy import normalised_entropy

PARCELS = 240  # of exercise 2.2


def near(value, right: float, tolerance: float = 1e-6) -> bool:
    """Whether a number is the right one, within a share of it."""
    return math.isclose(float(value), right, rel_tol=tolerance, abs_tol=1e-12)


def ln_choose(n: int, k: int) -> float:
    """ln of the binomial coefficient."""
    return math.log(math.comb(n, k))


def one_becomes_two(answer: Callable[[int, int], float]) -> str | None:
    """How much S rises if a stop of a + b parcels is split into stops of a and of b, as a function of a and b."""
    for a, b in ((1, 1), (2, 1), (3, 4), (12, 5)):
        got, right = answer(a, b), ln_choose(a + b, a)
        if near(got, right):
            continue
        if near(got, right / math.log(2)):
            return "That is in bits; entropies are in nats here."
        if near(got, -right):
            return "The size is right. But do finer cells make more ways, or fewer?"
        if near(got, math.log(a + b)):
            return f"a = {a}, b = {b}: you choose one parcel for one of the two stops. How many must go there?"
        if near(got, math.lgamma(a + b + 1)):
            return f"a = {a}, b = {b}: the orders inside each of the new stops still do not count."
        return (
            f"a = {a}, b = {b}: write S before and after. All other stops and N! cancel; what is left of three factorials?"
        )
    return None


def nearly_maximal(answer) -> str | None:
    """eta of PARCELS parcels with two at every stop, and with ten."""
    for place, (got, per_stop) in enumerate(zip(answer, (2, 10), strict=True)):
        which = ("First", "Second")[place]
        stops = PARCELS // per_stop
        if near(got, normalised_entropy(np.full(stops, per_stop)), 1e-3):
            continue
        if near(got, 1.0, 1e-4):
            return f"{which} number: that is J, the balance of equal loads. The question is for S over its ceiling."
        if near(got, math.log(stops) / math.log(PARCELS), 1e-3):
            return f"{which} number: that is Shannon's H over ln N. Loads this small want exact factorials."
        if near(got, PARCELS * math.log(stops) / math.lgamma(PARCELS + 1), 1e-3):
            return f"{which} number: N H is not S at so few parcels per stop. Use (1)."
        if near(got, 1 - math.lgamma(per_stop + 1) / math.lgamma(PARCELS + 1), 1e-3):
            return f"{which} number: every stop takes its n! off, not one of them alone."
        return f"{which} number: how many stops are there, and what does each take off ln N!?"
    return None


def one_locker(answer: Callable[[int, int], tuple[float, float]]) -> str | None:
    """Change of the total if a of N single-parcel customers use one locker: all drive there, all pass it anyway."""
    for N, a in ((10, 3), (240, 100)):
        driving, passing = answer(N, a)
        mixed, shared = ln_choose(N + a, a), math.lgamma(a + 1)
        if not near(driving, mixed):
            if near(driving, mixed + shared):
                return (
                    "First number: the trips are new movements, but the locker's parcels share a cell now. That is missing."
                )
            if near(driving, ln_choose(N, a)):
                return "First number: how many movements are there in all, once the customers move, too?"
            if near(driving, -shared):
                return "First number: that is what the carrier saves. Now add the customers' trips."
            return "First number: put T = a and one cell for each trip into (7). Which factorials are left?"
        if not near(passing, -shared):
            if near(passing, shared):
                return "Second number: the size is right. Who moves less, and does anyone move more?"
            if near(passing, 0.0):
                return "Second number: the carrier's entropy moved to customers who make no trip. Is it in the total?"
            return "Second number: put T = 0 into (7)."
    return None


def falls_without_chaining(answer) -> str | None:
    """Loads n and a mask of adopters with one pick-up point, a dedicated trip each, and a total that falls."""
    n, adopts = np.asarray(answer[0]), np.asarray(answer[1], bool)
    if n.ndim != 1 or adopts.shape != n.shape:
        return "Two arrays of one length are due: parcels of every stop, and whether it adopts."
    if not np.issubdtype(n.dtype, np.integer) or (n < 1).any():
        return "Every stop has a whole number of parcels, at least 1."
    if not adopts.any():
        return "Somebody must use the point."
    found = consolidate(n, np.zeros(len(n), int), adopts, adopts.astype(int))
    if found.total < found.before - 1e-9:
        return None
    if (n[adopts] == 1).all():
        return "With one parcel each the total rises, whoever adopts (2.3). What could a customer save by one trip?"
    return f"The total rises by {found.total - found.before:.3g} nats. A trip replaces all parcels of a customer: how many?"


def made_of_nothing(answer: Callable[[float, float], tuple[float, float]]) -> str | None:
    """Exponent and R² of S / D against D for independent log-normal S and D, from their standard deviations in logs."""
    for s, d in ((0.15, 0.28), (0.5, 0.2)):
        exponent, r_squared = answer(s, d)
        if not near(exponent, -1.0):
            if near(exponent, 0.0):
                return "First number: S against D has that slope. But S / D?"
            return "First number: ln(S / D) is a difference. How does it move with ln D if ln S does not know D?"
        right = d**2 / (s**2 + d**2)
        if not near(r_squared, right):
            if near(r_squared, 0.0):
                return "Second number: that would be R² of S against D."
            if near(r_squared, math.sqrt(right)):
                return "Second number: that is the correlation. R² is a share of variance."
            if near(r_squared, 1 - right):
                return "Second number: that is the share that the line does not explain."
            return "Second number: the variance of ln S − ln D has two parts. Which share of it is D's?"
    return None


EXERCISES: dict[str, Exercise] = {
    "2.1": Exercise("One stop becomes two", 1, 5, one_becomes_two),
    "2.2": Exercise("Nearly maximal", 1, 10, nearly_maximal),
    "2.3": Exercise("One locker", 2, 15, one_locker),
    "2.4": Exercise("A total that falls", 2, 10, falls_without_chaining),
    "2.5": Exercise("A relation made of nothing", 3, 15, made_of_nothing),
}
