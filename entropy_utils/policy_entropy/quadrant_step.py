"""Which way does each kind of token push the entropy of a language model? One step on the tokens of one quadrant alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model import token_statistics

from .covariance import entropy_change_from_logits, masked_mean
from .estimators import baseline, discriminator
from .grpo import GRPO, policy_logits, sample_rollout
from .masked_step import logits_after_step
from .tasks import TASKS
from .warm_up import WarmUp

QUADRANTS: dict[str, int] = {"++": -1, "+-": 1, "-+": 1, "--": -1}
"""Sign of the advantage and of S (or D), and which way such tokens move the entropy to first order."""


class QuadrantStep(Experiment):
    """One SGD step on each of several batches with the tokens of one quadrant; always from the warmed-up policy."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"batches": 2, "replicas": 2, "warm_up": {"steps": 60}},
        "laptop": {},
        "gpu": {"replicas": 8, "device": "auto", "warm_up": GRPO.profiles["gpu"]["warm_up"]},
        "hub": {},
    }

    replicas: int = Field(5, ge=1, le=64, description="seeds side by side")
    batches: int = Field(8, ge=1, le=10_000, description="batches, one step on each")
    prompts: int = Field(64, ge=1, le=65536, description="prompts per batch")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt")
    lr: float = Field(0.002, gt=0, le=10, description="learning rate of the SGD step")
    warm_up: WarmUp = Field(WarmUp(), description="size of the model and its supervised warm-up")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to compute; auto takes a GPU if there is one")

    def length(self) -> int:
        return self.batches * 2 * len(QUADRANTS) * self.replicas

    def run(self) -> Iterator[Record]:
        """Records: seed, batch, score (S or D), quadrant, share (of the tokens), own_change and entropy_change (nats).

        The change is a mean over the states of the quadrant's own tokens, and over all states of the groups trained on.
        """
        same = {name: getattr(self, name) for name in ("seed", "replicas", "warm_up", "device")}
        task, start = TASKS["noisy_lookup"](), GRPO(task="noisy_lookup", **same)
        policy, seeds = start.policies(), start.seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for batch in range(self.batches):
            rollout = sample_rollout(policy, task, self.prompts, self.responses, generators)
            kept = rollout.chosen(rollout.sampled(), self.prompts, generators)
            before, mask = policy_logits(policy, kept), kept.mask.flatten(1, 2)
            statistics = token_statistics(kept.responses, before)
            s = discriminator(statistics.log_prob, statistics.entropy)
            d = s - baseline(statistics.entropy, statistics.sum_p2, statistics.sum_p2_log_p)
            for (name, score), quadrant in itertools.product((("S", s), ("D", d)), QUADRANTS):
                good, probable = (sign == "+" for sign in quadrant)
                own = ((kept.token_advantages > 0) == good) & ((score > 0) == probable)
                own = own.flatten(1, 2) & mask
                after = logits_after_step(policy, kept, self.lr, ~own)
                measured = entropy_change_from_logits(before, after)[0].flatten(1, 2)
                means = (masked_mean(x, m).flatten().tolist() for x, m in ((own, mask), (measured, own), (measured, mask)))
                for seed, *found in zip(seeds, *means, strict=True):
                    changes = dict(zip(("share", "own_change", "entropy_change"), found, strict=True))
                    yield {"seed": seed, "batch": batch, "score": name, "quadrant": quadrant} | changes
