"""The exact tabular softmax policy, where every identity of the covariance law holds to machine precision.

Logits are (states, actions), float64; everything is computed per state, along the last axis. Steps are gradient
*ascent* on the expected reward J (Cui et al. 2025, Lemma 1, Proposition 1, Theorems 1 and 2 and their appendix E).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.special import log_softmax, xlogy

from entropy_utils.lab.experiment import Experiment, Record


def entropy(logits: np.ndarray) -> np.ndarray:
    """Entropy of softmax(logits) in nats, (..., K) -> (...)."""
    log_p = log_softmax(logits, axis=-1)
    return -(np.exp(log_p) * log_p).sum(-1)


def covariance(p: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cov_p(u, v) = E[uv] - E[u]E[v] over the last axis, centred first so that nothing cancels."""
    centred = u - (p * u).sum(-1, keepdims=True)
    return (p * centred * v).sum(-1)


def entropy_gradient(logits: np.ndarray) -> np.ndarray:
    """dH/dz_b = -pi_b (log pi_b + H), (..., K). Positive exactly where pi_b < e^-H."""
    log_p = log_softmax(logits, axis=-1)
    return -np.exp(log_p) * (log_p + entropy(logits)[..., None])


def predicted_entropy_change(logits: np.ndarray, step: np.ndarray, order: int = 1) -> np.ndarray:
    """Entropy change of a logit step, (...,) in nats.

    order 1 is Lemma 1, -Cov(log pi, step); order 2 adds -1/2 {Var(step) + E[(log pi + H)(step - E step)^2]}.
    """
    log_p = log_softmax(logits, axis=-1)
    p = np.exp(log_p)
    change = -covariance(p, log_p, step)
    if order == 2:
        centred = step - (p * step).sum(-1, keepdims=True)
        change -= 0.5 * (p * centred**2 * (1 + log_p + entropy(logits)[..., None])).sum(-1)
    return change


def advantage(logits: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """A(s, a) = r(s, a) - E_pi[r(s, .)], (..., K)."""
    p = np.exp(log_softmax(logits, axis=-1))
    return reward - (p * reward).sum(-1, keepdims=True)


def policy_gradient_step(logits: np.ndarray, reward: np.ndarray, lr: float) -> np.ndarray:
    """Logit step of the policy gradient, lr * pi * A (Proposition 1)."""
    return lr * np.exp(log_softmax(logits, axis=-1)) * advantage(logits, reward)


def natural_gradient_step(logits: np.ndarray, reward: np.ndarray, lr: float) -> np.ndarray:
    """Logit step of the natural policy gradient, lr * A: multiplicative weights, pi_new proportional to pi e^(lr A)."""
    return lr * advantage(logits, reward)


def sampled_step(logits: np.ndarray, action: int, advantage: float, lr: float) -> np.ndarray:
    """Logit step of REINFORCE from one sampled action in one state, lr * A (e_a - pi), (K,)."""
    return lr * advantage * (np.eye(len(logits))[action] - np.exp(log_softmax(logits)))


def fisher(logits: np.ndarray) -> np.ndarray:
    """Fisher matrix of one state's logits, diag(pi) - pi pi^T, (K, K)."""
    p = np.exp(log_softmax(logits))
    return np.diag(p) - np.outer(p, p)


def bandit_path(
    time: np.ndarray, reward: float, right_entropy: float, wrong_entropy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reward and entropy of a one-state bandit with 0/1 rewards under the natural gradient, in closed form.

    time: lr times the number of steps; reward: probability of the right actions at time 0; the entropies inside the set
    of right and of wrong actions never change. R = R0 e^t / (R0 e^t + 1 - R0), H = h(R) + R H_right + (1 - R) H_wrong.
    """
    grown = reward * np.exp(time)
    r = grown / (grown + 1 - reward)
    binary = -xlogy(r, r) - xlogy(1 - r, 1 - r)
    return r, binary + r * right_entropy + (1 - r) * wrong_entropy


class TabularAscent(Experiment):
    """Exact gradient ascent on many independent states at once, each with one right action (reward 1)."""

    profiles: ClassVar[dict[str, dict]] = {"smoke": {"steps": 400}, "laptop": {}, "gpu": {}}

    rule: Literal["policy_gradient", "scaled_policy_gradient", "natural_gradient"] = Field(
        "policy_gradient", description="how advantages become a logit step; scaled divides by the reward's deviation"
    )
    states: int = Field(256, ge=1, le=100_000, description="independent states (prompts)")
    actions: int = Field(32, ge=2, le=10_000, description="actions per state, the first one is right")
    steps: int = Field(2000, ge=1, le=1_000_000, description="gradient steps")
    lr: float = Field(1.0, gt=0, le=100, description="step size on the logits", json_schema_extra={"scale": "log"})
    spread: float = Field(1.5, ge=0, le=10, description="standard deviation of the initial logits")

    def length(self) -> int:
        return self.steps

    def run(self) -> Iterator[Record]:
        """Means over the states at every step: reward, entropy, covariance Cov(log pi, step), entropy_change (nats)."""
        rng = np.random.default_rng(self.seed)
        logits = rng.normal(0, self.spread, (self.states, self.actions))
        logits[:, 0] += rng.normal(1, 2, self.states)
        reward = np.zeros_like(logits)
        reward[:, 0] = 1.0
        for step in range(self.steps):
            p = np.exp(log_softmax(logits, axis=-1))
            move = self._move(logits, reward, p[:, :1])
            before, log_p = entropy(logits), np.log(p)
            logits = logits + move
            yield {
                "step": step,
                "reward": float(p[:, 0].mean()),
                "entropy": float(before.mean()),
                "covariance": float(covariance(p, log_p, move).mean()),
                "entropy_change": float((entropy(logits) - before).mean()),
            }

    def _move(self, logits: np.ndarray, reward: np.ndarray, right: np.ndarray) -> np.ndarray:
        if self.rule == "natural_gradient":
            return natural_gradient_step(logits, reward, self.lr)
        scale = np.sqrt(right * (1 - right)) + 1e-6 if self.rule == "scaled_policy_gradient" else 1.0
        return policy_gradient_step(logits, reward, self.lr) / scale
