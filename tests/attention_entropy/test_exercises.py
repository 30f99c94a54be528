"""Exercises of notebook 04: right answers pass, every foreseen mistake gets its own hint, which gives nothing away."""

import math
import re

import numpy as np
import pytest
import torch

from entropy_utils.attention_entropy.digits import digits
from entropy_utils.attention_entropy.exercises import EXERCISES
from entropy_utils.attention_entropy.tiny_vit import TinyViT
from tests.collection import stored

TEXT = "\n".join(cell.source for cell in stored("04_attention_entropy.ipynb").cells)


def beta(s):
    return math.exp(-s * math.sqrt(2))


def floor_of_two(s):
    return math.log(1 + beta(s)) + math.sqrt(2) * s * beta(s) / (1 + beta(s))


def column(X, row, size):
    W = np.zeros((X.shape[1], 1))
    W[row] = size
    return W


RIGHT = {
    "4.1": floor_of_two,
    "4.2": lambda X, sigma: (column(X, 0, sigma), column(X, -1, 1.0)),
    "4.3": lambda T, s: (-(s**2) / (T - 1), s**2),
    "4.4": lambda norm, slope, lr: math.sqrt(norm**2 + (lr * slope) ** 2),
    "4.5": (282, 9, 9000),
}
WRONG = {
    "4.1": [
        (lambda s: floor_of_two(s) / math.log(2), "bits"),
        (lambda s: math.log(1 + beta(s)), "other one"),
        (lambda s: floor_of_two(s / math.sqrt(2)), "both logits move"),
        (lambda s: math.log(2), "multiple"),
    ],
    "4.2": [
        (lambda X, sigma: (column(X, 0, 0.0), column(X, -1, 1.0)), "norm"),
        (lambda X, sigma: (column(X, -1, sigma), column(X, 0, 1.0)), "over the keys"),
        (lambda X, sigma: (column(X, 0, sigma), column(X, 1, 1.0)), "agree"),
    ],
    "4.3": [
        (lambda T, s: (-(s**2) / (T - 1), s), "squared norm"),
        (lambda T, s: (s**2 / (T - 1), s**2), "sign"),
        (lambda T, s: (0.0, s**2), "would need"),
        (lambda T, s: (-(s**2), s**2), "products"),
    ],
    "4.4": [
        (lambda norm, slope, lr: norm, "infinitely small"),
        (lambda norm, slope, lr: norm - lr * slope, "angle"),
        (lambda norm, slope, lr: norm**2 + (lr * slope) ** 2, "square"),
        (lambda norm, slope, lr: 7.0, "triangle"),
    ],
    "4.5": [
        ((312.5, 9, 9000), "start"),
        ((9, 9, 9000), "sign matrix"),
        ((281.25, 281, 9000), "Second"),
        ((281.25, 8.8, 9), "gamma"),
    ],
}


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_its_hint(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    assert not [number for number in ("281", "282", "9000", "8.8", "log(1 +", "sqrt") if number in hint]


@pytest.mark.parametrize("id", EXERCISES)
def test_the_notebook_says_title_difficulty_and_minutes(id):
    exercise = EXERCISES[id]
    dots = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
    assert f"**{id} {exercise.title}** ({dots}, {exercise.minutes} minutes)" in TEXT


def test_the_code_for_your_own_training_runs():
    watch, prevent = re.findall(r"\*\*In your own training: .*?```python\n(.*?)```", TEXT, re.DOTALL)
    images, seen = digits().train[:8], []
    known = {"torch": torch, "model": TinyViT(layers=2), "train": lambda model: seen.append(model(images).detach())}
    before = known["model"](images).detach()
    exec(compile(watch, "watch", "exec"), known)
    assert len(known["recorder"].history()) == 2 * 4  # layers x heads of one pass
    exec(compile(prevent, "prevent", "exec"), known)
    assert isinstance(known["optimizer"], torch.optim.Optimizer)
    assert all(torch.allclose(output, before, atol=1e-4) for output in seen)
    assert torch.allclose(known["model"](images), before, atol=1e-4)
