"""What one sampled token says about the entropy change of its own update: the estimators of three papers, and a contest.

A token of probability p in a state of entropy H and with advantage A moves the logits by a multiple of A (e_k - p). All
estimators have the sign of the predicted change and leave out the step size; they differ in how much of the step they
see. Tensors have any common shape, (...,); entropies and estimates are in nats. S is the entropy discriminator
p (log p + H), S-bar its mean under the policy (Wang et al. 2026, arXiv 2602.03392).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from scipy.stats import spearmanr
from torch import Tensor

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model import token_statistics

from .covariance import entropy_change_from_logits, token_covariance


def discriminator(logp: Tensor, entropy: Tensor) -> Tensor:
    """S = p (log p + H): minus the slope of the entropy in the token's own logit; positive where p > e^-H."""
    return logp.exp() * (logp + entropy)


def baseline(entropy: Tensor, sum_p2: Tensor, sum_p2_log_p: Tensor) -> Tensor:
    """S-bar = sum_j p_j S_j = H sum p^2 + sum p^2 log p = Cov_p(p, log p), never negative."""
    return entropy * sum_p2 + sum_p2_log_p


def single_logit(logp: Tensor, entropy: Tensor, advantages: Tensor) -> Tensor:
    """-A S: as if the update moved the logit of the token alone (Wang et al., Theorem 3.2)."""
    return -advantages * discriminator(logp, entropy)


def full_step(logp: Tensor, entropy: Tensor, advantages: Tensor, sum_p2: Tensor, sum_p2_log_p: Tensor) -> Tensor:
    """-A (S - S-bar): the update moves all logits of the state (Wang et al., Theorem 3.3)."""
    return -advantages * (discriminator(logp, entropy) - baseline(entropy, sum_p2, sum_p2_log_p))


def own_logit(logp: Tensor, entropy: Tensor, advantages: Tensor) -> Tensor:
    """-A (1 - p) S: the part of the full step that the token's own logit makes (Hao et al. 2025, the theorem)."""
    return -advantages * -logp.expm1() * discriminator(logp, entropy)


def released(logp: Tensor, entropy: Tensor, advantages: Tensor) -> Tensor:
    """-A (1 - p) (log p + H): the same without the factor p, as the code of Hao et al. 2025 computes it."""
    return -advantages * -logp.expm1() * (logp + entropy)


def squared(logp: Tensor, entropy: Tensor, advantages: Tensor) -> Tensor:
    """-A p (1 - p)^2 (log p + H): the theorem of Hao et al. with a second factor 1 - p, the change of p itself."""
    return -advantages * logp.expm1().square() * discriminator(logp, entropy)


def covariance(logp: Tensor, advantages: Tensor) -> Tensor:
    """-(log p - mean)(A - mean), means over all tokens given (Cui et al. 2025, eq. 10)."""
    flat = logp.reshape(1, -1), advantages.reshape(1, -1)
    return -token_covariance(*flat, torch.ones_like(flat[0], dtype=torch.bool)).view_as(logp)


def estimates(logp: Tensor, entropy: Tensor, advantages: Tensor, sum_p2: Tensor, sum_p2_log_p: Tensor) -> dict[str, Tensor]:
    """All estimators, by the names of `NAMES`."""
    token = logp, entropy, advantages
    full, plain = full_step(*token, sum_p2, sum_p2_log_p), (own_logit, squared, single_logit, released)
    return dict(zip(NAMES, (full, *(f(*token) for f in plain), covariance(logp, advantages)), strict=True))


NAMES = ("full step", "own logit", "squared", "single logit", "released", "covariance")
"""The estimators of `estimates`, best first where every state has logits of its own."""


class EstimatorContest(Experiment):
    """Which estimator predicts the entropy change of a state after one plain SGD step on all states together?

    The logits of a state are N(0, 1) times a scale exp(U(log smallest, log largest)). One token is drawn in each, with a
    random advantage of +1 or -1. `features` 0 is the tabular policy, each state with logits of its own; d > 0 makes them
    scale * phi W with d fixed features phi ~ N(0, 1/d) and W ~ N(0, 1), and the step is taken on W: then every update
    moves every state.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"replicas": 2}, "laptop": {}, "gpu": {"states": 40_000}, "hub": {},
    }  # fmt: skip

    replicas: int = Field(5, ge=1, le=1000, description="seeds")
    states: int = Field(4000, ge=3, le=1_000_000, description="states, one sampled token each")
    vocabulary: int = Field(100, ge=2, le=200_000, description="tokens to choose from")
    features: tuple[Annotated[int, Field(ge=0, le=100_000)], ...] = Field(
        (0, 128, 32, 8), min_length=1, description="shared features, 0: none shared"
    )
    lr: float = Field(
        1e-3, gt=0, le=1, description="step size on the sum over all states", json_schema_extra={"scale": "log"}
    )
    smallest: float = Field(0.5, gt=0, le=100, description="smallest scale of a state's logits")
    largest: float = Field(8.0, gt=0, le=100, description="largest scale of a state's logits")

    @model_validator(mode="after")
    def _scales_fit(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest {self.smallest} and largest {self.largest}: allowed are smallest <= largest")
        return self

    def length(self) -> int:
        return self.replicas * len(self.features) * len(NAMES)

    def run(self) -> Iterator[Record]:
        """Records: seed, features, estimator, pearson, spearman, sign_accuracy (of the estimate against the exact dH)."""
        for seed in range(self.seed, self.seed + self.replicas):
            for features in self.features:
                estimated, truth = self.step(seed, features)
                for name, values in estimated.items():
                    yield {"seed": seed, "features": features, "estimator": name} | agreement(values, truth)

    def step(self, seed: int, features: int) -> tuple[dict[str, Tensor], Tensor]:
        """Every estimate of the states' entropy changes, and the exact changes, each (states,)."""
        draw = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
        span = torch.tensor([self.smallest, self.largest], dtype=torch.float64).log()
        scale = (span[0] + (span[1] - span[0]) * torch.rand(self.states, 1, **draw)).exp()
        phi = torch.randn(self.states, features, **draw) / max(features, 1) ** 0.5
        weight = torch.randn(features or self.states, self.vocabulary, **draw)
        advantages = 2.0 * (torch.rand(self.states, **draw) < 0.5) - 1
        before = scale * (phi @ weight if features else weight)
        p = before.softmax(-1)
        tokens = p.multinomial(1, generator=draw["generator"])
        gradient = (-p).scatter_add(1, tokens, torch.ones_like(scale)) * advantages[:, None]
        move = scale * (phi @ (phi.T @ (scale * gradient))) if features else gradient
        truth, _ = entropy_change_from_logits(before, before + self.lr * move)
        logp, entropy, sum_p2, sum_p2_log_p = token_statistics(tokens[:, 0], before)
        return estimates(logp, entropy, advantages.double(), sum_p2, sum_p2_log_p), truth


def agreement(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    """Pearson and Spearman correlation of two vectors, and the share of entries of equal sign."""
    return {
        "pearson": torch.corrcoef(torch.stack([estimate, truth]))[0, 1].item(),
        "spearman": float(spearmanr(estimate.cpu(), truth.cpu()).statistic),
        "sign_accuracy": (estimate.sign() == truth.sign()).double().mean().item(),
    }
