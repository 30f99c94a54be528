"""The coin-flip bandit with one update per step, in numpy: a whole run in the time of a picture.

The same environment, random numbers and Entrocraft rules as `CoinFlipBandit(updates=1)` with Adam; on policy the ratio is
1, no clip acts, and the gradient is written out. A test holds both to the same curve.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from .schedule import Schedule


@lru_cache(maxsize=256)
def small_run(
    target: Schedule, width: float = 0.1, variant: str = "code", luck: float = 0.5, contexts: int = 40, arms: int = 24,
    steps: int = 150, lr: float = 0.13, spread: float = 4.0, responses: int = 8, learnable: float = 0.3, seed: int = 0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Entropy (nats), m and responses accepted per context at every step, each (steps,); kept for the next call."""
    base, right, numbers, coins = _numbers(seed, contexts, arms, responses, steps)
    table, first, second = np.zeros((3, contexts, arms))
    free, row = np.arange(contexts) >= int(learnable * contexts), np.arange(contexts)[:, None]
    found, curve, flat = np.empty((3, steps)), target.curve(steps), np.arange(contexts)[:, None] * arms
    for step in range(steps):
        z = spread * base + table
        e = np.exp(z - z.max(1, keepdims=True))
        total = e.sum(1, keepdims=True)
        p = e / total
        entropy = -np.einsum("ij,ij->", p, np.log(p + 1e-300)) / contexts
        m = np.sign(max(entropy - curve[step] - width / 2, 0) + min(entropy - curve[step] + width / 2, 0))
        drawn = (p.cumsum(1)[:, None, :] < numbers[step][..., None]).sum(-1).clip(max=arms - 1)
        r = np.where(free[:, None], coins[step] < luck, right[row, drawn]).astype(float)
        centred = r - r.mean(1, keepdims=True)
        advantage = centred / (np.sqrt((centred**2).sum(1, keepdims=True) / (responses - 1)) + 1e-6)
        if m and variant == "code":
            advantage = np.maximum(m * (2 * r - 1), 0) * m
        counted = max((m * advantage >= 0).sum(), 1) if variant == "alg1" else contexts * responses
        advantage = advantage * (m * advantage >= 0)
        pull = np.bincount((flat + drawn).ravel(), advantage.ravel(), contexts * arms).reshape(contexts, arms)
        gradient = (advantage.sum(1, keepdims=True) * p - pull) / counted
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        t = step + 1
        table -= lr * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        found[:, step] = entropy, m, (advantage != 0).sum() / contexts
    return dict(zip(("entropy", "m", "accepted"), found, strict=True))


_DRAWN: dict = {}


def _numbers(seed: int, contexts: int, arms: int, responses: int, steps: int) -> tuple[np.ndarray, ...]:
    """The random numbers of `CoinFlipBandit` for this seed, in its order, kept for the next run."""
    key = (seed, contexts, arms, responses, steps)
    if key not in _DRAWN:
        g = torch.Generator().manual_seed(seed)
        base, right = torch.randn(contexts, arms, generator=g), torch.rand(contexts, arms, generator=g) < 0.5
        draws = []
        for _ in range(steps):
            draws.append([torch.rand(contexts, responses, generator=g) for _ in range(2)])
            torch.rand(contexts * responses, 1, generator=g)  # what one update may use
        numbers, coins = (torch.stack(column).double().numpy() for column in zip(*draws, strict=True))
        _DRAWN[key] = base.double().numpy(), right.numpy(), numbers, coins
    return _DRAWN[key]
