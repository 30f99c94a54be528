"""The coin-flip bandit: a peaked policy whose rewards are mostly luck, the setting in which entropy control is a question.

Every context has a frozen softmax over its arms, with logits drawn from N(0, spread^2), plus a trainable table. In a
first share of the contexts half of the arms are right; in the others the reward is a coin flip that no arm changes. So
rewards depend weakly on the actions, failures never run out, and the entropy can be computed exactly. The environment
is ours (there is none in Li et al. 2026); any intervention acts on it through its `prepare` and `token_loss`.

The seeds are trained as one stack; each gets the numbers that it would get alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from entropy_utils.lab.experiment import Experiment, Record

from .covariance import masked_mean
from .grpo import group_advantages, uniform
from .interventions import AnyIntervention, NoIntervention, Sampled, Tokens


class CoinFlipBandit(Experiment):
    """Train `replicas` tabular policies (seeds seed, seed + 1, ...); one record per step and seed."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"contexts": 64, "arms": 32, "steps": 60, "replicas": 3},
        "laptop": {},
        "gpu": {"contexts": 4096, "arms": 512, "replicas": 16, "steps": 2000, "device": "auto"},
        "hub": {},
    }

    intervention: AnyIntervention = Field(NoIntervention(), description="method acting on the entropy")
    replicas: int = Field(5, ge=1, le=1024, description="seeds trained side by side")
    steps: int = Field(400, ge=1, le=100_000, description="rollouts", json_schema_extra={"unit": "rollouts"})
    contexts: int = Field(256, ge=1, le=1_000_000, description="independent contexts (prompts)")
    arms: int = Field(64, ge=2, le=100_000, description="arms per context (the vocabulary)")
    responses: int = Field(8, ge=2, le=1024, description="arms drawn per context and step (the group)")
    spread: float = Field(4.0, ge=0, le=20, description="standard deviation of the frozen logits")
    learnable: float = Field(0.3, ge=0, le=1, description="share of contexts in which half of the arms are right")
    luck: float = Field(0.5, ge=0, le=1, description="probability of a reward in the other contexts (phi)")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="Adam, or plain SGD")
    lr: float = Field(0.02, gt=0, le=10_000, description="learning rate", json_schema_extra={"scale": "log"})
    updates: int = Field(4, ge=1, le=64, description="full-batch updates per step")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to train; auto takes a GPU if there is one")

    @model_validator(mode="after")
    def _intervention_fits(self) -> Self:
        self.intervention.check(self.arms, self.steps)
        return self

    @property
    def seeds(self) -> list[int]:
        return [self.seed + replica for replica in range(self.replicas)]

    def length(self) -> int:
        return self.steps * self.replicas

    def run(self) -> Iterator[Record]:
        """Records, each of the policy before the step's update (entropy in nats):

        entropy: exact, mean over the contexts; reward: mean over the rollout; accuracy, pass_at_32: probability that one
        arm, or one of 32, is right in the learnable contexts (NaN without any); accepted: responses with an advantage
        other than 0 per context, after `prepare`; negatives: failed responses per context; memory: the intervention's
        own; acted_on: share of responses that the intervention took out or touched in the updates.
        """
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        shape = (self.contexts, self.arms)
        base = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device) * self.spread
        right = (uniform(generators, shape) < 0.5).to(device)
        learnable = torch.arange(self.contexts, device=device) < int(self.learnable * self.contexts)
        table = torch.zeros_like(base, requires_grad=True)
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[self.optimizer]
        optimizer = kind([table], lr=self.lr, fused=True)
        memory = torch.full((self.replicas,), self.intervention.first_memory, device=device)
        for step in range(self.steps):
            with torch.no_grad():
                log_p = (base + table).log_softmax(-1)
                p = log_p.exp()
                drawn = draw(p, uniform(generators, (self.contexts, self.responses)).to(device))
                coins = (uniform(generators, drawn.shape[1:]) < self.luck).to(device)
                rewards = torch.where(learnable[:, None], right.gather(-1, drawn), coins).float()
                sampled = self._sampled(log_p, p, drawn, rewards, memory, step, generators)
                prepared = self.intervention.prepare(sampled)
                chance = (p * right).sum(-1)[:, learnable]
            memory = prepared.memory
            record = {
                "entropy": sampled.mean_entropy,
                "reward": rewards.mean((1, 2)),
                "accuracy": chance.mean(-1),
                "pass_at_32": (1 - (1 - chance) ** 32).mean(-1),
                "accepted": (prepared.advantages != 0).sum(-1).float().mean(-1),
                "negatives": (rewards < 0.5).sum(-1).float().mean(-1),
                "memory": memory,
                "acted_on": self._update(base, table, optimizer, drawn, sampled, prepared, generators),
            }
            columns = {name: values.tolist() for name, values in record.items()}
            for replica, seed in enumerate(self.seeds):
                yield {"step": step, "seed": seed} | {name: values[replica] for name, values in columns.items()}

    def _sampled(
        self, log_p: Tensor, p: Tensor, drawn: Tensor, rewards: Tensor, memory: Tensor, step: int,
        generators: list[torch.Generator],
    ) -> Sampled:  # fmt: skip
        """The rollout as an intervention sees it: every response is one token, drawn from its context's policy."""
        uses = self.intervention.uses

        def token(x: Tensor) -> Tensor:  # one number per context, for each of its responses: (S, C) -> (S, C, G, 1)
            return x[..., None, None].expand(*drawn.shape, 1)

        more = {"random": uniform(generators, (*drawn.shape[1:], 1)).to(p.device)} if "random" in uses else {}
        if "moments" in uses:
            more |= {"sum_p2": token(p.square().sum(-1)), "sum_p2_log_p": token((p.square() * log_p).sum(-1))}
        return Sampled(
            logp=log_p.gather(-1, drawn)[..., None],
            entropy=token(-(p * log_p).sum(-1)),
            mask=torch.ones_like(drawn, dtype=torch.bool)[..., None],
            rewards=rewards,
            advantages=group_advantages(rewards),
            memory=memory,
            step=step,
            steps=self.steps,
            **more,
        )

    def _update(self, base, table, optimizer, drawn, sampled, prepared, generators) -> Tensor:
        """All updates on one rollout; returns the share of responses that the intervention acted on, (S,)."""
        uses, acted = self.intervention.uses, (sampled.mask & ~prepared.mask).float().mean((1, 2, 3))
        advantages, mask = prepared.advantages.flatten(1)[..., None], prepared.mask.flatten(1, 2)
        old, old_entropy = sampled.logp.flatten(1, 2), sampled.entropy.flatten(1, 2)
        reference = base.log_softmax(-1).gather(-1, drawn).flatten(1)[..., None] if "reference" in uses else None
        for _ in range(self.updates):
            log_p = (base + table).log_softmax(-1)
            entropy = old_entropy
            if "entropy" in uses:
                entropy = -(log_p.exp() * log_p).sum(-1)[..., None].expand(drawn.shape).flatten(1)[..., None]
            tokens = Tokens(
                logp=log_p.gather(-1, drawn).flatten(1)[..., None],
                old_logp=old,
                advantages=advantages,
                mask=mask,
                entropy=entropy,
                random=uniform(generators, old.shape[1:]).to(old.device),
                reference_logp=reference,
                old_entropy=old_entropy,
                memory=prepared.memory[:, None, None],
            )
            loss, touched = self.intervention.token_loss(tokens)
            optimizer.zero_grad()
            masked_mean(loss, mask).sum().backward()
            optimizer.step()
            acted = acted + touched.float().mean((1, 2)) / self.updates
        return acted


def draw(p: Tensor, numbers: Tensor) -> Tensor:
    """Arms drawn from p (..., C, V) by inverting its distribution function at uniform numbers (..., C, G)."""
    return torch.searchsorted(p.cumsum(-1), numbers).clamp(max=p.shape[-1] - 1)
