"""Exercises of notebook 08: each check compares an answer with the quantity computed here, and hints without telling it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import softmax

from entropy_utils.lab.lesson import Exercise

from .grpo import group_advantages
from .interventions import Entrocraft, Sampled
from .output_baseline import entropy_effect, output_weights


def _weights(answer: Callable[[np.ndarray, int], np.ndarray]) -> str | None:
    for p in softmax(np.random.default_rng(8).normal(0, 2, (20, 6)), axis=-1):
        for k in range(6):
            got, wanted = np.array(answer(p, k), float), output_weights(p)[k]
            if got.shape != (6,):
                return "Return one weight per outcome, with a 0 at the sampled one."
            if np.allclose(got, wanted, atol=1e-8):
                continue
            if np.isclose(got.sum(), -1):
                return "The signs are turned around: w_i is minus a ratio."
            if not np.isclose(got.sum(), 1):
                return "They do not sum to 1. Start from the step of the logits, e_k - p, and dp_i = p_i (dz_i - E[dz])."
            return "They sum to 1 but are not the ratios of the changes: check the case of a rare k."
    return None


def _zero_mean(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        p, advantage = softmax(rng.normal(0, 2, 6)), rng.normal(size=6)
        got, wanted = answer(p, advantage), p @ (advantage * entropy_effect(p))
        if np.isclose(got, wanted, atol=1e-9):
            continue
        if not np.isclose(answer(p, np.ones(6)), 0, atol=1e-9):
            return "A constant advantage must give 0. Average over k ~ p, with the bracket of the covariance form."
        return "Close: the advantage belongs to the sampled outcome k, inside the mean."
    return None


def _all_wrong(answer: dict[str, float]) -> str | None:
    """Sum of the advantages of a group of 8 wrong responses below the band, by variant."""
    rewards = torch.zeros(1, 8)
    sampled = Sampled(
        logp=torch.zeros(1, 8, 1), entropy=torch.zeros(1, 8, 1), mask=torch.ones(1, 8, 1, dtype=torch.bool),
        rewards=rewards, advantages=group_advantages(rewards), memory=torch.zeros(()),
    )  # fmt: skip
    for variant in ("alg1", "code"):
        wanted = Entrocraft(target=1.0, variant=variant).prepare(sampled).advantages.sum().item()
        if abs(answer[variant] - wanted) > 1e-9:
            where = {
                "alg1": "Algorithm 1 filters normalised advantages",
                "code": "the code uses raw rewards of +1, -1",
            }
            return f"{variant}: {where[variant]}. What are they in this group, and which sign passes below the band?"
    return None


def _scarce(answer: Callable[[float, int], float]) -> str | None:
    for luck, size in ((0.9, 8), (0.5, 8), (0.99, 8), (0.7, 4)):
        exact = size * (1 - luck) * (1 - (1 - luck) ** (size - 1))
        got = answer(luck, size)
        if np.isclose(got, exact, rtol=1e-6):
            continue
        if np.isclose(got, size * (1 - luck), rtol=1e-6):
            return "That is the code variant. Under Algorithm 1 a group that is all wrong has advantages of zero."
        if np.isclose(got, size * luck, rtol=1e-6):
            return "Below the band it is the failures that pass."
        return "Mean number of failures per group, without the failures of groups that are all wrong."
    return None


EXERCISES: dict[str, Exercise] = {
    "8.1": Exercise("The weights of the baseline", 2, 15, _weights),
    "8.2": Exercise("The mean effect of a step", 2, 15, _zero_mean),
    "8.3": Exercise("A group that is all wrong", 1, 5, _all_wrong),
    "8.4": Exercise("How many negatives are left?", 2, 10, _scarce),
}
