"""Exercises of notebook 09: right answers pass, wrong ones get the hint that fits, and no hint gives the answer away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import xlogy
from torch.nn.functional import cross_entropy, kl_div

from entropy_utils.unlearning.exercises import EXERCISES


def entropy_of_target(entropy, x):
    return (entropy + xlogy(x, x) + xlogy(1 - x, 1 - x)) / (1 - x)


def target(logits, x):
    return torch.tensor(logits).index_fill(0, torch.tensor(x), -torch.inf).softmax(0)


def by_autograd(student, reference, x):
    """SHRED as a divergence from the frozen target, CEU as a cross-entropy to the student's own detached one."""
    gradients = []
    for loss, logits in ((kl_div, reference), (cross_entropy, student)):
        z = torch.tensor(student, requires_grad=True)
        q = target(logits, x)
        (loss(z.log_softmax(0), q, reduction="sum") if loss is kl_div else loss(z, q)).backward()
        gradients.append(z.grad.numpy())
    return tuple(gradients)


def select(texts, share, count=lambda n: max(1, int(n + 0.5))):
    masks = []
    for text in texts:
        mask = np.zeros(len(text), bool)
        mask[np.argsort(-text, kind="stable")[: count(share * len(text))]] = True
        masks.append(mask)
    return masks


def over_the_batch(texts, share):
    both = np.concatenate(texts)
    edge = np.sort(both)[::-1][max(1, int(share * len(both) + 0.5)) - 1]
    return [text >= edge for text in texts]


def swapped(student, reference, x):
    return by_autograd(student, reference, x)[::-1]


def negated(student, reference, x):
    return tuple(-gradient for gradient in by_autograd(student, reference, x))


RIGHT = {
    "9.1": (np.log(2), np.log(100)),
    "9.2": 7.6,
    "9.3": entropy_of_target,
    "9.4": by_autograd,
    "9.5": select,
}
WRONG = {
    "9.1": [((1.0, 6.64), "bits"), ((np.log(2), 0.01005), "Second number: that is the surprisal"), ((0.5, 4.6), "First")],
    "9.2": [(6.907, "one rival"), (10.0, "smaller beta"), (3.3, "natural"), (5.0, "still in front")],
    "9.3": [
        (lambda h, x: h + xlogy(x, x) + xlogy(1 - x, 1 - x), "only as often"),
        (lambda h, x: h / (1 - x), "is it x"),
        (lambda h, x: (h + (xlogy(x, x) + xlogy(1 - x, 1 - x)) / np.log(2)) / (1 - x), "bits"),
        (lambda h, x: h, "two stages"),
    ],
    "9.4": [
        (swapped, "SHRED: later your target follows"), (negated, "sign"),
        (lambda z, r, x: (by_autograd(z, r, x)[0],) * 2, "CEU: later the two differ"),
        (lambda z, r, x: (z, z), "minus"), (lambda z, r, x: (by_autograd(z, r, x)[0], z), "CEU: the same form"),
    ],
    "9.5": [
        (over_the_batch, "within each answer"),
        (lambda texts, share: select([-text for text in texts], share), "not its most surprising"),
        (lambda texts, share: select(texts, share, lambda n: max(1, round(n))), "rounds up"),
        (lambda texts, share: select(texts, share, lambda n: int(np.ceil(n)) + 1), "within each answer"),
        (lambda texts, share: select(texts, share, lambda n: int(n + 0.5)), "Nothing is selected"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("id", EXERCISES)
def test_right_is_right(id):
    assert EXERCISES[id].check(RIGHT[id]) is None


@pytest.mark.parametrize(("id", "answer", "word"), [(id, *case) for id, cases in WRONG.items() for case in cases])
def test_wrong_gets_a_hint_that_does_not_tell(id, answer, word):
    hint = EXERCISES[id].check(answer)
    assert word in hint
    assert not any(told in hint for told in ("0.69", "4.6", "7.6", "0.25", "log 2"))
