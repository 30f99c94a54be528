"""One lens for all methods: what each does to a token's push on the logits, and what that does to the entropy.

A token's loss l moves the logits of its state by -d l/dz. Where l depends on log pi of the sampled token k alone, that is
g (e_k - pi) with the push g = -d l/d log pi; plain policy gradient: g = A. Lemma 1 turns it into an entropy change,

    dH = -Cov(log pi, dz) = -g (S_k - E_pi[S]),      S = pi (log pi + H),

so a method acts on the entropy by the factor g / A that it puts on each token. Entropy bonuses push on all logits at once
and have a term of their own. In a tabular rollout, where every token owns its state, this is exact to first order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from entropy_utils.language_model import token_statistics

from .covariance import entropy_change_from_logits, masked_mean
from .grpo import group_advantages
from .interventions import Intervention, Sampled, Tokens

QUADRANTS = {
    "probable, right": (True, True),
    "rare, right": (False, True),
    "probable, wrong": (True, False),
    "rare, wrong": (False, False),
}
"""The four kinds of token: is S_k above E_pi[S] (its reward would lower the entropy)? is the advantage positive?"""


@dataclass(frozen=True)
class TabularRollout:
    """G responses of T tokens to P prompts, every token with a state of its own; the policy has moved since it sampled."""

    logits: Tensor  # of the policy now, (1, P, G, T, V), float64
    sampling_logits: Tensor  # of the policy that sampled
    actions: Tensor  # (1, P, G, T)
    rewards: Tensor  # (1, P, G)
    random: Tensor  # (1, P, G, T)

    @classmethod
    def draw(
        cls, seed: int = 0, prompts: int = 32, responses: int = 8, length: int = 6, vocabulary: int = 30,
        scale: float = 2.0, drift: float = 0.15, right: float = 0.4,
    ) -> TabularRollout:  # fmt: skip
        """Logits N(0, scale^2), moved by N(0, drift^2) since; rewards 0 or 1, rather 1 where the tokens are probable."""
        g = torch.Generator().manual_seed(seed)
        draw = {"generator": g, "dtype": torch.float64}
        shape = (1, prompts, responses, length)
        sampling = scale * torch.randn(*shape, vocabulary, **draw)
        actions = sampling.softmax(-1).flatten(0, 3).multinomial(1, generator=g).view(shape)
        logits = sampling + drift * torch.randn(*shape, vocabulary, **draw)
        confidence = sampling.log_softmax(-1).gather(-1, actions[..., None])[..., 0].mean(-1)
        lean = 0.3 * (confidence - confidence.mean()) / confidence.std()
        rewards = (torch.rand(shape[:3], **draw) < (right + lean).clamp(0.05, 0.95)).double()
        return cls(logits, sampling, actions, rewards, torch.rand(shape, **draw))

    @property
    def mask(self) -> Tensor:
        return torch.ones_like(self.actions, dtype=torch.bool)

    def sampled(self, memory: float = 0.0) -> Sampled:
        """What an intervention's `prepare` sees."""
        statistics = token_statistics(self.actions, self.sampling_logits)
        return Sampled(
            logp=statistics.log_prob, entropy=statistics.entropy, mask=self.mask, rewards=self.rewards,
            advantages=group_advantages(self.rewards), memory=torch.full((1,), memory, dtype=torch.float64),
            sum_p2=statistics.sum_p2, sum_p2_log_p=statistics.sum_p2_log_p, random=self.random,
        )  # fmt: skip

    def quadrant(self, name: str) -> Tensor:
        """Boolean mask (1, P, G, T) of one of the `QUADRANTS`, by the policy now and GRPO's advantages."""
        probable, right = QUADRANTS[name]
        statistics = token_statistics(self.actions, self.logits)
        p, h = statistics.log_prob.exp(), statistics.entropy
        deviation = p * (statistics.log_prob + h) - (h * statistics.sum_p2 + statistics.sum_p2_log_p)
        advantages = group_advantages(self.rewards)[..., None].expand_as(deviation)
        return ((deviation > 0) == probable) & (advantages > 0 if right else advantages < 0)


class Push(NamedTuple):
    """What one step of a method does to every token of a rollout, each (1, P, G, T)."""

    factor: Tensor  # g / A against the plain policy gradient; NaN where A = 0
    predicted: Tensor  # entropy change by Lemma 1 per unit of step, nats
    measured: Tensor  # the same from logits that really moved, divided by the step


def push(method: Intervention, rollout: TabularRollout, step: float = 1e-4, memory: float | None = None) -> Push:
    """The push of a method on each token and the entropy change it makes; the loss is summed as a mean over N tokens,
    the step is N times `step`, so that numbers do not depend on the size of the rollout.

    A method that needs a reference policy gets the sampling policy.
    """
    memory = method.first_memory if memory is None else memory
    prepared = method.prepare(rollout.sampled(memory))
    logits = rollout.logits.clone().requires_grad_()
    statistics = token_statistics(rollout.actions, logits, entropy_grad=True)
    old = token_statistics(rollout.actions, rollout.sampling_logits)
    advantages = prepared.advantages[..., None].expand_as(old.log_prob)
    parts = (statistics.log_prob, old.log_prob, advantages, prepared.mask, statistics.entropy, rollout.random)
    tokens = Tokens(
        *(part.flatten(1, 2) for part in parts), reference_logp=old.log_prob.flatten(1, 2),
        old_entropy=old.entropy.flatten(1, 2), memory=prepared.memory[:, None, None],
    )  # fmt: skip
    loss = masked_mean(method.token_loss(tokens)[0], tokens.mask).sum() * rollout.actions.numel()
    by_logits, by_logp = torch.autograd.grad(loss, (logits, statistics.log_prob), allow_unused=True)
    by_logp = torch.zeros_like(old.log_prob) if by_logp is None else by_logp
    measured, predicted = entropy_change_from_logits(rollout.logits, rollout.logits - step * by_logits)
    return Push(-by_logp / group_advantages(rollout.rewards)[..., None], predicted / step, measured / step)


def quadrant_table(methods: dict[str, Intervention], rollout: TabularRollout) -> dict[str, dict[str, float]]:
    """Of every method: the entropy change that the tokens of each quadrant make, and their sum, means per token of the
    rollout, in units of the size of the plain policy gradient's sum; "kept" is the mean factor g / A."""
    plain = push(methods["GRPO"], rollout).predicted
    unit = plain.mean().abs()
    table = {}
    for name, method in methods.items():
        found = push(method, rollout)
        parts = {kind: (found.predicted * rollout.quadrant(kind)).mean() / unit for kind in QUADRANTS}
        table[name] = {kind: value.item() for kind, value in parts.items()}
        table[name] |= {"sum": (found.predicted.mean() / unit).item(), "kept": found.factor.nanmean().item()}
    return table
