"""A language model in miniature that trains in a second: states that share their features, and GRPO on them.

A prompt is answered with a fixed number of tokens. The logits of a state (a prompt and a position) are phi W: the
features phi of the state are fixed, the weights W are trained and belong to all states, so that every update moves every
state. In each state some tokens are good, and a response is right if at least half of its tokens are. The loop asks the
intervention exactly as the language-model loop does (`grpo.GRPO`), so every method runs here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from entropy_utils.lab.experiment import Experiment, Record

from .covariance import masked_mean
from .estimators import baseline, discriminator
from .grpo import group_advantages, uniform
from .interventions import AnyIntervention, NoIntervention, Sampled, Tokens


class SharedFeatures(Experiment):
    """GRPO on `replicas` worlds (seeds seed, seed + 1, ...) side by side; one record per step and seed.

    Two methods at the same seed meet the same world and draw their tokens with the same random numbers.
    """

    profiles: ClassVar[dict[str, dict]] = {"smoke": {}, "laptop": {}, "gpu": {}, "hub": {}}

    intervention: AnyIntervention = Field(NoIntervention(), description="method acting on the entropy")
    replicas: int = Field(5, ge=1, le=1000, description="seeds trained side by side")
    steps: int = Field(80, ge=1, le=100_000, description="rollouts", json_schema_extra={"unit": "rollouts"})
    prompts: int = Field(24, ge=1, le=10_000, description="prompts, all of them in every rollout")
    positions: int = Field(6, ge=1, le=1000, description="tokens of a response")
    vocabulary: int = Field(30, ge=2, le=100_000, description="tokens to choose from")
    good: int = Field(9, ge=1, le=100_000, description="good tokens of a state")
    features: int = Field(32, ge=1, le=10_000, description="features that the states share")
    spread: float = Field(1.8, ge=0, le=100, description="standard deviation of the initial logits")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt (the group)")
    inner_steps: int = Field(4, ge=1, le=64, description="gradient steps on one rollout")
    lr: float = Field(0.5, gt=0, le=100, description="total step of a rollout", json_schema_extra={"scale": "log"})
    denominator: Literal["all", "counted"] = Field(
        "all", description="tokens that the loss is a mean of: all, or those left by the intervention (the rest weigh more)"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.good > self.vocabulary:
            raise ValueError(f"good {self.good} and vocabulary {self.vocabulary}: allowed are good <= vocabulary")
        self.intervention.check(self.vocabulary, self.steps)
        return self

    @property
    def seeds(self) -> list[int]:
        return [self.seed + replica for replica in range(self.replicas)]

    def length(self) -> int:
        return self.steps * self.replicas

    def run(self) -> Iterator[Record]:
        """Records, before the update of the step: step, seed; entropy (nats, mean over the states); reward (share of
        right responses); mean_s, mean_d: batch means of S and of S - S-bar over the sampled tokens; acted_on: share of
        tokens the intervention took out or touched; memory: its own.
        """
        sampling, acting = ([torch.Generator().manual_seed(seed + more) for seed in self.seeds] for more in (0, 2**31))
        phi, weight, good = self.world(sampling)
        first, method = weight, self.intervention
        memory = torch.full((self.replicas,), method.first_memory, dtype=weight.dtype)
        for step in range(self.steps):
            drawn, rewards = self.answer(phi, weight, good, sampling)
            random = uniform(acting, drawn.shape[1:]) if "random" in method.uses else None
            place = {"memory": memory, "step": step, "steps": self.steps, "random": random}
            sampled = rollout(self.log_policy(phi, weight), drawn, rewards, **place)
            prepared = method.prepare(sampled)
            memory = prepared.memory
            weight, acted = self.update(phi, weight, first, drawn, sampled, prepared, acting)
            s = discriminator(sampled.logp, sampled.entropy)
            d = s - baseline(sampled.entropy, sampled.sum_p2, sampled.sum_p2_log_p)
            record = {
                "entropy": sampled.mean_entropy,
                "reward": rewards.mean((1, 2)),
                "mean_s": s.mean((1, 2, 3)),
                "mean_d": d.mean((1, 2, 3)),
                "acted_on": acted,
                "memory": memory,
            }
            columns = {name: values.tolist() for name, values in record.items()}
            for replica, seed in enumerate(self.seeds):
                yield {"step": step, "seed": seed} | {name: values[replica] for name, values in columns.items()}

    def first_rollout(self) -> Sampled:
        """The rollout before any update."""
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        phi, weight, good = self.world(generators)
        memory = torch.full((self.replicas,), self.intervention.first_memory, dtype=weight.dtype)
        return rollout(self.log_policy(phi, weight), *self.answer(phi, weight, good, generators), memory=memory)

    def answer(self, phi: Tensor, weight: Tensor, good: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Responses drawn from the policy, (S, P, G, T), and their rewards, 0 or 1, (S, P, G)."""
        numbers = uniform(generators, (self.prompts, self.responses, self.positions))
        drawn = draw_tokens(self.log_policy(phi, weight), numbers)
        right = good.unsqueeze(2).expand(*drawn.shape, -1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
        return drawn, (right.to(weight.dtype).mean(-1) >= 0.5).to(weight.dtype)

    def world(self, generators: list[torch.Generator]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (S, P * T, F), weights (S, F, V) and good tokens (S, P, T, V) of every seed, float64."""
        states = self.prompts * self.positions

        def normal(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=g, dtype=torch.float64) for g in generators])

        phi = normal(states, self.features) / self.features**0.5
        weight = self.spread * normal(self.features, self.vocabulary)
        order = uniform(generators, (self.prompts, self.positions, self.vocabulary)).argsort(-1)
        return phi, weight, order < self.good

    def log_policy(self, phi: Tensor, weight: Tensor) -> Tensor:
        """Log-probabilities of all tokens in all states, (S, P, T, V)."""
        return (phi @ weight).view(len(phi), self.prompts, self.positions, -1).log_softmax(-1)

    def update(self, phi, weight, first, drawn, sampled, prepared, generators) -> tuple[Tensor, Tensor]:
        """The weights after all inner steps on one rollout, and the share of tokens acted on, (S,).

        The gradient is that of the token losses, summed over the states and averaged over the group.
        """
        method, acted = self.intervention, 0
        advantages = prepared.advantages.unsqueeze(-1).expand_as(sampled.logp).flatten(1, 2)
        fixed = {"mask": prepared.mask.flatten(1, 2), "old_logp": sampled.logp.flatten(1, 2)}
        fixed |= {"old_entropy": sampled.entropy.flatten(1, 2), "memory": prepared.memory[:, None, None]}
        if "reference" in method.uses:
            fixed["reference_logp"] = taken(self.log_policy(phi, first), drawn).flatten(1, 2)
        for _ in range(self.inner_steps):
            weight = weight.detach().requires_grad_()
            log_p = self.log_policy(phi, weight)
            entropy = -(log_p.exp() * log_p).sum(-1)
            entropy = (entropy if "entropy" in method.uses else entropy.detach()).unsqueeze(2).expand_as(drawn)
            random = uniform(generators, advantages.shape[1:])
            logp = taken(log_p, drawn).flatten(1, 2)
            tokens = Tokens(logp, advantages=advantages, entropy=entropy.flatten(1, 2), random=random, **fixed)
            loss, touched = method.token_loss(tokens)
            mean = masked_mean(loss, tokens.mask)
            if self.denominator == "all":
                mean = mean * tokens.mask.to(mean.dtype).mean((-2, -1), keepdim=True)
            (gradient,) = torch.autograd.grad(mean.sum() * self.prompts * self.positions, weight)
            weight = weight - self.lr / self.inner_steps * gradient
            acted = acted + (touched | ~tokens.mask).to(mean.dtype).mean((-2, -1)) / self.inner_steps
        return weight.detach(), acted


def taken(log_p: Tensor, drawn: Tensor) -> Tensor:
    """Log-probabilities of the drawn tokens: log_p (S, P, T, V), drawn (S, P, G, T) -> (S, P, G, T)."""
    return log_p.gather(-1, drawn.transpose(2, 3)).transpose(2, 3)


def draw_tokens(log_p: Tensor, numbers: Tensor) -> Tensor:
    """Tokens drawn by inversion: log_p (S, P, T, V), uniform numbers (S, P, G, T) -> tokens (S, P, G, T)."""
    places = torch.searchsorted(log_p.exp().cumsum(-1), numbers.to(log_p.dtype).transpose(2, 3).contiguous(), right=True)
    return places.clamp(max=log_p.shape[-1] - 1).transpose(2, 3)


def rollout(log_p: Tensor, drawn: Tensor, rewards: Tensor, **place) -> Sampled:
    """The rollout as an intervention sees it, with the moments of every state's distribution."""
    p = log_p.exp()
    moments = (-(p * log_p).sum(-1), p.square().sum(-1), (p.square() * log_p).sum(-1))
    entropy, sum_p2, sum_p2_log_p = (x.unsqueeze(2).expand_as(drawn) for x in moments)
    return Sampled(
        logp=taken(log_p, drawn),
        entropy=entropy,
        mask=torch.ones_like(drawn, dtype=torch.bool),
        rewards=rewards,
        advantages=group_advantages(rewards),
        sum_p2=sum_p2,
        sum_p2_log_p=sum_p2_log_p,
        **place,
    )
