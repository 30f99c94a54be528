"""Which of the four factors of a token's entropy change matters? Take one away, or leave only one (Hao et al. 2025).

Theorem 1 of the paper estimates the change by -I r A pi (1 - pi)(log pi + H): clipping I, advantage A, probability pi (with
the ratio r to the policy that sampled), entropy H. Here the policy is tabular, it has moved since it sampled, and the
truth is the exact entropy change of one small step of the clipped policy gradient, in all logits of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model import token_statistics

from .covariance import entropy_change_from_logits
from .estimators import agreement

FACTORS = ("clipping", "advantage", "probability", "entropy")


class Draws(NamedTuple):
    """Sampled tokens, one per state, and the exact entropy change of their states after the step, each (states,)."""

    logp: Tensor
    old_logp: Tensor
    entropy: Tensor
    advantages: Tensor
    unclipped: Tensor  # I: 1 where the clipped loss has a gradient, else 0
    truth: Tensor


def four_factors(draws: Draws, neutral: Iterable[str] = ()) -> Tensor:
    """The estimate of Theorem 1, (states,), with some of the `FACTORS` made the same for all tokens.

    Neutral are I = 1, A = 1, H = its mean, and for the probability log pi and log r = their means.
    """
    neutral = set(neutral)
    if not neutral <= set(FACTORS):
        raise ParameterError.of("neutral", sorted(neutral), ", ".join(FACTORS))
    logp, log_ratio = draws.logp, draws.logp - draws.old_logp
    if "probability" in neutral:
        logp, log_ratio = logp.mean().expand_as(logp), log_ratio.mean()
    unclipped = 1.0 if "clipping" in neutral else draws.unclipped
    advantages = 1.0 if "advantage" in neutral else draws.advantages
    entropy = draws.entropy.mean() if "entropy" in neutral else draws.entropy
    return -unclipped * log_ratio.exp() * advantages * logp.exp() * -logp.expm1() * (logp + entropy)


class FourFactors(Experiment):
    """Agreement of the estimate with the truth: as it is, without each factor, and with each factor alone.

    Logits are N(0, 1) times a scale exp(U(log 0.5, log 8)); the policy that sampled differs from the present one by
    N(0, drift^2) in every logit. Advantages are N(0, 1).
    """

    profiles: ClassVar[dict[str, dict]] = {"smoke": {"replicas": 2}, "laptop": {}, "gpu": {"states": 100_000}, "hub": {}}

    replicas: int = Field(5, ge=1, le=1000, description="seeds")
    states: int = Field(4000, ge=3, le=1_000_000, description="states, one sampled token each")
    vocabulary: int = Field(100, ge=2, le=200_000, description="tokens to choose from")
    drift: float = Field(0.3, ge=0, le=10, description="how far the policy has moved since it sampled, per logit")
    clip_low: float = Field(0.2, gt=0, le=1, description="how far the ratio may fall below 1")
    clip_high: float = Field(0.28, gt=0, le=10, description="how far the ratio may rise above 1")
    lr: float = Field(1e-3, gt=0, le=1, description="step size on every state's own logits")

    def length(self) -> int:
        return self.replicas * (1 + 2 * len(FACTORS))

    def run(self) -> Iterator[Record]:
        """Records: seed, kept ("all", "without ...", "only ..."), pearson, spearman, sign_accuracy (NaN: no variation)."""
        for seed in range(self.seed, self.seed + self.replicas):
            draws = self.draws(seed)
            arms = {"all": ()} | {f"without {factor}": (factor,) for factor in FACTORS}
            arms |= {f"only {factor}": tuple(other for other in FACTORS if other != factor) for factor in FACTORS}
            for kept, neutral in arms.items():
                yield {"seed": seed, "kept": kept} | agreement(four_factors(draws, neutral), draws.truth)

    def draws(self, seed: int) -> Draws:
        """Tokens sampled by the earlier policy, and what one step of the present one does; kept for the next call."""
        return _draws(self, seed)


@lru_cache(maxsize=8)
def _draws(experiment: FourFactors, seed: int) -> Draws:
    draw = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    states, vocabulary = experiment.states, experiment.vocabulary
    scale = 0.5 * 16.0 ** torch.rand(states, 1, **draw)
    logits = scale * torch.randn(states, vocabulary, **draw)
    old_logits = logits + experiment.drift * torch.randn(states, vocabulary, **draw)
    tokens = old_logits.softmax(-1).multinomial(1, generator=draw["generator"])
    advantages = torch.randn(states, **draw)
    statistics = token_statistics(tokens[:, 0], logits)
    old_logp = old_logits.log_softmax(-1).gather(-1, tokens)[:, 0]
    ratio = (statistics.log_prob - old_logp).exp()
    clipped = torch.where(advantages > 0, ratio > 1 + experiment.clip_high, ratio < 1 - experiment.clip_low)
    push = experiment.lr * ~clipped * ratio * advantages
    move = (-logits.softmax(-1)).scatter_add(-1, tokens, torch.ones_like(scale)) * push[:, None]
    truth, _ = entropy_change_from_logits(logits, logits + move)
    return Draws(statistics.log_prob, old_logp, statistics.entropy, advantages, (~clipped).to(scale), truth)
