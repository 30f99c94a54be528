"""Exercises of notebook 09: each check compares an answer with what is computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import softmax

from entropy_utils.information import shannon_entropy
from entropy_utils.lab.lesson import Exercise

STRONG, RUNNER_UP = 0.999, 5e-4  # of 9.3


def first_losses(answer: tuple[float, float]) -> str | None:
    """SHRED's loss at one forget position, full vocabulary, before the first step: at p_x = 0.5 and at 0.99."""
    for number, p, got in zip(("First", "Second"), (0.5, 0.99), answer, strict=True):
        right = -np.log1p(-p)
        if np.isclose(got, right, rtol=5e-3):
            continue
        if np.isclose(got, right / np.log(2), rtol=5e-3):
            return f"{number} number: that is in bits. The losses of this notebook are in nats."
        if np.isclose(got, -np.log(p), rtol=5e-3):
            return f"{number} number: that is the surprisal of the memorised token. Which token has no mass in the target?"
        return f"{number} number: put q = p / Z outside x into the sum over q log(q / p). Only Z is left of it."
    return None


def entropy_of_target(answer: Callable[[float, float], float]) -> str | None:
    """H(q) as a function of H(p) and p_x, all in nats."""
    rng = np.random.default_rng(9)
    for p in rng.dirichlet(np.full(6, 0.5), 20):
        x, entropy = p[0], float(shannon_entropy(p))
        rest = np.array([x, 1 - x])
        right, coin = float(shannon_entropy(p[1:] / (1 - x))), float(shannon_entropy(rest))
        got = answer(entropy, x)
        if np.isclose(got, right, rtol=1e-6, atol=1e-9):
            continue
        if np.isclose(got, entropy - coin, rtol=1e-6):
            return "The entropy of the alternatives counts in H(p) only as often as the token is not x."
        if np.isclose(got, entropy / (1 - x), rtol=1e-6):
            return "Asking for the token first asks 'is it x?'. That question has an entropy too."
        if np.isclose(got, (entropy - coin / np.log(2)) / (1 - x), rtol=1e-6):
            return "One of your entropies is in bits."
        return "Draw in two stages: x or not, then which other token. How do the entropies of the stages add up?"
    return None


def smallest_beta(answer: float) -> str | None:
    """From which beta on UNDIAL's target has another argmax than the memorised token."""
    right = np.log(STRONG / RUNNER_UP)
    if abs(answer - right) < 0.02:
        return None
    if abs(answer - np.log(STRONG / (1 - STRONG))) < 0.02:
        return "That compares with all other tokens together. The argmax has one rival."
    if abs(answer - np.log10(STRONG / RUNNER_UP)) < 0.02:
        return "Logits are natural logarithms."
    if answer > right:
        return "There the argmax has changed. Is there a smaller beta for which it has, too?"
    return "There the memorised token is still in front. Compare two logits after beta is taken off one of them."


def two_gradients(answer: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]) -> str | None:
    """Gradients of SHRED and of CEU at one position with respect to the student's logits, full vocabulary."""
    rng = np.random.default_rng(10)
    for case in range(12):
        student, x = rng.normal(size=7), int(rng.integers(7))
        reference = student if case < 2 else rng.normal(size=7)
        shred, ceu = (np.asarray(gradient, float) for gradient in answer(student, reference, x))
        p = softmax(student)
        right_shred, right_ceu = p - _without(softmax(reference), x), p - _without(p, x)
        when = "Before the first step" if case < 2 else "Later"
        if not np.allclose(shred, right_shred, atol=1e-7):
            if np.allclose(shred, -right_shred, atol=1e-7):
                return "SHRED: the sign. A positive gradient makes the logit fall."
            if case >= 2 and np.allclose(shred, right_ceu, atol=1e-7):
                return f"SHRED: {when.lower()} your target follows the student. SHRED's was computed once."
            return f"SHRED: {when.lower()} the gradient of a cross-entropy is the student's probabilities minus ...?"
        if not np.allclose(ceu, right_ceu, atol=1e-7):
            if case >= 2 and np.allclose(ceu, right_shred, atol=1e-7):
                return f"CEU: {when.lower()} the two differ. Whose logits does CEU take the label out of?"
            return "CEU: the same form with another target, which gets no gradient of its own."
    return None


def per_answer(answer: Callable[[Sequence[np.ndarray], float], Sequence[np.ndarray]]) -> str | None:
    """Boolean masks of the selected tokens of every answer, from the surprisals of each and the share P."""
    rng = np.random.default_rng(11)
    hard, easy = rng.uniform(2, 5, 8), rng.uniform(0.001, 0.01, 10)
    for share, texts in ((0.25, (hard, easy)), (0.25, (hard[:2], easy[:6])), (0.1, (hard[:3], easy)), (1.0, (hard, easy))):
        got = [np.asarray(mask, bool) for mask in answer(texts, share)]
        for text, mask in zip(texts, got, strict=True):
            count = max(1, int(np.floor(share * len(text) + 0.5)))
            right = np.zeros(len(text), bool)
            right[np.argsort(text)[::-1][:count]] = True
            if np.array_equal(mask, right):
                continue
            about = f"an answer of {len(text)} tokens at P = {share:.0%}"
            if not mask.any():
                return f"Nothing is selected in {about}: what is there to forget in a text that is easy everywhere?"
            if mask.sum() == count:
                return f"The number is right in {about}, but these are not its most surprising tokens."
            if mask.sum() == max(1, round(share * len(text))):
                return f"Half a token rounds up; Python's round goes to the even number ({about})."
            return f"You select {mask.sum()} tokens in {about}. Count within each answer, not over all of them."
    return None


def _without(p: np.ndarray, x: int) -> np.ndarray:
    q = p.copy()
    q[x] = 0
    return q / q.sum()


EXERCISES: dict[str, Exercise] = {
    "9.1": Exercise("The first loss", 1, 5, first_losses),
    "9.2": Exercise("How large must beta be?", 1, 5, smallest_beta),
    "9.3": Exercise("The entropy of the target", 2, 10, entropy_of_target),
    "9.4": Exercise("Two methods, one first step", 2, 10, two_gradients),
    "9.5": Exercise("Selection within every answer", 2, 10, per_answer),
}
