"""Supervised warm-up: a tiny model learns a task's prior, once per configuration and seed.

Reinforcement learning sharpens what is already there. The warm-up puts it there: the model is trained on the exact
next-token distribution of the task's demonstrations (soft targets: same expected gradient as sampled answers, less
noise). The result is kept in a cache directory, so that every later run with the same configuration starts at once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from entropy_utils.lab.experiment import Parameters
from entropy_utils.language_model import models, stacked, tiny_causal_lm
from entropy_utils.language_model.kept_models import code_hash, kept_states
from entropy_utils.language_model.stacked import StackedLlama

from . import tasks
from .tasks import Task

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class WarmUp(Parameters):
    """Size of the model and the supervised training that it gets before reinforcement learning."""

    hidden: int = Field(64, ge=8, le=4096, multiple_of=8, description="width of the model")
    layers: int = Field(2, ge=1, le=48, description="transformer layers")
    heads: int = Field(4, ge=1, le=64, description="attention heads")
    steps: int = Field(600, ge=1, le=1_000_000, description="supervised updates")
    batch: int = Field(64, ge=1, le=65536, description="prompts per update")
    lr: float = Field(3e-3, gt=0, le=1, description="peak learning rate of AdamW")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % (2 * self.heads):
            allowed = f"a hidden that is a multiple of 2 x heads = {2 * self.heads}"
            raise ValueError(f"hidden {self.hidden} and heads {self.heads}: allowed is {allowed}")
        return self

    def model(self, task: Task, seed: int) -> LlamaForCausalLM:
        """The untrained model of one seed."""
        sizes = {"hidden": self.hidden, "layers": self.layers, "heads": self.heads}
        length = task.prompt_length + task.response_length
        return tiny_causal_lm(len(task.vocabulary), **sizes, max_positions=max(32, length), seed=seed)

    def train(self, task: Task, seeds: list[int], device: str = "cpu") -> StackedLlama:
        """Train one model per seed, all in one stack; each sees its own prompts and starts from its own weights."""
        models = [self.model(task, seed) for seed in seeds]
        policy = StackedLlama(models[0].config, [model.state_dict() for model in models]).to(device)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        optimizer = torch.optim.AdamW(policy.parameters(), lr=self.lr, weight_decay=0.01, fused=True)
        warm = min(50, max(1, self.steps // 10))
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps - warm), eta_min=0.1 * self.lr),
            ],
            [warm],
        )
        for _ in range(self.steps):
            prompts = torch.stack([task.prompts(self.batch, generator) for generator in generators])
            pairs = list(zip(prompts, generators, strict=True))
            responses = torch.stack([task.demonstrations(rows, generator) for rows, generator in pairs])
            target = torch.stack([task.prior(*rows) for rows in zip(prompts, responses, strict=True)]).to(device)
            logits = policy.response_logits(prompts.to(device), responses[:, :, None].to(device))[:, :, 0]
            loss = F.cross_entropy(logits.flatten(0, 2), target.flatten(0, 2)) * len(seeds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return policy


def warm_policy(warm_up: WarmUp, task: Task, seeds: list[int], device: str = "cpu") -> StackedLlama:
    """The warmed-up policies of `seeds`, from the cache where they are, trained and kept where they are not."""

    def train(missing: list[int]) -> list[dict[str, Tensor]]:
        trained = warm_up.train(task, missing, device)
        return [trained.state(replica) for replica in range(len(missing))]

    states = kept_states("warm_up", {seed: _key(warm_up, task, seed) for seed in seeds}, train)
    return StackedLlama(warm_up.model(task, 0).config, [states[seed] for seed in seeds]).to(device)


@cache
def _code() -> str:
    return code_hash(tasks, models, stacked, sys.modules[__name__])


def _key(warm_up: WarmUp, task: Task, seed: int) -> str:
    content: dict[str, Any] = {"task": task.identity, "seed": seed, "code": _code(), **warm_up.model_dump()}
    return f"{task.name}-{seed}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}"
